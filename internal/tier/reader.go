package tier

import (
	"context"
	"errors"
	"fmt"
	"math"

	"varve/internal/mq"
)

// ErrBehind says that the archive's reader has not yet seen a commit that the
// hot log was trimmed by. It passes by itself.
var ErrBehind = errors.New("the archive's reader is behind the archived mark")

// maxTries bounds how often one call starts again because the border moved
// under it. Each time at least one whole segment was trimmed.
const maxTries = 16

// Source is one side: a tier that reads by offset and finds by other names.
type Source interface {
	mq.Reader
	mq.Finder
}

// Reader reads the hot log and the archive as one. It may be used
// concurrently.
type Reader struct {
	hot, cold Source
	archived  func(mq.Queue) int64
}

var (
	_ mq.Reader = (*Reader)(nil)
	_ mq.Finder = (*Reader)(nil)
)

// NewReader stitches two sides. archived gives a queue's archived mark, the
// first offset that is in no committed snapshot.
func NewReader(hot, cold Source, archived func(mq.Queue) int64) *Reader {
	return &Reader{hot: hot, cold: cold, archived: archived}
}

// ranges are both sides' ranges of a queue, read in the order that keeps them
// consistent: hot first, so that what left hot before is in cold's.
type ranges struct {
	hot, cold       mq.Range
	hasHot, hasCold bool
}

func (r *Reader) ranges(ctx context.Context, q mq.Queue) (s ranges, err error) {
	switch s.hot, err = r.hot.Range(ctx, q); {
	case err == nil:
		s.hasHot = true
	case !errors.Is(err, mq.ErrNoQueue):
		return s, err
	}
	switch s.cold, err = r.cold.Range(ctx, q); {
	case err == nil:
		s.hasCold = true
	case !errors.Is(err, mq.ErrNoQueue):
		return s, err
	}
	if !s.hasHot && !s.hasCold {
		return s, fmt.Errorf("queue %v: %w", q, mq.ErrNoQueue)
	}
	return s, nil
}

// whole is the range of both sides together.
func (s ranges) whole() mq.Range {
	switch {
	case !s.hasHot:
		return s.cold
	case !s.hasCold || s.cold.Empty() || s.cold.From >= s.hot.From:
		return s.hot
	}
	return mq.Range{From: s.cold.From, To: s.hot.To}
}

// Range implements mq.Reader: from the first archived offset (the hot start
// where nothing is archived) to the hot end.
func (r *Reader) Range(ctx context.Context, q mq.Queue) (mq.Range, error) {
	s, err := r.ranges(ctx, q)
	return s.whole(), err
}

// Read implements mq.Reader.
func (r *Reader) Read(ctx context.Context, q mq.Queue, at int64, lim mq.Limit) (mq.Batch, error) {
	for range maxTries {
		s, err := r.ranges(ctx, q)
		if err != nil {
			return mq.Batch{}, err
		}
		if !s.hasHot {
			return r.cold.Read(ctx, q, at, lim)
		}
		if at >= s.hot.From {
			b, err := r.hot.Read(ctx, q, at, lim)
			if errors.Is(err, mq.ErrTooLow) {
				continue // trimmed since we looked
			}
			s.hot.To = max(s.hot.To, b.Range.To)
			b.Range = s.whole()
			return b, err
		}
		b, again, err := r.readCold(ctx, q, at, lim, s)
		if !again {
			return b, err
		}
	}
	return mq.Batch{}, fmt.Errorf("read %v at %d: the border moved %d times: %w", q, at, maxTries, ErrBehind)
}

// readCold reads below the hot start; again says that the ranges are out of
// date.
func (r *Reader) readCold(ctx context.Context, q mq.Queue, at int64, lim mq.Limit, s ranges) (b mq.Batch, again bool, err error) {
	whole := s.whole()
	if at < whole.From {
		return mq.Batch{}, false, fmt.Errorf("read %v at %d, range starts at %d: %w", q, at, whole.From, mq.ErrTooLow)
	}
	if at >= s.cold.To {
		if mark := r.archived(q); at < mark {
			return mq.Batch{}, false, fmt.Errorf("read %v at %d: cold ends at %d, archived mark is %d: %w", q, at, s.cold.To, mark, ErrBehind)
		}
		return mq.Batch{Next: s.hot.From, Range: whole}, false, nil // dropped unarchived
	}
	if left := s.hot.From - at; lim.Scan == 0 || int64(lim.Scan) > left {
		lim.Scan = int(min(left, math.MaxInt32))
	}
	b, err = r.cold.Read(ctx, q, at, lim)
	switch {
	case errors.Is(err, mq.ErrTooLow), errors.Is(err, mq.ErrNoQueue):
		// Retention took it since we looked: the next turn says so with the
		// range of now.
		return b, true, nil
	case err != nil:
		return mq.Batch{}, false, err
	}
	b.Range = whole
	return b, false, nil
}

// OffsetAt implements mq.Reader, exactly over both sides: store times never
// fall along a queue, so the first message at or after a time is cold's answer
// where cold has one, else hot's.
func (r *Reader) OffsetAt(ctx context.Context, q mq.Queue, millis int64, b mq.Bound) (int64, error) {
	if b == mq.Lower {
		off, _, err := r.firstAtOrAfter(ctx, q, millis)
		return off, err
	}
	// The last at or before a time is the one before the first after it.
	if millis == math.MaxInt64 {
		w, err := r.Range(ctx, q)
		return max(w.From, w.To-1), err
	}
	off, w, err := r.firstAtOrAfter(ctx, q, millis+1)
	return max(w.From, off-1), err
}

// firstAtOrAfter gives the answer and the range that it is an answer for.
func (r *Reader) firstAtOrAfter(ctx context.Context, q mq.Queue, millis int64) (int64, mq.Range, error) {
	for range maxTries {
		before, err := r.ranges(ctx, q)
		if err != nil {
			return 0, mq.Range{}, err
		}
		if !before.hasHot {
			off, err := r.cold.OffsetAt(ctx, q, millis, mq.Lower)
			return off, before.cold, err
		}
		off, err := r.hot.OffsetAt(ctx, q, millis, mq.Lower)
		if err != nil {
			return 0, mq.Range{}, err
		}
		s, err := r.ranges(ctx, q)
		if err != nil {
			return 0, mq.Range{}, err
		}
		whole := s.whole()
		if off > s.hot.From || whole.From == s.hot.From {
			// The message before off was hot and earlier, or nothing is cold.
			return max(off, s.hot.From), whole, nil
		}
		// All that is hot is late enough: cold may have an earlier one.
		if mark := r.archived(q); s.cold.To < min(s.hot.From, mark) {
			return 0, whole, fmt.Errorf("search %v by time: cold ends at %d, archived mark is %d: %w", q, s.cold.To, mark, ErrBehind)
		}
		switch cold, err := r.cold.OffsetAt(ctx, q, millis, mq.Lower); {
		case errors.Is(err, mq.ErrNoQueue):
			continue // dropped since we looked
		case err != nil:
			return 0, whole, err
		case cold < s.cold.To:
			return cold, whole, nil
		}
		return max(off, s.hot.From), whole, nil
	}
	return 0, mq.Range{}, fmt.Errorf("search %v by time: the border moved %d times: %w", q, maxTries, ErrBehind)
}
