package broker

import (
	"time"

	"varve/broker/filter"
	"varve/broker/pop"
	"varve/hot"
)

// popWaits is the table of held pops. Those of one group and topic are in line:
// an arrival wakes the first whose filter may want it, and who finds more than
// it takes wakes the next.
type popWaits struct {
	holding[*popping]
	byTopic map[string][]*popShare // by the topic and by the retry topic; guarded by mu
}

// popHeld is a pop's place in the table.
type popHeld struct {
	holdPlace
	prev, next *popping
}

func (p *popping) place() *holdPlace { return &p.held.holdPlace }

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
	w := &popWaits{byTopic: map[string][]*popShare{}}
	w.init(now, limit, func(p *popping) { p.share.held.remove(p) })
	return w
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
	case w.full():
		return holdFull
	}
	p.share.held.push(p)
	w.add(p, p.until)
	return holdDone
}

// wakeShare wakes the first in a share's line that may have something of a
// queue (AnyQueue: of some queue), and who only looks. woken is false where
// nobody was woken who would take it.
func (w *popWaits) wakeShare(s *popShare, queue int32) (woken bool) {
	if w.count.Load() == 0 {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wakeFirst(s, func(p *popping) bool {
		return queue == AnyQueue || p.req.QueueID < 0 || p.req.QueueID == queue
	}) != nil
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

// wakeTopic has every pop held for a topic attempted again.
func (w *popWaits) wakeTopic(topic string) {
	w.wakeAll(func(p *popping) bool { return p.req.Topic == topic })
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
