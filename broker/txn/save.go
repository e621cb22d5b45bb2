package txn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"varve/internal/meta"
	"varve/internal/mq"
)

// save moves to the meta store what lies below cut, a position that the log
// has synced and up to which both queues were followed: a half and its end are
// on the same side of it, or the half is before.
func (s *Store) save(cut int64, sync bool) error {
	nHalves, nEnds := 0, 0
	for nHalves < len(s.fresh) && s.fresh[nHalves].physical < cut {
		nHalves++
	}
	for nEnds < len(s.ends) && s.ends[nEnds].physical < cut {
		nEnds++
	}
	now := time.Now()
	sync = sync || now.Sub(s.synced) >= syncEvery
	moved := nHalves > 0 || nEnds > 0
	if !moved && !s.anyDirty() && !(sync && s.unsaved) {
		return nil
	}
	b := s.meta.Batch()
	saved, err := s.write(b, s.fresh[:nHalves], s.ends[:nEnds])
	if err == nil {
		err = b.Put(s.state, positionKey, position{Half: s.after(nHalves), End: s.afterEnd(nEnds)})
	}
	if err != nil {
		return errors.Join(fmt.Errorf("transactions: save: %w", err), b.Discard())
	}
	dirty, err := s.writeChecks(b, saved)
	if err != nil {
		return errors.Join(err, b.Discard())
	}
	if err := b.Commit(sync); err != nil {
		s.mu.Lock()
		s.dirty = append(dirty, s.dirty...)
		s.mu.Unlock()
		return fmt.Errorf("transactions: save: %w", err)
	}
	s.apply(saved, dirty, nHalves, nEnds)
	s.unsaved = !sync
	if sync {
		s.synced = now
		s.raiseLow()
	}
	return nil
}

// after is the first offset of the half queue that n more saved halves leave.
func (s *Store) after(n int) int64 {
	if n == 0 {
		return s.halfQueue.saved
	}
	return s.fresh[n-1].offset + 1
}

func (s *Store) afterEnd(n int) int64 {
	if n == 0 {
		return s.endQueue.saved
	}
	return s.ends[n-1].offset + 1
}

// write puts into the batch what halves and end records come to, and gives the
// halves that it saves. Most are ended by the same batch, which leaves nothing
// of them.
func (s *Store) write(b *meta.Batch, halves []*half, ends []end) (saved map[int64]*half, err error) {
	saved = make(map[int64]*half, len(halves))
	for _, h := range halves {
		saved[h.physical] = h
	}
	for _, e := range ends {
		k := key(e.half)
		_, added := saved[e.half]
		if added && e.verdict != restore {
			delete(saved, e.half)
		}
		switch e.verdict {
		case Commit, Rollback:
			if !added {
				s.deleteAll(b, k)
			}
		case giveUp, restore:
			rec, err := s.record(context.Background(), e.half)
			if errors.Is(err, mq.ErrNotFound) { // pruned, or ended again since
				s.o.Logger.Error("half message is gone", "verdict", e.verdict.String(), "physical", e.half, "error", err)
				continue
			}
			if err != nil {
				return nil, err
			}
			if e.verdict == giveUp {
				s.deleteAll(b, k)
				b.PutRaw(s.givenUp, k, rec)
			} else { // what is known of its questions is from after it
				b.Delete(s.givenUp, k)
				b.PutRaw(s.open, k, rec)
			}
		}
	}
	for physical, h := range saved {
		rec, err := s.record(context.Background(), physical)
		if err != nil {
			return nil, err
		}
		b.PutRaw(s.open, key(h.physical), rec)
	}
	return saved, nil
}

func (s *Store) deleteAll(b *meta.Batch, k string) {
	b.Delete(s.open, k)
	b.Delete(s.asking, k)
	b.Delete(s.givenUp, k)
}

// writeChecks puts into the batch what is known of the questions about halves
// that the meta store has, and gives all that changed.
func (s *Store) writeChecks(b *meta.Batch, saved map[int64]*half) ([]*half, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dirty := s.dirty
	s.dirty = nil
	for _, h := range dirty {
		if _, now := saved[h.physical]; (now || h.saved) && h.state == open {
			if err := b.Put(s.asking, key(h.physical), asked{Checks: h.checks, Last: h.asked, Due: h.due, Since: h.since}); err != nil {
				return nil, err
			}
		}
	}
	return dirty, nil
}

// apply has memory follow a save that the meta store has.
func (s *Store) apply(saved map[int64]*half, dirty []*half, nHalves, nEnds int) {
	s.halfQueue.saved, s.endQueue.saved = s.after(nHalves), s.afterEnd(nEnds)
	ends := s.ends[:nEnds]
	s.fresh, s.ends = s.fresh[nHalves:], s.ends[nEnds:]
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range saved {
		h.saved = true
		s.dropRecord(h)
	}
	for _, h := range dirty {
		if h.saved || h.state == ended {
			h.changed = false
		} else {
			s.dirty = append(s.dirty, h) // it is saved with the half
		}
	}
	for _, e := range ends {
		h := s.halves[e.half]
		if h == nil {
			continue
		}
		if e.verdict == giveUp || e.verdict == restore {
			h.saved = true
			s.dropRecord(h)
		}
		if h.state == ended && h.opAt == e.physical {
			s.forget(h)
		}
	}
}

// raiseLow moves the held part of the log up to what the meta store durably
// has.
func (s *Store) raiseLow() {
	low := s.seen
	if len(s.fresh) > 0 {
		low = min(low, s.fresh[0].physical)
	}
	if len(s.ends) > 0 {
		low = min(low, s.ends[0].physical)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.durableHalf, s.durableEnd = s.halfQueue.saved, s.endQueue.saved
	s.low = max(s.low, low)
}

// prune drops halves that were given up long ago.
func (s *Store) prune(now time.Time) error {
	before := now.Add(-s.o.KeepGivenUp).UnixMilli()
	b := s.meta.Batch()
	n := 0
	err := s.givenUp.Scan("", func(k string, raw []byte) error {
		if r := mq.Record(raw); r.Check(false) != nil || r.StoreTimeMillis() < before {
			b.Delete(s.givenUp, k)
			n++
		}
		return nil
	})
	if err != nil || n == 0 {
		return errors.Join(err, b.Discard())
	}
	s.o.Logger.Info("given up transactions dropped by age", "transactions", n, "keep", s.o.KeepGivenUp)
	return b.Commit(false)
}
