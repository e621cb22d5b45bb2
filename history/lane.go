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
	coldPause = 600 * time.Microsecond
	// hotFor is how long after the hot log's end has moved sends count as
	// coming in.
	hotFor = 20 * time.Millisecond
)

// lane is the way of cold reads through the process's processors: so many at a
// time, and while the hot log is written to half as many, in slices with
// pauses between. The number alone leaves a processor for the sends, but not soon enough: the
// kernel lets a thread that computes go on for a millisecond or more before
// one that has just woken, and a send is answered in less. A thread that
// pauses by itself is out of the way at once.
type lane struct {
	places chan struct{}
	beside chan struct{} // the fewer places beside sends
	end    func() int64  // of the hot log; nil where there is none in the process

	mu      sync.Mutex
	running int           // reads that have a place
	since   time.Time     // when used was brought up to date; of running > 0
	used    time.Duration // of the slice
	seen    int64         // the hot log's end when it was looked at last
	moved   time.Time     // when it was seen to have moved
}

func newLane(places int, end func() int64) *lane {
	l := &lane{places: make(chan struct{}, places), beside: make(chan struct{}, max(1, places/2)), end: end}
	if end != nil {
		l.seen = end()
	}
	return l
}

// enter waits for a place among the reads that decode.
func (l *lane) enter(ctx context.Context) (leave func(), err error) {
	if err := take(ctx, l.places); err != nil {
		return nil, err
	}
	if l.end == nil {
		return func() { <-l.places }, nil
	}
	hot := l.hot(time.Now())
	if hot {
		if err := take(ctx, l.beside); err != nil {
			<-l.places
			return nil, err
		}
	}
	l.mu.Lock()
	if l.running == 0 {
		l.since = time.Now()
	}
	l.running++
	l.mu.Unlock()
	l.pace()
	return func() { l.leave(hot) }, nil
}

func take(ctx context.Context, places chan struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for a cold read's turn: %w", ctx.Err())
	}
}

func (l *lane) leave(hot bool) {
	l.mu.Lock()
	l.count(time.Now())
	l.running--
	l.mu.Unlock()
	if hot {
		<-l.beside
	}
	<-l.places
}

// hot reports whether sends come in.
func (l *lane) hot(now time.Time) bool {
	end := l.end()
	l.mu.Lock()
	defer l.mu.Unlock()
	if end != l.seen {
		l.seen, l.moved = end, now
	}
	return now.Sub(l.moved) < hotFor
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
	now := time.Now()
	hot := l.hot(now)
	l.mu.Lock()
	l.count(now)
	pause := false
	if l.used >= coldSlice {
		l.used = 0
		pause = hot
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
