package hot

import (
	"context"
	"errors"
	"fmt"
	"io"

	"varve/hot/segment"
	"varve/internal/mq"
)

// Tail is one follower of the durable log. Its methods are for one goroutine.
type Tail struct {
	s    *Store
	at   int64 // where Next goes on
	wake chan struct{}

	g    *seg // segment that sc scans; no reference is held between calls
	sc   *segment.Scanner
	rest []byte // records of the last batch that were not given yet
	end  int64  // position after that batch
	out  []byte
}

// Tail follows the log in physical order from a position on: one that Next
// gave, one at which a record begins, or 0 for the beginning of a log of which
// nothing was trimmed.
func (s *Store) Tail(from int64) *Tail {
	t := &Tail{s: s, at: from, wake: make(chan struct{}, 1)}
	s.mu.Lock()
	s.tails[t] = struct{}{}
	s.mu.Unlock()
	s.tailCount.Add(1)
	return t
}

// Close ends the following.
func (t *Tail) Close() error {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if _, ok := t.s.tails[t]; ok {
		delete(t.s.tails, t)
		t.s.tailCount.Add(-1)
	}
	return nil
}

// wakeTails tells followers that there may be more, or that there never will.
func (s *Store) wakeTails() {
	if s.tailCount.Load() == 0 {
		return
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for t := range s.tails {
		wake(t.wake)
	}
}

// Next waits for records and gives up to maxBytes of them (at least one),
// concatenated, with the position to go on from. ErrTrimmed says that the
// position is below the first that the log holds; after an error that Damaged
// tells, which comes when all before the damage was given, Past goes on. The
// records are valid until the next call. Records of deleted topics are left out.
func (t *Tail) Next(ctx context.Context, maxBytes int) (records []byte, next int64, err error) {
	for {
		err := t.read(maxBytes)
		if len(t.out) > 0 { // what stands before an error, which the next call meets again
			return t.out, t.at, nil
		}
		if err != nil {
			return nil, t.at, fmt.Errorf("following the log at position %d: %w", t.at, err)
		}
		if err := t.s.failure(); err != nil {
			return nil, t.at, fmt.Errorf("following the log at position %d: %w", t.at, err)
		}
		select {
		case <-t.wake:
		case <-ctx.Done():
			return nil, t.at, ctx.Err()
		}
	}
}

// read fills t.out with what there is.
func (t *Tail) read(maxBytes int) error {
	t.out = t.out[:0]
	if cap(t.out) > 2*max(maxBytes, batchBytes) {
		t.out = nil
	}
	if err := t.s.enter(); err != nil {
		return err
	}
	defer t.s.leave()
	deleted := t.s.deletions()
	for {
		if more := t.take(maxBytes, deleted); !more {
			return nil
		}
		more, err := t.batch()
		if err != nil || !more {
			return err
		}
	}
}

// take moves records from t.rest to t.out; more says that there is room left.
func (t *Tail) take(maxBytes int, deleted map[string]int64) (more bool) {
	for len(t.rest) > 0 {
		r, rest, err := mq.NextRecord(t.rest)
		if err != nil { // the scanner has checked them
			t.rest = nil
			break
		}
		if len(deleted) == 0 || r.PhysicalOffset() >= deleted[string(r.Topic())] {
			if len(t.out) > 0 && len(t.out)+len(r) > maxBytes {
				return false
			}
			t.out = append(t.out, r...)
		}
		t.rest = rest
		t.at = r.PhysicalOffset() + int64(len(r))
		if len(rest) == 0 {
			t.at = t.end
		}
	}
	return len(t.out) < maxBytes
}

// batch reads the next batch into t.rest; more is false where there is none
// yet.
func (t *Tail) batch() (more bool, err error) {
	s := t.s
	limit := min(s.durable.Load(), s.confirmed.Load())
	if t.at >= limit {
		return false, nil
	}
	if first := s.files.first(); t.at < first {
		return false, fmt.Errorf("%w: the log begins at %d", ErrTrimmed, first)
	}
	g := s.files.acquireFrom(t.at)
	if g == nil {
		return false, nil
	}
	defer s.letGo([]*seg{g})
	limit = min(limit, g.end.Load())
	fresh := t.g != g || t.sc.Pos() != t.at
	if fresh {
		t.at = max(t.at, g.base+segment.HeaderLen)
		t.g, t.sc = g, segment.NewScanner(g.f, g.base, t.at, limit, g.epoch)
	} else {
		t.sc.SetLimit(limit)
	}
	b, err := t.sc.Next()
	if fresh && errors.Is(err, segment.ErrInvalid) {
		b, err = t.inside(g, limit)
	}
	switch {
	case errors.Is(err, io.EOF) && t.sc.Pos() >= limit:
		t.at = max(t.at, limit)
		return limit < min(s.durable.Load(), s.confirmed.Load()), nil
	case errors.Is(err, io.EOF):
		return false, fmt.Errorf("%w: %s ends at position %d", ErrCorrupt, g.path, t.sc.Pos())
	case errors.Is(err, segment.ErrInvalid):
		return false, fmt.Errorf("%w: %s at position %d: %w", ErrCorrupt, g.path, t.sc.Pos(), err)
	case err != nil:
		return false, fmt.Errorf("reading %s: %w", g.path, err)
	}
	if t.rest, t.end = b.Records[max(0, t.at-b.Start):], b.End(); len(t.rest) == 0 {
		t.at = t.end // it stood at the batch's trailer
	}
	return true, nil
}

// inside finds the batch that holds the record at t.at and reads it.
func (t *Tail) inside(g *seg, limit int64) (segment.Batch, error) {
	start, err := segment.FindStart(g.f, g.base, t.at, limit)
	if err != nil {
		return segment.Batch{}, err
	}
	t.sc = segment.NewScanner(g.f, g.base, start, limit, g.epoch)
	return t.sc.Next()
}
