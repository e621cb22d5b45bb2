package remoting

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"varve/internal/intake"
)

// large is a peer that sends large frames within a budget.
type large struct {
	net.Conn
	c       *Conn
	end     <-chan struct{}
	handled atomic.Int64 // body bytes
}

func newLarge(b *intake.Budget) *large {
	l := &large{}
	l.c, l.Conn, l.end = pipeConn(func(_ *Conn, req *Command) { l.handled.Add(int64(len(req.Body))) }, Config{reading: b})
	return l
}

// write sends what the connection takes, until it ends.
func (l *large) write(p []byte) { go func() { _, _ = l.Write(p) }() }

// why is the reason of the connection's end, nil while it lives.
func (l *large) why() error {
	if l.c.ctx.Err() == nil {
		return nil
	}
	return context.Cause(l.c.ctx)
}

func largeFrame(body int) []byte { return jsonFrame(`{"code":10,"opaque":5,"flag":2}`, body) }

// Frames that are announced and don't come hold what has arrived of them, and
// end; the others' don't wait.
func TestAnnouncedFramesHoldNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := intake.New(8<<20, 1)
		idlers := make([]*large, 8)
		for i := range idlers {
			idlers[i] = newLarge(budget)
			idlers[i].write(largeFrame(MaxFrame - 1000)[:200<<10])
		}
		synctest.Wait()
		start := time.Now()
		busy := newLarge(budget)
		busy.write(largeFrame(4 << 20))
		synctest.Wait()
		if n := busy.handled.Load(); n != 4<<20 || time.Since(start) != 0 {
			t.Errorf("handled %d bytes after %s", n, time.Since(start))
		}
		for _, l := range idlers {
			<-l.end
			if d := time.Since(start); !errors.Is(l.why(), ErrSlowFrame) || d != 5*time.Second {
				t.Errorf("ended after %s: %v, want %v", d, l.why(), ErrSlowFrame)
			}
		}
		if busy.why() != nil {
			t.Errorf("the one that sent all ended: %v", busy.why())
		}
		_ = busy.Close()
		<-busy.end
		if !budget.Untaken(8<<20, 1) {
			t.Error("the ended connections hold some of the budget")
		}
	})
}

// Where all bytes are taken one frame after the other goes on; none waits for
// one that waits.
func TestLargeFramesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := intake.New(2<<20, 1)
		peers := make([]*large, 4)
		for i := range peers { // each fills a half MiB and needs more
			peers[i] = newLarge(budget)
			peers[i].write(largeFrame(2 << 20)[:512<<10])
			synctest.Wait()
		}
		small := newLarge(budget)
		small.write(largeFrame(100 << 10))
		synctest.Wait()
		if small.handled.Load() != 100<<10 {
			t.Error("a small frame waits for the large ones")
		}
		time.Sleep(4 * time.Second) // waiting for room isn't held against a frame
		for _, l := range peers {
			l.write(largeFrame(2 << 20)[512<<10:])
		}
		synctest.Wait()
		for i, l := range peers {
			if l.handled.Load() != 2<<20 {
				t.Errorf("peer %d: handled %d bytes, ended: %v", i, l.handled.Load(), l.why())
			}
		}
		for _, l := range append(peers, small) {
			_ = l.Close()
			<-l.end
		}
		if !budget.Untaken(2<<20, 1) {
			t.Error("the ended connections hold some of the budget")
		}
	})
}

// A place is held by one frame; who waits for it gets it when that ends, or
// gives up after the frame timeout.
func TestWaitForPlaceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := intake.New(1, 1)
		first, second := newLarge(budget), newLarge(budget)
		frame := largeFrame(8 << 20)
		first.write(frame[:200<<10])
		synctest.Wait()
		second.write(frame)
		start := time.Now()
		<-first.end
		synctest.Wait()
		if d := time.Since(start); d != 5*time.Second || second.handled.Load() != 8<<20 {
			t.Errorf("after %s handled %d bytes", d, second.handled.Load())
		}
		if !budget.Untaken(0, 1) {
			t.Fatal("the frame that is done holds its place")
		}
		second.write(frame)
		<-second.end
		if d := time.Since(start); d != 65*time.Second || errors.Is(second.why(), ErrSlowFrame) {
			t.Errorf("without a place it ended after %s: %v", d, second.why())
		}
		_ = first.Close()
	})
}

// A slow frame that goes on is taken, and so is a small one behind it, whatever
// time that takes: the large buffer is given back.
func TestSlowLargeFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := intake.New(8<<20, 1)
		l := newLarge(budget)
		all := append(largeFrame(4<<20), largeFrame(1000)...)
		cut := len(all) - 500
		go func() {
			for at := 0; at < cut; at += 256 << 10 {
				if _, err := l.Write(all[at:min(at+256<<10, cut)]); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
			time.Sleep(20 * time.Second)
			_, _ = l.Write(all[cut:])
		}()
		time.Sleep(30 * time.Second)
		if n := l.handled.Load(); n != 4<<20 || !budget.Untaken(8<<20, 1) {
			t.Errorf("handled %d bytes, budget %+v, ended: %v", n, l.c.cfg.reading, l.why())
		}
		time.Sleep(10 * time.Second)
		if n := l.handled.Load(); n != 4<<20+1000 {
			t.Errorf("handled %d bytes, ended: %v", n, l.why())
		}
		_ = l.Close()
		<-l.end
	})
}
