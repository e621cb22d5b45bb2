package broker

import (
	"container/heap"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// holdable is a request that can be held: a *pull or a *popping.
type holdable interface {
	comparable
	// place is where the request keeps its place in the table.
	place() *holdPlace
}

// holdPlace is a request's place in a holding.
type holdPlace struct {
	at    time.Time // when to attempt it whatever arrives
	index int       // in byTime
	in    bool
}

// holding is what the tables of held requests share: deadlines, and the queue
// of those that are to be attempted again. A request leaves it once.
type holding[P holdable] struct {
	now   func() time.Time
	limit int
	// unlink takes a request out of the table's own index. mu is held.
	unlink func(P)

	count atomic.Int64 // len(byTime), to be read without the lock

	mu     sync.Mutex
	closed bool
	byTime deadlines[P]
	ready  []P // woken, to be attempted

	work chan struct{} // one token where ready isn't empty
	tick chan struct{} // the first deadline changed
}

func (w *holding[P]) init(now func() time.Time, limit int, unlink func(P)) {
	w.now, w.limit, w.unlink = now, limit, unlink
	w.work, w.tick = make(chan struct{}, 1), make(chan struct{}, 1)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// full reports whether no more can be held. mu is held.
func (w *holding[P]) full() bool { return len(w.byTime) >= w.limit }

// add holds a request until a time. mu is held.
func (w *holding[P]) add(p P, until time.Time) {
	*p.place() = holdPlace{at: until, in: true}
	heap.Push(&w.byTime, p)
	w.count.Store(int64(len(w.byTime)))
	w.moved(p)
}

// sooner has a request attempted at a time, if that is before its own. mu is
// held.
func (w *holding[P]) sooner(p P, at time.Time) {
	h := p.place()
	if !at.Before(h.at) {
		return
	}
	h.at = at
	heap.Fix(&w.byTime, h.index)
	w.moved(p)
}

// moved tells runDeadlines of a new first deadline. mu is held.
func (w *holding[P]) moved(p P) {
	if p.place().index == 0 {
		signal(w.tick)
	}
}

// wake has a request attempted again, if it is still held.
func (w *holding[P]) wake(p P) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.release(p)
}

// release moves a request from the table to the ready ones. mu is held.
func (w *holding[P]) release(p P) {
	if w.remove(p) {
		w.attempt(p)
	}
}

// remove takes a request out of the table, if it is there. mu is held.
func (w *holding[P]) remove(p P) bool {
	h := p.place()
	if !h.in {
		return false
	}
	w.unlink(p)
	heap.Remove(&w.byTime, h.index)
	w.count.Store(int64(len(w.byTime)))
	*h = holdPlace{}
	return true
}

// again has a request attempted that isn't held; false where nobody attempts
// any more.
func (w *holding[P]) again(p P) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.attempt(p)
	return true
}

// drop takes a request out that is to be answered otherwise; false where it
// isn't held.
func (w *holding[P]) drop(p P) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.remove(p)
}

// attempt hands a request to the workers. mu is held.
func (w *holding[P]) attempt(p P) {
	w.ready = append(w.ready, p)
	signal(w.work)
}

// wakeAll has every held request attempted again that is wanted.
func (w *holding[P]) wakeAll(wanted func(P) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range slices.Clone(w.byTime) {
		if wanted(p) {
			w.release(p)
		}
	}
}

// close holds no more requests, and has those answered that are held or wait
// for an attempt. Workers must have ended.
func (w *holding[P]) close(answer func(P)) {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.wakeAll(func(P) bool { return true })
	for p, ok := w.take(); ok; p, ok = w.take() {
		answer(p)
	}
}

// runDeadlines wakes requests when their time is over, until ctx ends.
func (w *holding[P]) runDeadlines(ctx context.Context) {
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

// expire releases the requests whose time is over and gives the time to the
// next.
func (w *holding[P]) expire() (wait time.Duration, any bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	for len(w.byTime) > 0 {
		p := w.byTime[0]
		if at := p.place().at; now.Before(at) {
			return at.Sub(now), true
		}
		w.release(p)
	}
	return 0, false
}

// runWork attempts woken requests until ctx ends.
func (w *holding[P]) runWork(ctx context.Context, attempt func(P)) {
	for {
		for p, ok := w.take(); ok; p, ok = w.take() {
			attempt(p)
		}
		select {
		case <-ctx.Done():
			return
		case <-w.work:
		}
	}
}

// take gives one woken request, and wakes another worker where there are more.
func (w *holding[P]) take() (p P, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.ready)
	if n == 0 {
		w.ready = nil
		return p, false
	}
	var none P
	p, w.ready[0] = w.ready[0], none
	w.ready = w.ready[1:]
	if n > 1 {
		signal(w.work)
	}
	return p, true
}

// deadlines is a heap of held requests, soonest first.
type deadlines[P holdable] []P

func (h deadlines[P]) Len() int           { return len(h) }
func (h deadlines[P]) Less(i, j int) bool { return h[i].place().at.Before(h[j].place().at) }

func (h deadlines[P]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place().index, h[j].place().index = i, j
}

// Push implements heap.Interface.
func (h *deadlines[P]) Push(x any) {
	p := x.(P)
	p.place().index = len(*h)
	*h = append(*h, p)
}

// Pop implements heap.Interface.
func (h *deadlines[P]) Pop() any {
	old := *h
	p := old[len(old)-1]
	var none P
	old[len(old)-1] = none
	*h = old[:len(old)-1]
	return p
}
