package remoting_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"varve/broker"
	"varve/broker/front/fronttest"
	front "varve/broker/front/remoting"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// FuzzRequests sends any frame to the front, those of real clients to begin
// with: it may refuse it or end the connection, and serves the next one.
func FuzzRequests(f *testing.F) {
	n := startNode(f, nodeOptions{})
	for _, recorded := range fronttest.Recorded[front.Recorded](f, os.DirFS("testdata/frames")) {
		for _, r := range recorded {
			f.Add(r.Frame[4:])
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		c := n.dial(t)
		raw := append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)
		if n.answers(t, c, raw) {
			return
		}
		if !n.answers(t, n.dial(t), nil) { // that one was ended
			t.Error("the front serves nobody any more")
		}
	})
}

func (n *node) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return c
}

// answers sends a frame and then a question, and tells whether the question is
// answered, or the connection ended.
func (n *node) answers(t *testing.T, c net.Conn, frame []byte) bool {
	t.Helper()
	question := wire.NewRequest(wire.GetMinOffset, "topic", "nobody's", "queueId", "0")
	question.Opaque = 1<<31 - 7
	if _, err := c.Write(wire.AppendFrame(frame, question)); err != nil {
		return false
	}
	for {
		var head [4]byte
		_, err := io.ReadFull(c, head[:])
		body := make([]byte, binary.BigEndian.Uint32(head[:]))
		if err == nil {
			_, err = io.ReadFull(c, body)
		}
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			t.Fatal("no answer")
		}
		if err != nil {
			return false
		}
		var got wire.Command
		if err := wire.DecodeFrame(body, &got); err != nil {
			t.Fatalf("the front's own frame: %v", err)
		}
		if got.IsReply() && got.Opaque == question.Opaque {
			return true
		}
	}
}

// FuzzSendBatch sends any bytes as a batch: it is stored whole, each message
// with the next offset, or refused without a trace.
func FuzzSendBatch(f *testing.F) {
	n := startNode(f, nodeOptions{})
	putTopic(f, n, "fuzzed", 1)
	good := appendBatched(nil, "one", "TAGS\x01a\x02")
	f.Add(good)
	f.Add(appendBatched(good, "", ""))
	f.Add(good[:len(good)-1])
	ctx := context.Background()
	f.Fuzz(func(t *testing.T, body []byte) {
		before, err := n.broker.QueueRange(ctx, "fuzzed", 0)
		if err != nil {
			t.Fatal(err)
		}
		receipts, err := n.broker.Send(ctx, &broker.SendRequest{
			Group: "P", Batch: true, MaxReconsumeTimes: -1,
			Message: mq.Message{Topic: "fuzzed", Body: body},
		})
		after, rerr := n.broker.QueueRange(ctx, "fuzzed", 0)
		if rerr != nil {
			t.Fatal(rerr)
		}
		if stored := after.To - before.To; stored != int64(len(receipts)) || (err == nil) != (stored > 0) {
			t.Fatalf("%d messages stored, %d receipts, %v", stored, len(receipts), err)
		}
		for i, r := range receipts {
			if r.QueueOffset != before.To+int64(i) {
				t.Errorf("receipt %d: offset %d, want %d", i, r.QueueOffset, before.To+int64(i))
			}
		}
	})
}
