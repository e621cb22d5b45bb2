package broker

import (
	"container/heap"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"varve/broker/filter"
	"varve/broker/pop"
	"varve/hot"
)

// popWaits is the table of held pops. Those of one group and topic are in line:
// an arrival wakes the first whose filter may want it, and who finds more than
// it takes wakes the next.
type popWaits struct {
	now   func() time.Time
	limit int

	count atomic.Int64 // len(byTime), to be read without the lock

	mu      sync.Mutex
	closed  bool
	byTopic map[string][]*popShare // by the topic and by the retry topic
	byTime  popDeadlines
	ready   []*popping // woken, to be attempted

	work chan struct{} // one token where ready isn't empty
	tick chan struct{} // the first deadline changed
}

// popHeld is a pop's place in the table.
type popHeld struct {
	prev, next *popping
	index      int // in byTime
	in         bool
}

// popList is a line of held pops, first come first.
type popList struct{ first, last *popping }

func (l *popList) push(p *popping) {
	p.held.prev, p.held.next = l.last, nil
	if l.last == nil {
		l.first = p
	} else {
		l.last.held.next = p
	}
	l.last = p
}

func (l *popList) remove(p *popping) {
	h := &p.held
	if h.prev == nil {
		l.first = h.next
	} else {
		h.prev.held.next = h.next
	}
	if h.next == nil {
		l.last = h.prev
	} else {
		h.next.held.prev = h.prev
	}
	h.prev, h.next = nil, nil
}

func newPopWaits(now func() time.Time, limit int) *popWaits {
	return &popWaits{
		now: now, limit: limit, byTopic: map[string][]*popShare{},
		work: make(chan struct{}, 1), tick: make(chan struct{}, 1),
	}
}

// register has arrivals looked at for a share.
func (w *popWaits) register(s *popShare) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.byTopic[s.topic] = append(w.byTopic[s.topic], s)
	w.byTopic[s.retry] = append(w.byTopic[s.retry], s)
}

// What became of a hold.
type holdOutcome int

const (
	holdDone holdOutcome = iota
	holdFull
	holdClosed
)

func (w *popWaits) hold(p *popping) holdOutcome {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		return holdClosed
	case len(w.byTime) >= w.limit:
		return holdFull
	}
	p.held = popHeld{in: true}
	p.share.held.push(p)
	heap.Push(&w.byTime, p)
	w.count.Store(int64(len(w.byTime)))
	if p.held.index == 0 {
		signal(w.tick)
	}
	return holdDone
}

// wake has a pop attempted again, if it is still held.
func (w *popWaits) wake(p *popping) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.release(p)
}

// again has a pop attempted that isn't held.
func (w *popWaits) again(p *popping) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ready = append(w.ready, p)
	signal(w.work)
}

// release moves a pop from the table to the ready ones. mu is held.
func (w *popWaits) release(p *popping) {
	if !p.held.in {
		return
	}
	p.share.held.remove(p)
	heap.Remove(&w.byTime, p.held.index)
	p.held.in = false
	w.count.Store(int64(len(w.byTime)))
	w.ready = append(w.ready, p)
	signal(w.work)
}

// wakeShare wakes the first in a share's line that may have something of a
// queue (AnyQueue: of some queue), and who only looks.
func (w *popWaits) wakeShare(s *popShare, queue int32) {
	if w.count.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wakeFirst(s, func(p *popping) bool {
		return queue == AnyQueue || p.req.QueueID < 0 || p.req.QueueID == queue
	})
}

// wakeFirst wakes one pop that matches, and before it everybody who only looks.
// mu is held.
func (w *popWaits) wakeFirst(s *popShare, match func(*popping) bool) (woken *popping) {
	for p := s.held.first; p != nil; {
		next := p.held.next
		if match(p) {
			w.release(p)
			if !p.look {
				return p
			}
		}
		p = next
	}
	return nil
}

