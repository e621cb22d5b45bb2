package timer

import (
	"container/heap"
	"context"
	"fmt"

	"varve/internal/mq"
)

// read follows the queues to their end, done records last: what was delivered
// before a restart has its entry read by then. Once that is done, one turn reads
// so much only, and the next goes on there.
func (s *Store) read(ctx context.Context) error {
	end := s.log.Confirmed()
	s.readBytes, s.behind = 0, false
	for i := range s.queues {
		at := (s.first + i) % len(s.queues)
		f := s.queues[at]
		for {
			full := s.freshN >= maxFreshBytes
			if s.started && (full || s.readBytes >= readTurn) {
				s.behind, s.first = !full, at
				return nil
			}
			if full {
				return nil
			}
			more, err := s.readSome(ctx, f)
			if err != nil {
				return err
			}
			if !more {
				f.read = end
				break
			}
		}
	}
	s.started, s.first = true, 0
	return nil
}

func (s *Store) readSome(ctx context.Context, f *follow) (more bool, err error) {
	step, err := s.log.Follow(ctx, f.queue, f.next, readBytes)
	if err != nil {
		return false, fmt.Errorf("timer: follow %v at %d: %w", f.queue, f.next, err)
	}
	if step.Lost {
		s.o.Logger.Error("timer's place in a queue is outside the log; delayed messages may be lost",
			"queue", f.queue.String(), "place", f.next, "from", step.From, "to", step.To)
		f.saved = step.Place
	}
	for rec := range mq.Records(step.Batch.Body) {
		f.ops = append(f.ops, s.take(f, rec))
		f.read = max(f.read, rec.PhysicalOffset()+1)
	}
	f.next = step.Batch.Next
	s.readBytes += int64(len(step.Batch.Body))
	return step.More, nil
}

// take turns a record into an op, and applies it to memory.
func (s *Store) take(f *follow, rec mq.Record) op {
	o := op{offset: rec.QueueOffset(), physical: rec.PhysicalOffset()}
	if f.queue.Topic == doneTopic {
		body := rec.Body()
		for ; len(body) >= entryLen; body = body[entryLen:] {
			e, _ := entryOf(string(body[:entryLen])) // its length is right
			s.finish(e)
			o.done = append(o.done, e)
		}
		return o
	}
	due, err := s.due(rec, f.queue.Topic)
	if err != nil {
		s.o.Logger.Error("delayed message dropped", "queue", f.queue.String(), "offset", o.offset, "error", err)
		o.skip = true
		return o
	}
	o.add = entry{due, o.physical}
	s.fresh[o.add] = rec
	s.freshN += int64(len(rec))
	s.pending.Add(1)
	heap.Push(&s.soon, o.add)
	return o
}

// finish notes that an entry's done record was read.
func (s *Store) finish(e entry) {
	if !s.taken[e] {
		s.pending.Add(-1)
	}
	s.taken[e] = true
}

func (s *Store) dropFresh(e entry) {
	if rec, ok := s.fresh[e]; ok {
		s.freshN -= int64(len(rec))
		delete(s.fresh, e)
	}
}
