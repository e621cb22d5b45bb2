package grpc_test

import (
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"varve/hot"
)

// A client that sends on and on while the disk stands still has its share of
// what may wait for the log, and others are taken. When the disk goes on, all of
// its own are.
func TestASenderHasItsShareOfTheRoom(t *testing.T) {
	const room, sends, size = 8 << 20, 100, 200 << 10
	gate, shut := make(chan struct{}), make(chan struct{})
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		select {
		case <-shut:
			if op.Kind == errorfs.OpFileSyncData && strings.HasSuffix(op.Path, ".log") {
				<-gate
			}
		default:
		}
		return nil
	}))
	n := startNode(t, nodeOptions{fs: fs, log: func(o *hot.Options) { o.MinFreeBytes, o.Flush, o.MaxPendingBytes = -1, hot.FlushSync, room }})
	open := sync.OnceFunc(func() { close(gate) })
	t.Cleanup(open)
	n.topic(t, "orders", 1, "")
	greedy, other, ctx := n.stub(t, false), n.stub(t, false), as(t, "p")
	sendOK(t, greedy, ctx, message("orders", "0", "x"))
	sendOK(t, other, ctx, message("orders", "0", "x"))
	close(shut)
	var all sync.WaitGroup
	body := strings.Repeat("x", size)
	send := func(c v2.MessagingServiceClient, body string) {
		r, err := c.SendMessage(ctx, &v2.SendMessageRequest{Messages: []*v2.Message{message("orders", "1", body)}})
		if err != nil || r.GetStatus().GetCode() != v2.Code_OK {
			t.Errorf("%d bytes: %v, %v", len(body), r.GetStatus(), err)
		}
	}
	for range sends {
		all.Go(func() { send(greedy, body) })
	}
	// Its calls are all at the broker when none is on its way any more: the
	// bytes that wait, and those in line.
	for end := time.Now().Add(30 * time.Second); n.front.Stats().InLine == 0; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("the sender is not kept waiting")
		}
	}
	all.Go(func() { send(other, "small") })
	for end := time.Now().Add(30 * time.Second); n.front.Stats().InLine < sends/2; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d sends in line", n.front.Stats().InLine)
		}
	}
	if got := n.log.Stats().PendingBytes; got > room/2 {
		t.Errorf("one connection has %d bytes waiting, of room for %d", got, room)
	}
	open()
	all.Wait()
	if got := n.front.Stats().InLine; got != 0 {
		t.Errorf("%d sends in line, and all are answered", got)
	}
}
