package txn

import (
	"context"
	"fmt"

	"varve/internal/mq"
)

// read follows both queues to their end, end records last: each has its half
// by then.
func (s *Store) read(ctx context.Context) error {
	end := s.log.Confirmed()
	for _, q := range []struct {
		*follow
		take func(mq.Record)
	}{{&s.halfQueue, s.takeHalf}, {&s.endQueue, s.takeEnd}} {
		for more := true; more; {
			var err error
			if more, err = s.readSome(ctx, q.follow, q.take); err != nil {
				return fmt.Errorf("transactions: follow %v at %d: %w", q.queue, q.next, err)
			}
		}
	}
	s.seen = end
	return nil
}

func (s *Store) readSome(ctx context.Context, f *follow, take func(mq.Record)) (more bool, err error) {
	step, err := s.log.Follow(ctx, f.queue, f.next, readBytes)
	if err != nil {
		return false, err
	}
	if step.Lost {
		s.o.Logger.Error("place in a queue of transactions is outside the log; some may be lost",
			"queue", f.queue.String(), "place", f.next, "from", step.From, "to", step.To)
		f.saved = step.Place
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for rec := range mq.Records(step.Batch.Body) {
		take(rec)
	}
	f.next = step.Batch.Next
	if f == &s.halfQueue {
		s.next = f.next
	}
	return step.More, nil
}

// takeHalf takes a half message in. One that was ended before it was followed
// is known. mu must be held.
func (s *Store) takeHalf(rec mq.Record) {
	h := s.halves[rec.PhysicalOffset()]
	switch {
	case h == nil:
		h = s.newHalf(rec)
		h.followed = true
		s.admit(h)
	case h.state == open:
		h.followed = true
		s.queue.set(h, h.since+h.immunity.Milliseconds())
	default:
		h.followed = true
	}
	if h.state != ended {
		s.keepRecord(h, rec)
	}
	s.fresh = append(s.fresh, h)
}

// takeEnd takes an end record in. mu must be held.
func (s *Store) takeEnd(rec mq.Record) {
	e := end{offset: rec.QueueOffset(), physical: rec.PhysicalOffset()}
	var ok bool
	if e.half, e.verdict, ok = endOf(rec.Body()); !ok {
		s.o.Logger.Error("end of a transaction is broken and passed over", "offset", e.offset, "length", len(rec.Body()))
	}
	s.ends = append(s.ends, e)
	if h := s.halves[e.half]; ok && h != nil {
		s.settle(h, e.verdict, e.physical)
	}
}

// settle has a half follow an end record. The answer of the log and the
// follower both come here, in either order. mu must be held.
func (s *Store) settle(h *half, v Verdict, at int64) {
	if at <= h.opAt {
		return
	}
	h.opAt = at
	if v == restore {
		s.reopen(h)
		return
	}
	if h.state != ended {
		h.topic.open--
		s.count.Open--
	}
	h.state, h.verdict = ended, v
	s.queue.remove(h)
	if v == giveUp { // its record is wanted by save
		return
	}
	s.dropRecord(h)
}

// reopen has a half wait for its end again, and its producer asked at once. mu
// must be held.
func (s *Store) reopen(h *half) {
	if h.state != open {
		h.topic.open++
		s.count.Open++
	}
	h.state, h.verdict = open, 0
	h.checks, h.asked, h.since = 0, 0, s.o.Now().UnixMilli()
	s.queue.set(h, h.since)
	s.touch(h)
}

// touch notes that what is known of the questions about a half changed. mu must
// be held.
func (s *Store) touch(h *half) {
	if !h.changed {
		h.changed = true
		s.dirty = append(s.dirty, h)
	}
}
