package connector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"varve/hot"
	"varve/internal/mq"
)

// harm is the records that the log can't give, the first of each queue. The
// owner notes them and the watcher looks at them.
type harm struct {
	mu   sync.Mutex
	lost []hot.Lost
}

func (h *harm) note(l hot.Lost) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lost = append(h.lost, l)
}

func (h *harm) all() []hot.Lost {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.lost)
}

func (h *harm) clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lost = nil
}

// lose takes the place of a record that the log can't give: if the archive
// doesn't have it, its queue is blocked there, and the others go on.
func (s *session) lose(l hot.Lost) {
	t := s.topicOf([]byte(l.Queue.Topic))
	if t.system || l.Position < t.from {
		return
	}
	q := s.queueOf(t, l.Queue.ID)
	switch {
	case l.Position <= q.lastPhysical:
		return
	case t.damaged != nil && q.blocked < 0:
		s.block(q, l.Position, t.damaged)
	case q.known && l.Offset < q.next:
		q = s.queueOf(s.reincarnate(t), l.Queue.ID)
	}
	if q.blocked < 0 {
		s.blockLost(q, l)
	}
	q.lastPhysical = l.Position
}

// blockLost blocks a queue from a lost record on.
func (s *session) blockLost(q *queue, l hot.Lost) {
	s.harm.note(l)
	if q.blocked >= 0 { // from a later one on
		q.blocked = min(q.blocked, l.Position)
		s.blocks.add(q)
		return
	}
	s.block(q, l.Position, fmt.Errorf("offset %d: %w", l.Offset, l.Err))
}

// loseFrom gives up what a queue has from a segment on, because the log can't
// give one of its records any more. What the segment has below end stays: there
// is a file of it.
func (s *session) loseFrom(g *segment, end int64, l hot.Lost) {
	q, t := g.q, g.q.topic
	keep := slices.Index(q.frozen, g)
	if end > g.from {
		g.to = end
		keep++
	}
	for _, later := range q.frozen[keep:] {
		later.dropped = true
		s.line.done(later)
		if later.file != nil {
			t.ready--
		}
	}
	q.frozen = q.frozen[:keep]
	if o := q.open; o != nil {
		s.unstage(o)
		delete(t.open, o)
		s.closed()
		s.line.done(o)
		q.open = nil
	}
	s.blockLost(q, l)
}

// lostError says that the log can't give a record of a segment any more.
type lostError struct{ hot.Lost }

func (e lostError) Error() string {
	return fmt.Sprintf("offset %d of %v: %v", e.Offset, e.Queue, e.Err)
}

// lostIn is the error of a segment of which a record is lost. Where the index
// doesn't say where it was, the segment's beginning stands for it.
func (s *session) lostIn(g *segment, at int64, why error) error {
	pos, err := s.c.log.Position(g.q.id, at)
	if err != nil {
		pos = g.firstPhysical
	}
	return lostError{hot.Lost{Queue: g.q.id, Offset: at, Position: pos, Err: why}}
}

// watchLost ends the session when the log can give one of the lost records
// again, or has let it go: the next session goes on with its queue.
func (s *session) watchLost(ctx context.Context) {
	for wait := s.c.backoff(); wait(ctx); {
		for _, l := range s.harm.all() {
			_, err := s.c.log.Read(ctx, l.Queue, l.Offset, mq.Limit{Messages: 1})
			if err == nil || errors.Is(err, mq.ErrTooLow) || errors.Is(err, mq.ErrNoQueue) {
				s.tell(ctx, event{err: fmt.Errorf("offset %d of %v was lost and is readable, or was let go: %w", l.Offset, l.Queue, errAgain)})
				return
			}
		}
	}
}
