package remoting_test

import (
	"context"
	"testing"

	"varve/broker"
	"varve/internal/mq"
)

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
