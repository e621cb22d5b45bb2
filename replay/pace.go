package replay

import (
	"context"
	"sync"
	"time"
)

// pacer spreads messages over time. It lets a second's worth pass in slices,
// so that a slow replay is a trickle and not a burst a second.
type pacer struct {
	messages, bytes int64 // a second; 0 is no limit

	mu   sync.Mutex
	free time.Time // when the next slice may pass
}

func newPacer(s *Spec) *pacer {
	return &pacer{messages: s.MessagesPerSecond, bytes: s.BytesPerSecond}
}

// slicesPerSecond is how many parts of a second a paced replay is cut into.
const slicesPerSecond = 20

// slack is how far a pacer makes up for time that was lost to other things.
const slack = time.Second / slicesPerSecond

// limited reports whether there is anything to wait for.
func (p *pacer) limited() bool { return p.messages > 0 || p.bytes > 0 }

// batch bounds a batch so that it is at most a slice.
func (p *pacer) batch(messages, bytes int) (int, int) {
	if p.messages > 0 {
		messages = min(messages, int(max(1, p.messages/slicesPerSecond)))
	}
	if p.bytes > 0 {
		bytes = min(bytes, int(max(1, p.bytes/slicesPerSecond)))
	}
	return messages, bytes
}

// wait blocks until a batch may pass.
func (p *pacer) wait(ctx context.Context, messages, bytes int) error {
	var d time.Duration
	if p.messages > 0 {
		d = time.Duration(float64(messages) / float64(p.messages) * float64(time.Second))
	}
	if p.bytes > 0 {
		d = max(d, time.Duration(float64(bytes)/float64(p.bytes)*float64(time.Second)))
	}
	if d == 0 {
		return ctx.Err()
	}
	p.mu.Lock()
	now := time.Now()
	at := p.free
	if at.Before(now.Add(-slack)) {
		at = now.Add(-slack)
	}
	p.free = at.Add(d)
	p.mu.Unlock()
	return sleep(ctx, at.Sub(now))
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
