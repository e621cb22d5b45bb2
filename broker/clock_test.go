package broker

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// settable is a clock that can be set.
type settable struct{ ahead atomic.Int64 }

func (c *settable) now() time.Time { return time.Now().Round(0).Add(time.Duration(c.ahead.Load())) }

func (c *settable) set(ahead time.Duration) { c.ahead.Store(int64(ahead)) }

func withClock(t *testing.T, test func(r *rig, c *settable)) {
	synctest.Test(t, func(t *testing.T) {
		c := &settable{}
		r := newRig(t, vfs.NewMem(), func(_ *Config, d *Deps) { d.Clock = c.now })
		defer func() { r.stop() }()
		r.topic("orders", 1)
		test(r, c)
	})
}

// TestPopWhenTheClockIsSet: what is in flight comes again after its invisible
// time, neither earlier nor later for a clock that is set meanwhile.
func TestPopWhenTheClockIsSet(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour, 365 * 24 * time.Hour, -365 * 24 * time.Hour} {
		withClock(t, func(r *rig, c *settable) {
			time.Sleep(time.Hour)
			r.sendN("orders", 0, 0, 1)
			req := popReq("orders")
			h := r.pop(req).handles()[0]
			time.Sleep(3 * time.Second)
			c.set(jump)
			time.Sleep(3 * time.Second)
			if p := r.pop(req); len(p.Messages) != 0 {
				t.Errorf("clock set by %v: came again after 6 s", jump)
			}
			if _, err := r.ChangeInvisible(t.Context(), "g", h, 10*time.Second, true); err != nil {
				t.Errorf("clock set by %v: %v", jump, err)
			}
			time.Sleep(time.Second)
			c.set(0)
			time.Sleep(7 * time.Second)
			if p := r.pop(req); len(p.Messages) != 0 {
				t.Errorf("clock set by %v: came again 8 s after it was hidden for 10", jump)
			}
			req.Wait = 10 * time.Second
			began := time.Now()
			if p := r.pop(req); len(p.Messages) != 1 || time.Since(began) > 4*time.Second {
				t.Errorf("clock set by %v: got %v after %v more", jump, p.bodies(), time.Since(began))
			}
		})
	}
}

// TestPopRestartsWithAnotherClock: a restart by a clock that was set back holds
// nothing up.
func TestPopRestartsWithAnotherClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, fs := &settable{}, vfs.NewMem()
		open := func() *rig { return newRig(t, fs, func(_ *Config, d *Deps) { d.Clock = c.now }) }
		c.set(time.Hour)
		r := open()
		r.topic("orders", 1)
		r.sendN("orders", 0, 0, 1)
		r.pop(popReq("orders"))
		r.stop()
		c.set(0)
		r = open()
		defer r.stop()
		req := popReq("orders")
		req.Wait = 20 * time.Second
		began := time.Now()
		if p := r.pop(req); len(p.Messages) != 1 || time.Since(began) > 12*time.Second {
			t.Errorf("got %v after %v", p.bodies(), time.Since(began))
		}
	})
}

// TestOrderedPopWhenTheClockIsSet: a queue that waits for a message in order is
// not blocked for longer.
func TestOrderedPopWhenTheClockIsSet(t *testing.T) {
	withClock(t, func(r *rig, c *settable) {
		c.set(time.Hour)
		r.sendN("orders", 0, 0, 1)
		req := popReq("orders")
		req.Ordered = true
		r.pop(req)
		time.Sleep(2 * time.Second)
		c.set(0)
		time.Sleep(9 * time.Second)
		req.Wait = 10 * time.Second
		began := time.Now()
		if p := r.pop(req); len(p.Messages) != 1 || time.Since(began) > 3*time.Second {
			t.Errorf("got %v after %v", p.bodies(), time.Since(began))
		}
	})
}
