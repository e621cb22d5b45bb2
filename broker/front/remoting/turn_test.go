package remoting

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"varve/broker"
	"varve/hot"
	"varve/internal/meta"
	wire "varve/internal/remoting"
)

// A connection that sends on and on while the disk stands still, and reads no
// answer, has its share of the room and no more: others' sends are taken. When
// the disk goes on, all of its own are.
func TestASenderHasItsShareOfTheRoom(t *testing.T) {
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
	const room, sends, size = 8 << 20, 100, 200 << 10
	log, err := hot.Open("log", hot.Options{FS: fs, Broker: "broker-a", MinFreeBytes: -1, Flush: hot.FlushSync, MaxPendingBytes: room})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	state, err := meta.Open("meta", vfs.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	conf := broker.DefaultConfig()
	conf.Broker = "broker-a"
	b, err := broker.New(conf, broker.Deps{Log: log, Meta: state})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.PutTopic(broker.Topic{Name: "t", ReadQueues: 1, WriteQueues: 1, Perm: 6}); err != nil {
		t.Fatal(err)
	}
	f := New(b, Config{})
	stalled := make(chan struct{}, 1)
	f.told = func() {
		select {
		case stalled <- struct{}{}:
		default:
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Serve(ctx, ln) }()
	defer func() { cancel(); <-ended }()

	open := sync.OnceFunc(func() { close(gate) })
	defer open()
	close(shut)
	hog, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer hog.Close()
	go func() {
		for range sends {
			if _, err := hog.Write(wire.AppendFrame(nil, turnSend(size))); err != nil {
				return // the test has ended
			}
		}
	}()
	select {
	case <-stalled:
	case <-time.After(30 * time.Second):
		t.Fatal("the sender is not kept waiting")
	}
	if got := log.Stats().PendingBytes; got > room/2 {
		t.Errorf("one connection has %d bytes waiting, of room for %d", got, room)
	}
	other := wire.NewClient(ln.Addr().String(), wire.ClientConfig{})
	defer other.Close()
	answer := make(chan *wire.Command, 1)
	go func() {
		r, err := other.Call(ctx, turnSend(100))
		if err != nil {
			r = &wire.Command{Code: -1, Remark: err.Error()}
		}
		answer <- r
	}()
	open()
	if r := <-answer; r.Code != wire.Success {
		t.Errorf("another's send: code %d %s", r.Code, r.Remark)
	}
	for i := range sends {
		head := make([]byte, 4)
		if _, err := io.ReadFull(hog, head); err != nil {
			t.Fatal(err)
		}
		frame := make([]byte, int(head[0])<<24|int(head[1])<<16|int(head[2])<<8|int(head[3]))
		var r wire.Command
		if _, err := io.ReadFull(hog, frame); err != nil {
			t.Fatal(err)
		}
		if err := wire.DecodeFrame(frame, &r); err != nil || r.Code != wire.Success {
			t.Fatalf("answer %d: code %d %s, %v", i, r.Code, r.Remark, err)
		}
	}
}

func turnSend(size int) *wire.Command {
	req := wire.NewRequest(wire.SendMessageV2, "a", "P", "b", "t", "c", "TBW102", "d", "4", "e", "0", "f", "0",
		"g", "1700000000000", "h", "0", "i", "", "j", "0")
	req.Body = make([]byte, size)
	return req
}
