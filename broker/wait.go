package broker

import (
	"fmt"
	"time"

	"varve/broker/filter"
	"varve/hot"
)

// maxMatches bounds the filters that one call of arrive runs in the log's
// committer. Pulls beyond it are attempted without a look at their filter.
const maxMatches = 4096

// waits is the table of held pulls. A pull leaves it when a message arrives
// that its filter may want, when its time is over, or when somebody wakes it;
// then a worker attempts it again.
type waits struct {
	holding[*pull]
	sweep   time.Duration
	byQueue map[waitKey]*pull // first of a list; guarded by mu
}

type waitKey struct {
	topic string
	id    int32
}

// held is a pull's place in the table.
type held struct {
	holdPlace
	prev, next *pull
	missed     bool // refused an arrival, so it is attempted no later than a sweep away
}

func (p *pull) place() *holdPlace { return &p.held.holdPlace }

func newWaits(now func() time.Time, limit int, sweep time.Duration) *waits {
	w := &waits{sweep: sweep, byQueue: map[waitKey]*pull{}}
	w.init(now, limit, w.unlist)
	return w
}

// hold puts a pull in the table; false where the table is closed. ErrBusy says
// that it is full.
func (w *waits) hold(p *pull) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false, nil
	}
	if w.full() {
		return false, fmt.Errorf("%w: %d pulls are held", ErrBusy, len(w.byTime))
	}
	k := waitKey{p.queue.Topic, p.queue.ID}
	p.held = held{next: w.byQueue[k]}
	if p.held.next != nil {
		p.held.next.held.prev = p
	}
	w.byQueue[k] = p
	w.add(p, p.until)
	return true, nil
}

// unlist takes a pull out of its queue's list. mu is held.
func (w *waits) unlist(p *pull) {
	h := &p.held
	if h.next != nil {
		h.next.held.prev = h.prev
	}
	if h.prev != nil {
		h.prev.held.next = h.next
	} else if k := (waitKey{p.queue.Topic, p.queue.ID}); h.next != nil {
		w.byQueue[k] = h.next
	} else {
		delete(w.byQueue, k)
	}
	h.prev, h.next, h.missed = nil, nil, false
}

// arrive wakes the pulls that want one of the messages. One that wants none is
// run a sweep later, so that it moves on past them.
func (w *waits) arrive(arrivals []hot.Arrival) {
	if w.count.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var key waitKey
	var first *pull
	matches := 0
	for i := range arrivals {
		a := &arrivals[i]
		if i == 0 || key.id != a.Queue.ID || key.topic != a.Queue.Topic {
			key = waitKey{a.Queue.Topic, a.Queue.ID}
			first = w.byQueue[key]
		}
		for p := first; p != nil; {
			next := p.held.next
			if matches++; matches > maxMatches || filter.MatchProperties(p.filter, a.TagHash, a.Properties) {
				w.release(p)
			} else if !p.held.missed {
				w.miss(p)
			}
			p = next
		}
		if first != nil {
			first = w.byQueue[key]
		}
	}
}

// miss notes that a pull refused an arrival. mu is held.
func (w *waits) miss(p *pull) {
	p.held.missed = true
	w.sooner(p, w.now().Add(w.sweep))
}

// wakeTopic has every pull held for a topic attempted again.
func (w *waits) wakeTopic(topic string) {
	w.wakeAll(func(p *pull) bool { return p.queue.Topic == topic })
}
