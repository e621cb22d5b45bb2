package tier

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"varve/internal/mq"
)

// maxTold bounds the damaged places that are remembered as logged.
const maxTold = 4096

// standIns counts the reads that the archive answered for a damaged hot log,
// and remembers which places were logged.
type standIns struct {
	count atomic.Int64

	mu   sync.Mutex
	told map[damagedPlace]struct{}
}

type damagedPlace struct {
	q  mq.Queue
	at int64
}

// first reports whether a place is new.
func (s *standIns) first(q mq.Queue, at int64) bool {
	s.count.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	k := damagedPlace{q, at}
	if _, told := s.told[k]; told {
		return false
	}
	if s.told == nil || len(s.told) >= maxTold {
		s.told = map[damagedPlace]struct{}{}
	}
	s.told[k] = struct{}{}
	return true
}

// StoodIn is how many reads of the hot log's offsets were answered from the
// archive because the log is damaged there.
func (r *Reader) StoodIn() int64 { return r.stood.count.Load() }

// standIn reads from the archive what the hot log can't give any more; where
// the archive doesn't have it, the log's error stands.
func (r *Reader) standIn(ctx context.Context, s ranges, at int64, lim mq.Limit, damage error) (mq.Batch, error) {
	if at >= s.archived || s.coldErr == nil && !s.cold.Contains(at) {
		return mq.Batch{}, damage
	}
	b, err := r.cold.Read(ctx, s.q, at, lim)
	if err != nil {
		return mq.Batch{}, fmt.Errorf("%w; the archive in its place: %w", damage, err)
	}
	if r.stood.first(s.q, at) {
		r.o.Logger.Error("hot log is damaged, the archive is read in its place", slog.Any("queue", s.q),
			slog.Int64("offset", at), slog.Any("err", damage))
	}
	return b, nil
}
