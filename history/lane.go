package history

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Limits of cold reads beside sends in one process.
const (
	// coldSlice is how long cold reads decode at a stretch while sends come in.
	// It is what a page of bodies takes, about.
	coldSlice = 200 * time.Microsecond
	// coldPause is how long they stay away from the processors then.
	coldPause = 200 * time.Microsecond
	// hotFor is how long after the hot log's end has moved sends count as
	// coming in.
	hotFor = 20 * time.Millisecond
)

// lane is the way of cold reads through the process's processors: so many at a
// time, and in slices with pauses between while the hot log is written to. The
// number alone leaves a processor for the sends, but not soon enough: the
// kernel lets a thread that computes go on for a millisecond or more before
// one that has just woken, and a send is answered in less. A thread that
// pauses by itself is out of the way at once.
type lane struct {
	places chan struct{}
	end    func() int64 // of the hot log; nil where there is none in the process

	mu      sync.Mutex
	running int           // reads that have a place
	since   time.Time     // when used was brought up to date; of running > 0
	used    time.Duration // of the slice
	seen    int64         // the hot log's end when it was looked at last
	moved   time.Time     // when it was seen to have moved
}

func newLane(places int, end func() int64) *lane {
	l := &lane{places: make(chan struct{}, places), end: end}
	if end != nil {
		l.seen = end()
	}
	return l
}

// enter waits for a place among the reads that decode.
func (l *lane) enter(ctx context.Context) (leave func(), err error) {
	select {
	case l.places <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a cold read's turn: %w", ctx.Err())
	}
	if l.end == nil {
		return func() { <-l.places }, nil
	}
	l.mu.Lock()
	if l.running == 0 {
		l.since = time.Now()
	}
	l.running++
	l.mu.Unlock()
	l.pace()
	return l.leave, nil
}

func (l *lane) leave() {
	l.mu.Lock()
	l.count(time.Now())
	l.running--
	l.mu.Unlock()
	<-l.places
}

// count adds the time since the last count to the slice. mu must be held.
func (l *lane) count(now time.Time) {
	l.used += now.Sub(l.since)
	l.since = now
}

// pace is called by a read between two pieces of work. It pauses where the
// slice is used up and sends come in.
func (l *lane) pace() {
	if l.end == nil {
		return
	}
	now, end := time.Now(), l.end()
	l.mu.Lock()
	if end != l.seen {
		l.seen, l.moved = end, now
	}
	l.count(now)
	pause := false
	if l.used >= coldSlice {
		l.used = 0
		pause = now.Sub(l.moved) < hotFor
	}
	l.mu.Unlock()
	if !pause {
		return
	}
	time.Sleep(coldPause)
	l.mu.Lock()
	l.since = time.Now()
	l.mu.Unlock()
}
