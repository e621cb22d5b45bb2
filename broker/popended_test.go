package broker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A held pop is answered as soon as its ctx ends, and the next in line gets what
// comes.
func TestAHeldPopIsAnsweredWhenItsClientIsGone(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		r.topic("orders", 1)
		req := popReq("orders")
		req.Wait = time.Minute
		ctx, cancel := context.WithCancel(r.t.Context())
		gone := make(chan popped, 2)
		for range 2 {
			r.Pop(ctx, &req, func(p PopResult, err error) { gone <- popped{p, err} })
		}
		next := r.popAsync(req)
		synctest.Wait()
		began := time.Now()
		cancel()
		for range 2 {
			if p := <-gone; !errors.Is(p.err, context.Canceled) || time.Since(began) != 0 {
				t.Errorf("answered after %v: %v", time.Since(began), p.err)
			}
		}
		synctest.Wait() // the next in line looks whether what the others left is for it
		if held := r.Stats().HeldPops; held != 1 {
			t.Errorf("%d pops are held, want 1", held)
		}
		r.sendN("orders", 0, 0, 1)
		if p := <-next; p.err != nil || len(p.Messages) != 1 {
			t.Errorf("the next in line got %v, %v", p.bodies(), p.err)
		}
		r.Pop(ctx, &req, func(p PopResult, err error) { gone <- popped{p, err} })
		if p := <-gone; !errors.Is(p.err, context.Canceled) {
			t.Errorf("a pop whose ctx has ended: %v", p.err)
		}
	})
}

// Nobody attempts held requests after Run: they are answered, and no more are
// held, long before Close.
func TestNothingIsHeldAfterRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, vfs.NewMem(), nil)
		r.topic("orders", 1)
		req := popReq("orders")
		req.Wait = time.Hour
		ready := make(chan error, 2)
		look := func() {
			r.PopReady(t.Context(), &req, func(_, _ bool, err error) { ready <- err })
		}
		pull := inline("orders", 0, 0)
		pull.Suspend = time.Hour
		pop, held := r.popAsync(req), r.pullAsync(pull)
		look()
		synctest.Wait()
		began := time.Now()
		r.endRun()
		for what, err := range map[string]error{"pop": (<-pop).err, "pull": (<-held).err, "look": <-ready} {
			if !errors.Is(err, ErrClosed) || time.Since(began) != 0 {
				t.Errorf("a held %s was answered after %v: %v", what, time.Since(began), err)
			}
		}
		pop, held = r.popAsync(req), r.pullAsync(pull)
		look()
		if p := <-pop; !errors.Is(p.err, ErrClosed) {
			t.Errorf("pop after Run: %v", p.err)
		}
		if p := <-held; p.err != nil || p.Status != PullNoNew {
			t.Errorf("pull after Run: %v", p)
		}
		if err := <-ready; !errors.Is(err, ErrClosed) {
			t.Errorf("look after Run: %v", err)
		}
		r.stop()
	})
}
