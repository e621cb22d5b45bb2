package txn

import (
	"container/heap"
	"time"
)

// jumped is how far the clock must be off from what has passed to count as set.
const jumped = 2 * time.Second

// watch notices a clock that was set, and has questions come as long after one
// another as they should; nor is a half older for it. A restart may have been
// over one that was set back.
func (s *Store) watch(now time.Time) {
	millis, at := now.UnixMilli(), time.Now()
	first := s.lookedAt.IsZero()
	passed := at.Sub(s.lookedAt).Milliseconds()
	by := millis - s.lookedClock - passed
	s.lookedClock, s.lookedAt = millis, at
	if d := time.Duration(by) * time.Millisecond; !first && d.Abs() < jumped {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// What came since is by the clock as it is now.
	old := millis - max(by, passed)
	for _, h := range s.queue {
		if !first && (h.since <= old || h.since > millis) {
			h.since += by
			h.due += by
		}
		h.since = min(h.since, millis)
		h.due = min(h.due, millis+max(h.immunity, s.o.CheckInterval).Milliseconds())
	}
	heap.Init(&s.queue)
}
