package timer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"varve/hot"
	"varve/internal/meta"
)

// closeWait bounds the wait for the last flush: a full disk may never end it,
// and the log has what it would have saved.
const closeWait = 10 * time.Second

// flush is one flush of the store under way, and what will be durable then.
type flush struct {
	ended <-chan struct{}
	low   int64
	at    map[string]saved
}

// done is closed when the flush has ended; nil where there is none.
func (f *flush) done() <-chan struct{} {
	if f == nil {
		return nil
	}
	return f.ended
}

// flush takes in the end of a flush, and begins one where it is time or force
// says so.
func (s *Store) flush(force bool) error {
	select {
	case <-s.flushing.done():
		s.raiseLow(s.flushing)
		s.flushing = nil
	default:
	}
	if s.flushing != nil || s.since.IsZero() {
		return nil
	}
	if !force && s.unflushed < flushBytes && time.Since(s.since) < flushEvery {
		return nil
	}
	if err := s.clear(); err != nil {
		return err
	}
	f := &flush{low: maxDue, at: map[string]saved{}}
	for _, q := range s.queues {
		low := q.read
		if len(q.ops) > 0 {
			low = q.ops[0].physical
		}
		f.low = min(f.low, low)
		f.at[q.name] = saved{q.queue, q.saved}
	}
	var err error
	if f.ended, err = s.meta.Flush(); err != nil {
		return fmt.Errorf("timer: %w", err)
	}
	s.flushing, s.unflushed, s.since = f, 0, time.Time{}
	return nil
}

// clear tells the store that nothing is left before the first entry that still
// counts, which spares it from looking at each one that was deleted.
func (s *Store) clear() error {
	if s.deleted < clearAfter {
		return nil
	}
	low := s.cursor
	for e := range s.taken {
		if e.less(low) {
			low = e
		}
	}
	s.deleted = 0
	if !s.floor.less(low) {
		return nil
	}
	b := s.meta.Batch()
	b.DeleteRange(s.table, entry{}.key(), low.key())
	if err := b.Commit(false); err != nil {
		return fmt.Errorf("timer: clear: %w", err)
	}
	s.floor = low
	return nil
}

// raiseLow moves the held part of the log up to what the store durably has.
func (s *Store) raiseLow(f *flush) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = f.at
	s.low = max(s.low, f.low)
}

// saveAll saves and flushes what was read, before the end.
func (s *Store) saveAll() error {
	t := time.NewTimer(closeWait)
	defer t.Stop()
	for {
		more, err := s.save()
		if err != nil {
			return err
		}
		if err := s.flush(!more); err != nil {
			return err
		}
		if !more && s.flushing == nil && s.since.IsZero() {
			return nil
		}
		if s.flushing == nil {
			continue
		}
		select {
		case <-s.flushing.done():
		case <-t.C:
			s.o.Logger.Warn("timer ends before its last flush has; the log has the rest", "wait", closeWait)
			return nil
		}
	}
}

// load reads how far the store has come. One that is new takes over what
// earlier versions kept in the meta store.
func (s *Store) load(m *meta.Store) (position, error) {
	var pos position
	ok, err := s.state.Get(positionKey, &pos)
	if err != nil || ok {
		return pos, err
	}
	table, state := m.Table(entryTable), m.Table(stateTable)
	if ok, err = state.Get(positionKey, &pos); err != nil || !ok {
		return pos, err
	}
	if pos.Entries, err = s.takeOver(table); err != nil {
		return pos, fmt.Errorf("timer: take over the entries of the meta store: %w", err)
	}
	b := s.meta.Batch()
	if err := b.Put(s.state, positionKey, pos); err != nil {
		return pos, errors.Join(err, b.Discard())
	}
	if err := b.Commit(false); err != nil {
		return pos, err
	}
	done, err := s.meta.Flush()
	if err != nil {
		return pos, err
	}
	<-done
	b = m.Batch()
	b.DeleteRange(table, "", entry{maxDue, maxDue}.key())
	b.Delete(state, positionKey)
	return pos, b.Commit(true)
}

func (s *Store) takeOver(from meta.Table) (n int64, err error) {
	b := s.meta.Batch()
	err = from.ScanRange("", "", func(key string, raw []byte) error {
		b.PutRaw(s.table, key, raw)
		if n++; b.Len() < saveTurn {
			return nil
		}
		full := b
		b = s.meta.Batch()
		return full.Commit(false)
	})
	if err != nil {
		return n, errors.Join(err, b.Discard())
	}
	return n, b.Commit(false)
}

// stop waits for the units that the log has, and saves.
func (s *Store) stop() error {
	for s.units > 0 {
		s.settle(<-s.results)
	}
	ctx := context.Background()
	if err := errors.Join(s.log.Flush(ctx), s.read(ctx)); err != nil && !errors.Is(err, hot.ErrClosed) {
		return fmt.Errorf("timer: stop: %w", err)
	}
	return s.saveAll()
}
