package timer

import (
	"container/heap"
	"errors"
	"fmt"
	"time"

	"varve/internal/mq"
)

const (
	// backSlack is how far the clock must go back to count as set.
	backSlack = time.Second
	// rescueTurn bounds what one turn looks through after that.
	rescueTurn = 4 << 20
)

// rescue is what came of a clock that was set back. A message that was to wait a
// while was given its time by the clock of before; it waits no longer than that
// while from now. What is due at a time is due when the clock says so.
type rescue struct {
	seen int64     // the newest time that was seen, or that the log has given
	from entry     // the saved entries from here on are still to be looked through
	on   bool      // some are
	list []rescued // a heap, soonest first
}

// rescued is an entry that is delivered before its own time.
type rescued struct {
	at int64
	entry
}

func (r *rescue) Len() int           { return len(r.list) }
func (r *rescue) Less(i, j int) bool { return r.list[i].at < r.list[j].at }
func (r *rescue) Swap(i, j int)      { r.list[i], r.list[j] = r.list[j], r.list[i] }

// Push implements heap.Interface.
func (r *rescue) Push(x any) { r.list = append(r.list, x.(rescued)) }

// Pop implements heap.Interface.
func (r *rescue) Pop() any {
	last := len(r.list) - 1
	x := r.list[last]
	r.list = r.list[:last]
	return x
}

// watch notices a clock that was set back, and goes on with what that asks for.
// more says that there is more to look through.
func (s *Store) watch(now int64) (more bool, err error) {
	back := now < s.rescue.seen-backSlack.Milliseconds()
	s.rescue.seen = now
	if back {
		s.rescue.list, s.rescue.from, s.rescue.on = nil, entry{now, 0}, true
		for e, rec := range s.fresh {
			s.rescueOne(now, e, rec)
		}
	}
	if !s.rescue.on {
		return false, nil
	}
	bytes := 0
	err = s.table.ScanRange(s.rescue.from.key(), "", func(key string, raw []byte) error {
		e, err := entryOf(key)
		if err != nil {
			return err
		}
		if bytes += len(raw); bytes > rescueTurn {
			s.rescue.from = e
			return errFull
		}
		s.rescueOne(now, e, raw)
		return nil
	})
	if errors.Is(err, errFull) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("timer: look for what a clock that was set back holds up: %w", err)
	}
	s.rescue.on = false
	return false, nil
}

func (s *Store) rescueOne(now int64, e entry, rec mq.Record) {
	if _, gone := s.taken[e]; gone {
		return
	}
	if d, ok := s.span(rec); ok && e.due > now+d.Milliseconds() {
		heap.Push(&s.rescue, rescued{now + d.Milliseconds(), e})
	}
}

// collectRescued takes entries whose wait is over before their time.
func (s *Store) collectRescued(u *unit, now int64) error {
	for s.rescue.Len() > 0 && s.rescue.list[0].at <= now && !u.full() {
		e := heap.Pop(&s.rescue).(rescued).entry
		if _, gone := s.taken[e]; gone {
			continue
		}
		rec, ok := s.fresh[e]
		if !ok {
			raw, had, err := s.table.GetRaw(e.key())
			if err != nil {
				return fmt.Errorf("timer: read entry: %w", err)
			}
			if !had {
				continue
			}
			rec = raw
		}
		s.add(u, e, rec)
	}
	return nil
}

// nextRescued is when the next entry is delivered before its time.
func (s *Store) nextRescued() int64 {
	if s.rescue.Len() == 0 {
		return maxDue
	}
	return s.rescue.list[0].at
}
