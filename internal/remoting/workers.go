package remoting

import (
	"sync"
	"time"
)

const (
	// keptWorkers is how many idle goroutines a server keeps.
	keptWorkers = 64
	// workerIdle is how long one is kept that nobody needs, or twice that.
	workerIdle = 5 * time.Second
)

// workers runs functions on goroutines that stay for the next function, with a
// stack that has grown already. The last one that became idle is the next one
// to run. A nil *workers makes a goroutine for each function.
type workers struct {
	mu     sync.Mutex
	idle   []chan func()
	spare  int         // of idle, not needed since the last sweep: its first ones
	sweep  *time.Timer // runs while any is idle
	closed bool
}

// run runs f on another goroutine.
func (w *workers) run(f func()) {
	if w == nil {
		go f()
		return
	}
	w.mu.Lock()
	n := len(w.idle)
	if n == 0 {
		w.mu.Unlock()
		go w.work(f)
		return
	}
	next := w.idle[n-1]
	w.idle[n-1] = nil
	w.idle = w.idle[:n-1]
	w.spare = min(w.spare, n-1)
	w.mu.Unlock()
	next <- f
}

func (w *workers) work(f func()) {
	next := make(chan func(), 1) // so that nobody waits for this goroutine to get there
	for f != nil {
		f()
		if !w.rest(next) {
			return
		}
		f = <-next
	}
}

// rest puts a worker among the idle ones; false where there are enough.
func (w *workers) rest(next chan func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.idle) >= keptWorkers {
		return false
	}
	w.idle = append(w.idle, next)
	if w.sweep == nil {
		w.spare = 0
		w.sweep = time.AfterFunc(workerIdle, w.endSpare)
	}
	return true
}

// endSpare ends the workers that nobody has needed since the last time.
func (w *workers) endSpare() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.end(w.spare)
	w.spare = len(w.idle)
	if w.sweep = nil; w.spare > 0 && !w.closed {
		w.sweep = time.AfterFunc(workerIdle, w.endSpare)
	}
}

// end ends the first n idle workers. mu is held.
func (w *workers) end(n int) {
	for _, next := range w.idle[:n] {
		next <- nil
	}
	rest := copy(w.idle, w.idle[n:])
	clear(w.idle[rest:])
	w.idle = w.idle[:rest]
}

// close ends the idle workers; those that run end when they are done.
func (w *workers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.end(len(w.idle))
	w.spare = 0
	if w.sweep != nil {
		w.sweep.Stop()
		w.sweep = nil
	}
}
