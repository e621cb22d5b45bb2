package remoting

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// readingBytes bounds the buffers of the frames that are being read by all
	// servers of the process, of those that don't fit a large buffer. Only what
	// has arrived is paid for: a buffer is at most twice that.
	readingBytes = 64 << 20
	// readingPlaces bounds the frames that go on when readingBytes are taken,
	// each up to MaxFrame. The others wait for a place.
	readingPlaces = 4
	// writingBytes is how much may wait to be written on all connections of the
	// process before each is held to crampedHigh.
	writingBytes = 64 << 20
	// crampedHigh is Config.OutHigh where much waits on others.
	crampedHigh = 128 << 10
	// stepBytes of a large frame have to arrive within Config.StepTimeout.
	stepBytes = 1 << 20
)

// budget bounds the memory of large frames that are being read. Bytes are taken
// as a frame grows and never waited for, so that frames that each have a part
// don't wait for each other; a place is waited for, and whoever has one needs
// nothing more.
type budget struct {
	bytes  *semaphore.Weighted
	places *semaphore.Weighted
}

func newBudget(bytes, places int64) *budget {
	return &budget{semaphore.NewWeighted(bytes), semaphore.NewWeighted(places)}
}

// reading is the budget of this process.
var reading = newBudget(readingBytes, readingPlaces)

// share is what one frame has of a budget.
type share struct {
	b     *budget // nil has no bounds
	bytes int64
	place bool
}

// grow takes what a buffer of n bytes needs more than the frame has.
func (s *share) grow(ctx context.Context, n int64) error {
	if s.b == nil || s.place {
		return nil
	}
	if more := n - s.bytes; s.b.bytes.TryAcquire(more) {
		s.bytes += more
		return nil
	}
	if err := s.b.places.Acquire(ctx, 1); err != nil {
		return err
	}
	s.place = true
	return nil
}

// taken reports whether others may have to wait for this frame.
func (s *share) taken() bool { return s.bytes > 0 || s.place }

func (s *share) release() {
	if s.bytes > 0 {
		s.b.bytes.Release(s.bytes)
		s.bytes = 0
	}
	if s.place {
		s.b.places.Release(1)
		s.place = false
	}
}

// step is the progress of a frame that others may have to wait for: so much has
// arrived, and so long was waited for it, since the last whole step.
type step struct {
	bytes  int
	waited time.Duration
}

func (s *step) add(n int, d time.Duration) {
	s.bytes, s.waited = s.bytes+n, s.waited+d
	if s.bytes >= stepBytes {
		*s = step{}
	}
}

// backlog counts what waits to be written on all connections, so that many slow
// readers don't have OutHigh each. Nobody waits for another's bytes: a
// connection that reads its replies goes on.
type backlog struct {
	bytes atomic.Int64
	limit int64
}

// writing is the backlog of this process.
var writing = &backlog{limit: writingBytes}

func (b *backlog) add(n int) {
	if b != nil {
		b.bytes.Add(int64(n))
	}
}

// high is how much may wait on one connection before it is read on.
func (b *backlog) high(high int) int {
	if b != nil && b.bytes.Load() > b.limit {
		return min(high, crampedHigh)
	}
	return high
}
