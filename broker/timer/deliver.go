package timer

import (
	"container/heap"
	"errors"
	"fmt"
	"time"

	"varve/hot"
	"varve/internal/mq"
)

// unit is deliveries that go to the log together.
type unit struct {
	entries []entry
	msgs    []*mq.Message
	recalls []*recall // its entries are these, and it has no messages
	bytes   int
}

func (u *unit) full() bool { return len(u.entries) >= unitMessages || u.bytes >= unitBytes }

var errFull = errors.New("unit is full")

// deliver hands everything that is due to the log, as far as it takes it, and
// gives the time to the next due entry, -1 where there is none.
func (s *Store) deliver() (time.Duration, error) {
	if !s.started {
		return -1, nil
	}
	if wait := time.Until(s.paused); wait > 0 {
		return wait, nil
	}
	now := s.o.Now()
	more, err := s.watch(now.UnixMilli())
	if err != nil {
		return 0, err
	}
	for s.units < maxUnits {
		var u unit
		if err := s.collectRescued(&u, now.UnixMilli()); err != nil {
			return 0, err
		}
		s.collectFresh(&u, now.UnixMilli())
		if err := s.collectSaved(&u, now.UnixMilli()); err != nil {
			return 0, err
		}
		if len(u.entries) == 0 && more {
			return 0, nil
		}
		if len(u.entries) == 0 {
			return s.untilNext(now)
		}
		s.submit(&u)
	}
	return -1, nil // a result wakes
}

// collectFresh takes due entries that are not in the meta store yet.
func (s *Store) collectFresh(u *unit, now int64) {
	for len(s.soon) > 0 && !u.full() && s.soon[0].due <= now {
		e := heap.Pop(&s.soon).(entry)
		rec, ok := s.fresh[e]
		if _, gone := s.taken[e]; ok && !gone {
			s.add(u, e, rec)
		}
	}
}

// collectSaved takes due entries from the meta store, from the cursor on.
func (s *Store) collectSaved(u *unit, now int64) error {
	if s.nextDue > now || u.full() {
		return nil
	}
	end := entry{now + 1, 0}
	if !s.cursor.less(end) {
		return nil
	}
	err := s.table.ScanRange(s.cursor.key(), end.key(), func(key string, raw []byte) error {
		e, err := entryOf(key)
		if err != nil {
			return err
		}
		if u.full() {
			s.cursor = e
			return errFull
		}
		if _, gone := s.taken[e]; !gone {
			s.add(u, e, raw)
		}
		return nil
	})
	switch {
	case errors.Is(err, errFull):
		return nil
	case err != nil:
		return fmt.Errorf("timer: read due entries: %w", err)
	}
	s.cursor, s.nextDue = end, -1
	return nil
}

// add puts an entry's message into a unit. One that can't be rebuilt is only
// named in the done record, so that it stops no other.
func (s *Store) add(u *unit, e entry, rec mq.Record) {
	s.taken[e] = false
	u.entries = append(u.entries, e)
	u.bytes += len(rec)
	if id, ok := mq.Property(rec.Properties(), mq.PropTimerDelete); ok {
		s.addDeleted(u, e, rec, string(id))
		return
	}
	m, err := original(rec)
	if err != nil {
		s.o.Logger.Error("delayed message can't be delivered and is dropped", "physical", e.physical, "due", e.due, "error", err)
		return
	}
	if s.o.Wanted != nil && !s.o.Wanted(m.Topic) {
		s.o.Logger.Warn("delayed message dropped, its topic was deleted", "topic", m.Topic, "physical", e.physical, "due", e.due)
		return
	}
	u.msgs = append(u.msgs, &m)
}

// submit gives a unit to the log, with its done record.
func (s *Store) submit(u *unit) {
	body := make([]byte, 0, entryLen*len(u.entries))
	for _, e := range u.entries {
		body = e.append(body)
	}
	s.units++
	msgs := append(u.msgs, &mq.Message{Topic: doneTopic, Body: body, BornTimeMillis: s.o.Now().UnixMilli()})
	list, recalls := u.entries, u.recalls
	s.log.Submit(msgs, func(_ []hot.Placed, err error) {
		s.results <- result{list, recalls, err} // has room for every unit under way
	})
}

// settle takes in what became of a unit. One that the log refused is due
// again, a little later.
func (s *Store) settle(r result) {
	s.units--
	s.settleRecalls(r.recalls, r.err)
	if r.err == nil {
		return // the done record, when it is read, finishes the entries
	}
	now := s.o.Now().UnixMilli()
	for _, e := range r.entries {
		delete(s.taken, e)
		if e.due > now {
			s.rescue.seen = maxDue // it may have been one that watch found, which looks again
		}
		if _, ok := s.fresh[e]; ok {
			heap.Push(&s.soon, e)
			continue
		}
		if e.less(s.cursor) {
			s.cursor = e
		}
		s.nextDue = -1
	}
	s.paused = time.Now().Add(retryAfter)
	s.o.Logger.Warn("log refused delayed messages, will try again", "messages", len(r.entries), "error", r.err, "wait", retryAfter)
}

// untilNext is the time to the next due entry, at most maxSleep; -1 where there
// is none.
func (s *Store) untilNext(now time.Time) (time.Duration, error) {
	if s.nextDue < 0 {
		s.nextDue = maxDue
		err := s.table.ScanRange(s.cursor.key(), "", func(key string, _ []byte) error {
			e, err := entryOf(key)
			if err != nil {
				return err
			}
			s.nextDue = e.due
			return errFull
		})
		if err != nil && !errors.Is(err, errFull) {
			return 0, fmt.Errorf("timer: read next entry: %w", err)
		}
	}
	due := min(s.nextDue, s.nextRescued())
	if len(s.soon) > 0 {
		due = min(due, s.soon[0].due)
	}
	if due == maxDue {
		return -1, nil
	}
	return min(max(0, time.UnixMilli(due).Sub(now)), maxSleep), nil
}
