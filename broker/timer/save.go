package timer

import (
	"container/heap"
	"errors"
	"fmt"
	"time"

	"varve/internal/meta"
)

// change is one save on its way: memory follows it only when the meta store has
// it.
type change struct {
	ops   []int // by queue, how many of its ops are in it
	added []entry
	done  []entry
}

// save moves to the store what the log has made durable, as far as the store
// takes it now. more says that it left some that it could take at once.
func (s *Store) save() (more bool, err error) {
	if !s.waiting() || s.flushing != nil && s.unflushed >= flushBytes {
		return false, nil
	}
	durable := s.log.Stats().DurablePhysical
	upTo := min(durable, s.firstUnsaved()+saveTurn)
	b := s.meta.Batch()
	c := change{ops: make([]int, len(s.queues))}
	moved := false
	for i, f := range s.queues {
		n := 0
		for n < len(f.ops) && f.ops[n].physical < upTo {
			s.saveOp(b, f, &f.ops[n], &c)
			n++
		}
		c.ops[i] = n
		moved = moved || n > 0
	}
	if !moved {
		return false, b.Discard()
	}
	size := b.Len()
	if err := s.commit(b, &c); err != nil {
		return false, err
	}
	s.apply(&c)
	if s.unflushed += int64(size); s.since.IsZero() {
		s.since = time.Now()
	}
	return upTo < durable && s.waiting() && s.firstUnsaved() < durable, nil
}

// firstUnsaved is the position of the first record that was read and not saved.
// There must be one.
func (s *Store) firstUnsaved() int64 {
	low := int64(maxDue)
	for _, f := range s.queues {
		if len(f.ops) > 0 {
			low = min(low, f.ops[0].physical)
		}
	}
	return low
}

// saveOp writes what one record means. A done record comes after its entry, so
// that a batch with both ends without the entry.
func (s *Store) saveOp(b *meta.Batch, f *follow, o *op, c *change) {
	switch {
	case f.queue.Topic == doneTopic:
		for _, e := range o.done {
			b.Delete(s.table, e.key())
		}
		c.done = append(c.done, o.done...)
	case !o.skip:
		b.PutRaw(s.table, o.add.key(), s.fresh[o.add])
		c.added = append(c.added, o.add)
	}
}

func (s *Store) commit(b *meta.Batch, c *change) error {
	pos := position{Entries: s.entries + int64(len(c.added)-len(c.done)), Next: map[string]int64{}}
	for i, f := range s.queues {
		next := f.saved
		if n := c.ops[i]; n > 0 {
			next = f.ops[n-1].offset + 1
		}
		if next > 0 {
			pos.Next[f.name] = next
		}
	}
	if err := b.Put(s.state, positionKey, pos); err != nil {
		return errors.Join(err, b.Discard())
	}
	if err := b.Commit(false); err != nil {
		return fmt.Errorf("timer: save: %w", err)
	}
	return nil
}

// apply has memory follow a save that the meta store has.
func (s *Store) apply(c *change) {
	for i, f := range s.queues {
		if n := c.ops[i]; n > 0 {
			f.saved = f.ops[n-1].offset + 1
			f.ops = f.ops[n:]
			if len(f.ops) == 0 {
				f.ops = nil
			}
		}
	}
	for _, e := range c.added {
		if _, submitted := s.taken[e]; !submitted && e.less(s.cursor) {
			s.cursor = e
		}
		s.dropFresh(e)
		s.nextDue = -1
	}
	for _, e := range c.done {
		delete(s.taken, e)
	}
	s.entries += int64(len(c.added) - len(c.done))
	s.deleted += len(c.done)
	s.prune()
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
