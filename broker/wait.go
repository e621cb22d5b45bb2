package broker

import (
	"container/heap"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"varve/broker/filter"
	"varve/hot"
)

// maxMatches bounds the filters that one call of arrive runs in the log's
// committer. Pulls beyond it are attempted without a look at their filter.
const maxMatches = 4096

// waits is the table of held pulls. A pull leaves it once: when a message
// arrives that its filter may want, when its time is over, or when somebody
// wakes it; then a worker attempts it again.
type waits struct {
	now   func() time.Time
	limit int
	sweep time.Duration

	count atomic.Int64 // len(byTime), to be read without the lock

	mu      sync.Mutex
	closed  bool
	byQueue map[waitKey]*pull // first of a list
	byTime  deadlines
	ready   []*pull // woken, to be attempted

	work chan struct{} // one token where ready isn't empty
	tick chan struct{} // the first deadline changed
}

type waitKey struct {
	topic string
	id    int32
}

// held is a pull's place in the table.
type held struct {
	prev, next *pull
	at         time.Time // when to attempt it whatever arrives
	index      int       // in byTime
	in         bool
	missed     bool // refused an arrival, so at is no later than a sweep away
}

func newWaits(now func() time.Time, limit int, sweep time.Duration) *waits {
	return &waits{
		now: now, limit: limit, sweep: sweep, byQueue: map[waitKey]*pull{},
		work: make(chan struct{}, 1), tick: make(chan struct{}, 1),
	}
}

// hold puts a pull in the table; false where the table is closed. ErrBusy says
// that it is full.
func (w *waits) hold(p *pull) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false, nil
	}
	if len(w.byTime) >= w.limit {
		return false, fmt.Errorf("%w: %d pulls are held", ErrBusy, len(w.byTime))
	}
	k := waitKey{p.queue.Topic, p.queue.ID}
	p.held = held{at: p.until, in: true, next: w.byQueue[k]}
	if p.held.next != nil {
		p.held.next.held.prev = p
	}
	w.byQueue[k] = p
	heap.Push(&w.byTime, p)
	w.count.Store(int64(len(w.byTime)))
	if p.held.index == 0 {
		signal(w.tick)
	}
	return true, nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// wake has a pull attempted again, if it is still held.
func (w *waits) wake(p *pull) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.release(p)
}

// release moves a pull from the table to the ready ones. mu is held.
func (w *waits) release(p *pull) {
	if !p.held.in {
		return
	}
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
	heap.Remove(&w.byTime, h.index)
	w.count.Store(int64(len(w.byTime)))
	*h = held{}
	w.ready = append(w.ready, p)
	signal(w.work)
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
	at := w.now().Add(w.sweep)
	if !at.Before(p.held.at) {
		return
	}
	p.held.at = at
	heap.Fix(&w.byTime, p.held.index)
	if p.held.index == 0 {
		signal(w.tick)
	}
}

// wakeTopic has every pull held for a topic attempted again; every pull where
// it is empty.
func (w *waits) wakeTopic(topic string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range append([]*pull(nil), w.byTime...) {
		if topic == "" || p.queue.Topic == topic {
			w.release(p)
		}
	}
}

// close has every held pull attempted again and holds no more.
func (w *waits) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.wakeTopic("")
}

// runDeadlines wakes pulls when their time is over, until ctx ends.
func (w *waits) runDeadlines(ctx context.Context) {
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

// expire releases the pulls whose time is over and gives the time to the next.
func (w *waits) expire() (wait time.Duration, any bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	for len(w.byTime) > 0 {
		p := w.byTime[0]
		if now.Before(p.held.at) {
			return p.held.at.Sub(now), true
		}
		w.release(p)
	}
	return 0, false
}

// runWork attempts woken pulls until ctx ends.
func (w *waits) runWork(ctx context.Context, attempt func(*pull)) {
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

// take gives one woken pull, and wakes another worker where there are more.
func (w *waits) take() *pull {
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

// deadlines is a heap of held pulls, soonest first.
type deadlines []*pull

func (h deadlines) Len() int           { return len(h) }
func (h deadlines) Less(i, j int) bool { return h[i].held.at.Before(h[j].held.at) }

func (h deadlines) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].held.index, h[j].held.index = i, j
}

// Push implements heap.Interface.
func (h *deadlines) Push(x any) {
	p := x.(*pull)
	p.held.index = len(*h)
	*h = append(*h, p)
}

// Pop implements heap.Interface.
func (h *deadlines) Pop() any {
	old := *h
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return p
}
