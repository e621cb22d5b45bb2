package group

import (
	"sync"
	"time"

	"varve/internal/mq"
)

// Locks is who consumes which queue in order: leases by (group, queue) that a
// client renews.
type Locks struct {
	lease time.Duration

	mu     sync.Mutex
	groups map[string]map[mq.Queue]lock
}

type lock struct {
	clientID string
	until    time.Time
}

// NewLocks makes an empty set of leases of the given length.
func NewLocks(lease time.Duration) *Locks {
	return &Locks{lease: lease, groups: map[string]map[mq.Queue]lock{}}
}

// Lock gives the client every queue that no other client holds, for one lease
// from now, and reports which it holds then.
func (l *Locks) Lock(group, clientID string, queues []mq.Queue, now time.Time) []mq.Queue {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := l.groups[group]
	if held == nil {
		held = map[mq.Queue]lock{}
		l.groups[group] = held
	}
	ok := make([]mq.Queue, 0, len(queues))
	for _, q := range queues {
		if h, taken := held[q]; taken && h.clientID != clientID && now.Before(h.until) {
			continue
		}
		held[q] = lock{clientID, now.Add(l.lease)}
		ok = append(ok, q)
	}
	return ok
}

// Unlock ends the client's leases on the queues; others' stay.
func (l *Locks) Unlock(group, clientID string, queues []mq.Queue) {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := l.groups[group]
	for _, q := range queues {
		if held[q].clientID == clientID {
			delete(held, q)
		}
	}
	if len(held) == 0 {
		delete(l.groups, group)
	}
}

// Live reports whether the group has any lease that hasn't run out.
func (l *Locks) Live(group string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.groups[group] {
		if now.Before(h.until) {
			return true
		}
	}
	return false
}

// Sweep forgets the leases that have run out.
func (l *Locks) Sweep(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for g, held := range l.groups {
		for q, h := range held {
			if !now.Before(h.until) {
				delete(held, q)
			}
		}
		if len(held) == 0 {
			delete(l.groups, g)
		}
	}
}
