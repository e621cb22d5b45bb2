package tier

import (
	"context"
	"errors"
	"fmt"

	"varve/internal/mq"
)

// ranges are both sides' ranges of a queue, read in the order that keeps them
// consistent: hot first, so that what left hot before is in cold's.
type ranges struct {
	q                 mq.Queue
	hot, cold         mq.Range
	hasHot, hasCold   bool
	archived, dropped int64
	coldErr           error // why cold's is not known, where hot has the queue
}

// ranges gives both ranges. Where the archive doesn't answer, what is hot is
// known all the same; see unknown.
func (r *Reader) ranges(ctx context.Context, q mq.Queue) (s ranges, err error) {
	s.q = q
	switch s.hot, err = r.hot.Range(ctx, q); {
	case err == nil:
		s.hasHot = true
	case !errors.Is(err, mq.ErrNoQueue):
		return s, err
	}
	switch s.cold, err = r.cold.Range(ctx, q); {
	case err == nil:
		s.hasCold = true
	case errors.Is(err, mq.ErrNoQueue):
	case s.hasHot:
		s.coldErr = err
	default:
		return s, err
	}
	if !s.hasHot && !s.hasCold {
		return s, fmt.Errorf("queue %v: %w", q, mq.ErrNoQueue)
	}
	s.archived, s.dropped = r.o.Marks(q)
	return s, nil
}

// whole is the range of both sides together. Where cold's is not known it is
// the widest that it can be: nobody may take the hot start for the first
// offset.
func (s *ranges) whole() mq.Range {
	switch {
	case !s.hasHot:
		return s.cold
	case s.coldErr != nil && s.archived > 0:
		return mq.Range{To: s.hot.To}
	case !s.hasCold, s.cold.From >= s.hot.From, s.cold.Empty() && s.missing(s.cold.To) == nil:
		return s.hot
	}
	return mq.Range{From: s.cold.From, To: s.hot.To}
}

// unknown is why the first offset is not known: the archive doesn't answer, or
// lacks a queue that was archived. Nil where it is known.
func (s *ranges) unknown() error {
	switch {
	case !s.hasHot || s.hot.From == 0:
		return nil
	case s.coldErr != nil:
		return s.coldErr
	case !s.hasCold:
		return s.missing(0)
	}
	return nil
}

// allBelow is why not every offset below the hot start is cold, dropped by the
// policy or removed by retention; nil where it is.
func (s *ranges) allBelow() error {
	if err := s.unknown(); err != nil || s.cold.To >= s.hot.From {
		return err
	}
	return s.missing(s.cold.To)
}

// missing is why an offset from cold's end on, below the hot start, is on
// neither side; nil where the user's policy dropped it. The broker's own topics
// are never archived: what is trimmed of them is gone.
func (s *ranges) missing(at int64) error {
	switch {
	case s.hot.From <= at:
		return nil
	case at < s.archived:
		return fmt.Errorf("%v is archived up to %d, of which the archive has what is below %d: %w", s.q, s.archived, s.cold.To, ErrBehind)
	case s.dropped >= s.hot.From, mq.SystemTopic(s.q.Topic):
		return nil
	}
	return fmt.Errorf("offsets %d to %d of %v: %w", max(s.cold.To, s.archived), s.hot.From-1, s.q, ErrHole)
}
