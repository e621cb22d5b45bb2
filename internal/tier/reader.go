package tier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"

	"varve/internal/mq"
)

// Errors of a Reader, wrapped with the queue and the offsets. Neither may be
// taken for an offset that is out of range: the messages may come back.
var (
	// ErrBehind says that the archive doesn't have what was archived. Where its
	// reader has not yet seen a commit, that passes by itself; where the archive
	// is older than the log, somebody has to bring the right one back.
	ErrBehind = errors.New("the archive ends before the archived mark")
	// ErrHole says that messages between the archive's end and the hot log's
	// start are in neither, and that no policy dropped them.
	ErrHole = errors.New("messages are missing between the archive and the hot log")
)

// maxTries bounds how often one call starts again because the border moved
// under it. Each time at least one whole segment was trimmed.
const maxTries = 16

// Source is one side: a tier that reads by offset and finds by other names.
type Source interface {
	mq.Reader
	mq.Finder
}

// Options say how the sides meet. Marks is required.
type Options struct {
	// Marks gives a queue's archived mark, the first offset that is in no
	// committed snapshot, and the first offset above what the user's policy let
	// the hot log drop before it was archived, 0 for nothing.
	Marks func(q mq.Queue) (archived, dropped int64)
	// Damaged tells the hot log's errors that last: the archive is then read in
	// its place. Nil for none.
	Damaged func(error) bool
	Logger  *slog.Logger // discards
}

// Reader reads the hot log and the archive as one. It may be used
// concurrently.
type Reader struct {
	hot, cold Source
	o         Options
	stood     standIns
}

var (
	_ mq.Reader = (*Reader)(nil)
	_ mq.Finder = (*Reader)(nil)
)

// NewReader stitches two sides.
func NewReader(hot, cold Source, o Options) *Reader {
	if o.Damaged == nil {
		o.Damaged = func(error) bool { return false }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Reader{hot: hot, cold: cold, o: o}
}

// Range implements mq.Reader: from the first archived offset (the hot start
// where nothing is archived) to the hot end.
func (r *Reader) Range(ctx context.Context, q mq.Queue) (mq.Range, error) {
	s, err := r.ranges(ctx, q)
	if err != nil {
		return mq.Range{}, err
	}
	return s.whole(), s.unknown()
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
			switch {
			case errors.Is(err, mq.ErrTooLow):
				continue // trimmed since we looked
			case err != nil && r.o.Damaged(err):
				b, err = r.standIn(ctx, s, at, lim, err)
			}
			s.hot.To = max(s.hot.To, b.Range.To)
			b.Range = s.whole()
			return b, err
		}
		b, again, err := r.readCold(ctx, s, at, lim)
		if !again {
			return b, err
		}
	}
	return mq.Batch{}, fmt.Errorf("read %v at %d: the border moved %d times: %w", q, at, maxTries, ErrBehind)
}

// readCold reads below the hot start; again says that the ranges are out of
// date.
func (r *Reader) readCold(ctx context.Context, s ranges, at int64, lim mq.Limit) (b mq.Batch, again bool, err error) {
	if err := s.unknown(); err != nil {
		return mq.Batch{}, false, fmt.Errorf("read at %d: %w", at, err)
	}
	whole := s.whole()
	if at < whole.From {
		return mq.Batch{}, false, fmt.Errorf("read %v at %d, range starts at %d: %w", s.q, at, whole.From, mq.ErrTooLow)
	}
	if at >= s.cold.To {
		if err := s.missing(at); err != nil {
			return mq.Batch{}, false, fmt.Errorf("read at %d: %w", at, err)
		}
		return mq.Batch{Next: s.hot.From, Range: whole}, false, nil // dropped unarchived
	}
	if left := s.hot.From - at; lim.Scan == 0 || int64(lim.Scan) > left {
		lim.Scan = int(min(left, math.MaxInt32))
	}
	b, err = r.cold.Read(ctx, s.q, at, lim)
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
		s, err := r.ranges(ctx, q)
		if err == nil && s.hot.Empty() {
			err = s.unknown()
		}
		w := s.whole()
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
		if off > s.hot.From {
			return off, whole, nil // the message before off is hot and earlier
		}
		// All that is hot is late enough: cold may have an earlier one.
		if err := s.allBelow(); err != nil {
			return 0, whole, fmt.Errorf("search by time: %w", err)
		}
		if whole.From == s.hot.From { // nothing is cold
			return s.hot.From, whole, nil
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
