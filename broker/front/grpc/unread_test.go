package grpc_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	rpc "google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	front "varve/broker/front/grpc"
	"varve/internal/backlog"
)

// slowStub is a connection whose streams take little each while nobody reads
// them, whatever the others do.
func slowStub(t *testing.T, n *node) v2.MessagingServiceClient {
	t.Helper()
	c, err := rpc.NewClient(n.addr, rpc.WithTransportCredentials(insecure.NewCredentials()),
		rpc.WithInitialWindowSize(64<<10), rpc.WithInitialConnWindowSize(16<<20))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return v2.NewMessagingServiceClient(c)
}

// Who asks for messages and doesn't read them holds little of the broker's
// memory, however many streams it has, and others get on.
func TestReceivesThatNobodyReadsHoldLittle(t *testing.T) {
	const size, each = 100 << 10, 8
	pull := func(offset int64) *v2.PullMessageRequest {
		return &v2.PullMessageRequest{
			Group: resource("g"), MessageQueue: &v2.MessageQueue{Topic: resource("orders"), Id: 0}, Offset: offset, BatchSize: each,
		}
	}
	begin := map[string]func(v2.MessagingServiceClient, context.Context) (answers, error){
		"receive": func(c v2.MessagingServiceClient, ctx context.Context) (answers, error) {
			s, err := c.ReceiveMessage(ctx, ask("g", "orders"))
			return func() (*v2.Status, *v2.Message, error) { r, err := s.Recv(); return r.GetStatus(), r.GetMessage(), err }, err
		},
		"pull": func(c v2.MessagingServiceClient, ctx context.Context) (answers, error) {
			s, err := c.PullMessage(ctx, pull(0))
			return func() (*v2.Status, *v2.Message, error) { r, err := s.Recv(); return r.GetStatus(), r.GetMessage(), err }, err
		},
	}
	for name, begin := range begin {
		t.Run(name, func(t *testing.T) {
			unread := backlog.New(256 << 10)
			n := startNode(t, nodeOptions{front: front.Config{Backlog: unread}})
			n.topic(t, "orders", 1, "")
			other, ctx := n.stub(t, false), as(t, "c1")
			for range 4 * each {
				sendOK(t, other, ctx, message("orders", "1", strings.Repeat("x", size)))
			}
			slow := slowStub(t, n)
			stuck, leave := context.WithCancel(ctx)
			defer leave()
			if _, err := begin(slow, stuck); err != nil {
				t.Fatal(err)
			}
			for unread.Bytes() < each*size {
				runtime.Gosched()
			}
			held := unread.Bytes()
			for range 50 {
				next, err := begin(slow, ctx)
				if err != nil {
					t.Fatal(err)
				}
				if is, got := next.all(t); is.GetCode() != v2.Code_TOO_MANY_REQUESTS || got != 0 {
					t.Fatalf("who reads nothing gets %v and %d messages more", is, got)
				}
			}
			if now := unread.Bytes(); now != held {
				t.Errorf("%d bytes are unread, before that %d", now, held)
			}
			next, err := begin(other, ctx)
			if err != nil {
				t.Fatal(err)
			}
			if is, got := next.all(t); is.GetCode() != v2.Code_OK || got == 0 || got > backlog.Cramped/size+1 {
				t.Errorf("another gets %v and %d messages", is, got)
			}
			leave()
			for unread.Bytes() > 0 {
				runtime.Gosched()
			}
			if next, err = begin(slow, ctx); err != nil {
				t.Fatal(err)
			}
			if is, got := next.all(t); is.GetCode() != v2.Code_OK || got != each {
				t.Errorf("when nothing is unread any more: %v and %d messages", is, got)
			}
		})
	}
}

// answers is the Recv of a stream.
type answers func() (*v2.Status, *v2.Message, error)

// all reads a stream to its end.
func (next answers) all(t *testing.T) (is *v2.Status, messages int) {
	t.Helper()
	for {
		s, m, err := next()
		if errors.Is(err, io.EOF) {
			return is, messages
		}
		if err != nil {
			t.Fatal(err)
		}
		if s != nil {
			is = s
		}
		if m != nil {
			messages++
		}
	}
}
