package history

import (
	"context"
	"time"
)

// Limits of looking for commits because a reader asked for more than is known.
const (
	// renewEvery is how often that is done for one topic.
	renewEvery = 500 * time.Millisecond
	// renewWithin bounds one look.
	renewWithin = 10 * time.Second
	// maxRenewals bounds the topics that are remembered.
	maxRenewals = 4096
)

// renewal is one look at a topic's table.
type renewal struct {
	began time.Time
	done  chan struct{}
}

// Renew looks for what other processes committed to a topic, once for all who
// ask at a time, and not again for a while. It reports whether anything was
// looked at since the call, so that reading again makes sense.
func (n *Node) Renew(ctx context.Context, topic string) bool {
	now := n.cfg.Now()
	n.mu.Lock()
	r, ok := n.renewals.get(topic)
	mine := !ok || r.ended() && now.Sub(r.began) >= renewEvery
	switch {
	case mine:
		r = &renewal{began: now, done: make(chan struct{})}
		n.renewals.put(topic, r, 1)
	case r.ended():
		n.mu.Unlock()
		return false
	}
	n.mu.Unlock()
	if mine {
		// Others may wait for it: who asked first may go away.
		go n.renew(context.WithoutCancel(ctx), topic, r)
	}
	select {
	case <-r.done:
		return true
	case <-ctx.Done():
		return false
	}
}

func (r *renewal) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

func (n *Node) renew(ctx context.Context, topic string, r *renewal) {
	defer close(r.done)
	ctx, cancel := context.WithTimeout(ctx, renewWithin)
	defer cancel()
	t, err := n.archive.Table(ctx, topic)
	if err == nil {
		_, err = t.Refresh(ctx)
	}
	n.note(topic, err)
	n.sayRefresh(topic, err)
}
