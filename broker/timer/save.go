package timer

import (
	"container/heap"
	"fmt"

	"varve/internal/meta"
)

// save moves to the meta store what the log has made durable.
func (s *Store) save(sync bool) error {
	if !s.waiting() && !s.unsaved {
		return nil
	}
	durable := s.log.Stats().DurablePhysical
	b := s.meta.Batch()
	var done []entry
	moved := false
	for _, f := range s.queues {
		n := 0
		for n < len(f.ops) && f.ops[n].physical < durable {
			o := &f.ops[n]
			switch {
			case o.done != nil:
				for _, e := range o.done {
					b.Delete(s.table, e.key())
				}
				done = append(done, o.done...)
			case !o.skip && f.queue.Topic != doneTopic:
				s.saveEntry(b, o.add)
			}
			f.saved = o.offset + 1
			n++
		}
		if n > 0 {
			f.ops = f.ops[n:]
			moved = true
		}
	}
	return s.commit(b, moved, sync, done)
}

func (s *Store) saveEntry(b *meta.Batch, e entry) {
	rec, ok := s.fresh[e]
	if !ok {
		return // finished before it was saved
	}
	b.PutRaw(s.table, e.key(), rec)
	if _, submitted := s.taken[e]; !submitted && e.less(s.cursor) {
		s.cursor = e
	}
	s.nextDue = -1
	s.dropFresh(e)
}

// commit writes a save, synced when it is time to.
func (s *Store) commit(b *meta.Batch, moved, sync bool, done []entry) error {
	now := s.o.Now()
	sync = sync || now.Sub(s.synced) >= syncEvery
	if !moved && !(sync && s.unsaved) {
		return b.Discard()
	}
	pos := position{Next: map[string]int64{}}
	for _, f := range s.queues {
		if f.saved > 0 {
			pos.Next[f.name] = f.saved
		}
	}
	if err := b.Put(s.state, positionKey, pos); err != nil {
		return err
	}
	if err := b.Commit(sync); err != nil {
		return fmt.Errorf("timer: save: %w", err)
	}
	for _, e := range done {
		delete(s.taken, e)
		s.dropFresh(e)
	}
	s.prune()
	s.unsaved = !sync
	if sync {
		s.synced = now
		s.raiseLow()
	}
	return nil
}

// prune rebuilds the heap of fresh entries when most of it is void.
func (s *Store) prune() {
	if len(s.soon) <= 2*len(s.fresh)+minPrune {
		return
	}
	s.soon = s.soon[:0:0]
	for e := range s.fresh {
		if _, gone := s.taken[e]; !gone {
			s.soon = append(s.soon, e)
		}
	}
	heap.Init(&s.soon)
}

// raiseLow moves the held part of the log up to what the meta store durably
// has.
func (s *Store) raiseLow() {
	low := int64(-1)
	for _, f := range s.queues {
		if len(f.ops) > 0 && (low < 0 || f.ops[0].physical < low) {
			low = f.ops[0].physical
		}
	}
	if low < 0 {
		low = s.seen
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.queues {
		s.at[f.name] = saved{f.queue, f.saved}
	}
	s.low = max(s.low, low)
}
