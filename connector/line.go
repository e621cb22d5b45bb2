package connector

import (
	"math"
	"time"
)

// line is the segments that are not committed, in the order of their first
// records, which is the one in which they were begun.
type line struct {
	segments []*segment
	over     int // of them, those that are done
}

// minLine is how many segments a line has to have before it is tidied.
const minLine = 64

func (l *line) add(g *segment) { l.segments = append(l.segments, g) }

// done takes a segment out, now or later.
func (l *line) done(g *segment) {
	g.done = true
	if l.over++; l.over < minLine || l.over < len(l.segments)/2 {
		return
	}
	kept := l.segments[:0]
	for _, g := range l.segments {
		if !g.done {
			kept = append(kept, g)
		}
	}
	clear(l.segments[len(kept):])
	l.segments, l.over = kept, 0
}

// first is the first segment that is not done, nil for none.
func (l *line) first() *segment {
	for len(l.segments) > 0 && l.segments[0].done {
		l.segments[0] = nil
		l.segments = l.segments[1:]
		l.over--
	}
	if len(l.segments) == 0 {
		return nil
	}
	return l.segments[0]
}

// blocks are the queues that are not archived any more.
type blocks struct {
	queues map[*queue]struct{}
	lowest int64
	stale  bool // lowest may be that of a queue that is gone
}

func (b *blocks) add(q *queue) {
	if b.queues == nil {
		b.queues, b.lowest = map[*queue]struct{}{}, math.MaxInt64
	}
	b.queues[q] = struct{}{}
	b.lowest = min(b.lowest, q.blocked)
}

func (b *blocks) remove(q *queue) {
	if _, ok := b.queues[q]; ok {
		delete(b.queues, q)
		b.stale = true
	}
}

// low is the first position from which on something is not archived for a
// queue's being blocked.
func (b *blocks) low() int64 {
	if len(b.queues) == 0 {
		return math.MaxInt64
	}
	if b.stale {
		b.lowest, b.stale = math.MaxInt64, false
		for q := range b.queues {
			b.lowest = min(b.lowest, q.blocked)
		}
	}
	return b.lowest
}

// restShare is how often the time of a look passes before the next.
const restShare = 25

// rest spaces out looks at things that may be many: with 100,000 queues one
// takes milliseconds, and the owner has other work.
type rest struct{ until time.Time }

// between looks, unless the last look was too costly to look again so soon.
func (r *rest) between(look func()) {
	begun := time.Now()
	if begun.Before(r.until) {
		return
	}
	look()
	end := time.Now()
	r.until = end.Add(end.Sub(begun) * restShare)
}
