package grpc

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"varve/broker"
)

// When handles are renewed.
const (
	renewAhead = 15 * time.Second // of their end; sweeps are sweepEvery apart
	renewMost  = 3 * time.Hour    // of one message
)

// renewal keeps one delivery invisible while its client works on it.
type renewal struct {
	group  string
	before int32 // deliveries before this one
	until  time.Time

	// mu is held while the handle is renewed, so that an ack finds the one that
	// is good.
	mu     sync.Mutex
	handle broker.Handle
	due    time.Time // end of handle
	ended  bool
}

// remember has the messages of a pop renewed from now on. It is false where the
// client has said goodbye meanwhile: nobody will work on them.
func (f *Front) remember(c *client, p *broker.PopRequest, r *broker.PopResult) bool {
	if c == nil {
		return true
	}
	now := f.cfg.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return false
	}
	for i := range r.Messages {
		h := r.Messages[i].Handle
		c.renewals[h.String()] = &renewal{
			group: p.Group, before: r.Messages[i].Deliveries, until: now.Add(renewMost), handle: h,
			due: now.Add(time.Duration(h.InvisibleMillis) * time.Millisecond), // whatever clock PopMillis is of
		}
	}
	return true
}

// take ends the renewing of a delivery, by the handle that the client knows; ok
// is false where it isn't renewed. handle is the one that is good.
func (c *client) take(known string) (handle broker.Handle, ok bool) {
	if c == nil {
		return broker.Handle{}, false
	}
	c.mu.Lock()
	r := c.renewals[known]
	delete(c.renewals, known)
	c.mu.Unlock()
	if r == nil {
		return broker.Handle{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	return r.handle, true
}

// forget is take for a handle whether or not it is renewed.
func (c *client) forget(h broker.Handle) broker.Handle {
	if good, ok := c.take(h.String()); ok {
		return good
	}
	return h
}

// renew renews a client's handles that end soon.
func (f *Front) renew(c *client, now time.Time) {
	c.mu.Lock()
	all := make(map[string]*renewal, len(c.renewals))
	for known, r := range c.renewals {
		all[known] = r
	}
	c.mu.Unlock()
	for known, r := range all {
		if f.renewOne(r, now) {
			c.mu.Lock()
			delete(c.renewals, known)
			c.mu.Unlock()
		}
	}
}

// renewOne reports whether there is nothing more to renew.
func (f *Front) renewOne(r *renewal, now time.Time) (over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.ended:
		return true
	case now.After(r.until): // as good as a failure, so it comes again when one would
		f.change(r, retryDelay(f.group(r.group), r.before), false)
		r.ended = true
		return true
	case r.due.Sub(now) > renewAhead:
		return false
	}
	next, err := f.change(r, renewedInvisible, true)
	if err != nil {
		return errors.Is(err, broker.ErrHandleExpired)
	}
	r.handle, r.due = next, now.Add(renewedInvisible)
	return false
}

func (f *Front) change(r *renewal, d time.Duration, suspend bool) (broker.Handle, error) {
	next, err := f.broker.ChangeInvisible(context.Background(), r.group, r.handle, d, suspend)
	if err != nil {
		f.cfg.Logger.Debug("handle not renewed", slog.String("group", r.group), slog.Any("err", err))
	}
	return next, err
}

// letGo gives to others what a client held that is gone.
func (f *Front) letGo(held map[string]*renewal) {
	for _, r := range held {
		r.mu.Lock()
		ended := r.ended
		r.ended = true
		r.mu.Unlock()
		if ended {
			continue
		}
		f.broker.GiveBack(r.group, r.handle)
	}
}