// arrive wakes the pops that want one of the messages.
func (w *popWaits) arrive(arrivals []hot.Arrival) {
	if w.count.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	matches := 0
	var shares []*popShare
	name := ""
	for i := range arrivals {
		a := &arrivals[i]
		if i == 0 || a.Queue.Topic != name {
			name = a.Queue.Topic
			shares = w.byTopic[name]
		}
		for _, s := range shares {
			if s.held.first == nil {
				continue
			}
			retry := name == s.retry
			w.wakeFirst(s, func(p *popping) bool {
				if !retry && p.req.QueueID >= 0 && p.req.QueueID != a.Queue.ID {
					return false
				}
				matches++
				return retry || matches > maxMatches || filter.MatchProperties(p.filter, a.TagHash, a.Properties)
			})
		}
	}
}

// wakeTopic has every pop held for a topic attempted again; every pop where it
// is empty.
func (w *popWaits) wakeTopic(topic string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range append([]*popping(nil), w.byTime...) {
		if topic == "" || p.req.Topic == topic {
			w.release(p)
		}
	}
}

// held counts the pops that wait in a share for a queue (AnyQueue: for all).
func (w *popWaits) held(s *popShare, queue int32) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := s.held.first; p != nil; p = p.held.next {
		if queue == AnyQueue || p.req.QueueID == queue {
			n++
		}
	}
	return n
}

// close has every held pop attempted again and holds no more.
func (w *popWaits) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.wakeTopic("")
}

// runDeadlines wakes pops when their time is over, until ctx ends.
func (w *popWaits) runDeadlines(ctx context.Context) {
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for {
		if wait, any := w.expire(); any {
			t.Reset(wait)
		} else {
			t.Stop()
		}
		select {
		case <-ctx.Done():
			return
		case <-w.tick:
		case <-t.C:
		}
	}
}

func (w *popWaits) expire() (wait time.Duration, any bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	for len(w.byTime) > 0 {
		p := w.byTime[0]
		if now.Before(p.until) {
			return p.until.Sub(now), true
		}
		w.release(p)
	}
	return 0, false
}

// runWork attempts woken pops until ctx ends.
func (w *popWaits) runWork(ctx context.Context, attempt func(*popping)) {
	for {
		for p := w.take(); p != nil; p = w.take() {
			attempt(p)
		}
		select {
		case <-ctx.Done():
			return
		case <-w.work:
		}
	}
}

// take gives one woken pop, and wakes another worker where there are more.
func (w *popWaits) take() *popping {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.ready)
	if n == 0 {
		w.ready = nil
		return nil
	}
	p := w.ready[0]
	w.ready[0] = nil
	w.ready = w.ready[1:]
	if n > 1 {
		signal(w.work)
	}
	return p
}

// popDeadlines is a heap of held pops, soonest first.
type popDeadlines []*popping

func (h popDeadlines) Len() int           { return len(h) }
func (h popDeadlines) Less(i, j int) bool { return h[i].until.Before(h[j].until) }

func (h popDeadlines) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].held.index, h[j].held.index = i, j
}

// Push implements heap.Interface.
func (h *popDeadlines) Push(x any) {
	p := x.(*popping)
	p.held.index = len(*h)
	*h = append(*h, p)
}

// Pop implements heap.Interface.
func (h *popDeadlines) Pop() any {
	old := *h
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return p
}

// HeldPops is how many requests wait for a message of a topic in a group: for a
// queue, or for any where it is AnyQueue.
func (b *Broker) HeldPops(group, topic string, queue int32) int {
	b.shares.RLock()
	s := b.shares.m[shareKey{group, topic}]
	b.shares.RUnlock()
	if s == nil {
		return 0
	}
	return b.popWaits.held(s, queue)
}

// forgetPops drops what consumers have in flight of a topic, or of a group,
// that was deleted.
func (b *Broker) forgetPops(match func(pop.Key) bool) error { return b.pops.Forget(match) }
