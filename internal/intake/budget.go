package intake

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// defaultBytes bounds what is being read at once by all ports of the process.
	defaultBytes = 64 << 20
	// defaultPlaces bounds the readers that go on when those are taken, each up
	// to the longest message. The others wait for a place.
	defaultPlaces = 4
	// StepBytes have to arrive for each StepTime of a reader that others may have
	// to wait for.
	StepBytes = 1 << 20
	// StepTime is what StepBytes may take.
	StepTime = 5 * time.Second
)

// Budget bounds the memory of what is being read.
type Budget struct {
	bytes   *semaphore.Weighted
	places  *semaphore.Weighted
	taken   atomic.Int64
	waiting atomic.Int64
}

// Stats is the figures of a budget.
type Stats struct {
	Bytes   int64 // taken, without those of places
	Waiting int   // readers that wait for a place
}

// Stats gives the figures now.
func (b *Budget) Stats() Stats { return Stats{b.taken.Load(), int(b.waiting.Load())} }

// New makes a budget of its own.
func New(bytes, places int64) *Budget {
	return &Budget{bytes: semaphore.NewWeighted(bytes), places: semaphore.NewWeighted(places)}
}

// Process is the budget of this process.
var Process = New(defaultBytes, defaultPlaces)

// Untaken reports whether so many bytes and places are left, and takes them: for
// tests.
func (b *Budget) Untaken(bytes, places int64) bool {
	return b.bytes.TryAcquire(bytes) && b.places.TryAcquire(places)
}

// Share makes what one reader has of the budget. A nil budget has no bounds.
func (b *Budget) Share() Share { return Share{b: b} }

// Share is what one reader has of a budget.
type Share struct {
	b     *Budget
	bytes int64
	place bool
}

// Grow takes what n bytes in all are more than the share has, or waits for a
// place.
func (s *Share) Grow(ctx context.Context, n int64) error {
	if s.TryGrow(n) {
		return nil
	}
	s.b.waiting.Add(1)
	defer s.b.waiting.Add(-1)
	if err := s.b.places.Acquire(ctx, 1); err != nil {
		return err
	}
	s.place = true
	return nil
}

// TryGrow is Grow that doesn't wait: false where it would.
func (s *Share) TryGrow(n int64) bool {
	more := n - s.bytes
	if s.b == nil || s.place || more <= 0 {
		return true
	}
	if !s.b.bytes.TryAcquire(more) {
		return false
	}
	s.bytes += more
	s.b.taken.Add(more)
	return true
}

// Taken reports whether others may have to wait for this reader.
func (s *Share) Taken() bool { return s.bytes > 0 || s.place }

// Release gives all of it back.
func (s *Share) Release() {
	if s.bytes > 0 {
		s.b.bytes.Release(s.bytes)
		s.b.taken.Add(-s.bytes)
		s.bytes = 0
	}
	if s.place {
		s.b.places.Release(1)
		s.place = false
	}
}

// Step is the progress of a reader that others may have to wait for: so much has
// arrived, and so long was waited for it, since the last whole step.
type Step struct {
	Bytes  int
	Waited time.Duration
}

// Add notes what came and how long that was waited for.
func (s *Step) Add(n int, d time.Duration) {
	s.Bytes, s.Waited = s.Bytes+n, s.Waited+d
	if s.Bytes >= StepBytes {
		*s = Step{}
	}
}
