package pop

import (
	"context"
	"errors"
	"fmt"
	"time"

	"varve/internal/meta"
	"varve/internal/mq"
)

// saveDue saves what changed if it is time to, and gives the time to the next
// save; -1 where nothing changed.
func (s *Store) saveDue() time.Duration {
	s.mu.Lock()
	dirty := len(s.dirty) > 0 || len(s.pending) > 0
	s.mu.Unlock()
	if !dirty {
		return -1
	}
	s.saving.Lock()
	now := time.Now()
	wait, sync := s.savedAt.Add(SaveEvery).Sub(now), now.Sub(s.syncedAt) >= syncEvery
	s.saving.Unlock()
	if wait > 0 {
		return wait
	}
	if err := s.Save(sync); err != nil {
		s.o.Logger.Error("state of POP consumers not saved, will try again", "error", err)
	}
	return SaveEvery
}

// Save saves every window that changed, durably if sync.
func (s *Store) Save(sync bool) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	durable := s.log.Stats().DurablePhysical
	s.mu.Lock()
	list := s.dirty
	s.dirty = nil
	next, marks := s.reflected(durable)
	moved := next != s.next
	s.mu.Unlock()
	s.savedAt = time.Now()
	if len(list) == 0 && !moved && (!sync || s.synced.Load() == s.saves) {
		return nil
	}
	b := s.meta.Batch()
	var starved []*Window
	for _, w := range list {
		if s.saveWindow(b, w, durable) {
			starved = append(starved, w)
		}
	}
	// What was moved left its room when the log had synced it.
	defer func() {
		for _, w := range starved {
			s.feed(w, true)
		}
	}()
	if moved {
		if err := b.Put(s.state, positionKey, position{next}); err != nil {
			s.putBack(list)
			return errors.Join(err, b.Discard())
		}
	}
	s.saves++
	if err := s.commit(b, sync); err != nil {
		s.putBack(list)
		return fmt.Errorf("pop: save windows: %w", err)
	}
	if !sync {
		return nil
	}
	s.syncedAt = s.savedAt
	s.synced.Store(s.saves)
	s.mu.Lock()
	s.next, s.pending = next, s.pending[marks:]
	s.mu.Unlock()
	return nil
}

// commit ends a batch. An empty one syncs what was written before it.
func (s *Store) commit(b *meta.Batch, sync bool) error {
	if !b.Empty() {
		return b.Commit(sync)
	}
	err := b.Discard()
	if sync {
		err = errors.Join(err, s.meta.Sync())
	}
	return err
}

// reflected is the position that a save of all dirty windows may write: behind
// every done record that the log has synced, without a gap. mu is held.
func (s *Store) reflected(durable int64) (next int64, marks int) {
	next = s.next
	for marks < len(s.pending) && s.pending[marks].off == next && s.pending[marks].physical < durable {
		next++
		marks++
	}
	return next, marks
}

// saveWindow writes one window. Its progress is noted first, and saved later.
// starved says that somebody waits for the room that has come with it.
func (s *Store) saveWindow(b *meta.Batch, w *Window, durable int64) (starved bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dirty = false
	if w.gone {
		return false
	}
	moved := w.moved
	left := w.settle(durable)
	if left < moved {
		starved, w.starved = w.starved, false
	}
	w.trim()
	if base := w.Base(); w.started && base != w.committed {
		w.committed = base
		s.o.Commit(w.Key, base)
	}
	w.saved, w.savedIn, w.hasSaved = w.next, s.saves+1, w.started
	if !w.started {
		b.Delete(s.table, w.id())
		return starved
	}
	b.PutRaw(s.table, w.id(), w.encode())
	if left > 0 {
		s.enlist(w)
	}
	return starved
}

// putBack marks windows as changed again after a failed save.
func (s *Store) putBack(list []*Window) {
	for _, w := range list {
		w.mu.Lock()
		w.savedIn = never
		s.enlist(w)
		w.mu.Unlock()
	}
}

// lowest is where the log must be kept from.
func (s *Store) lowest() int64 {
	end := s.log.Confirmed()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.units > 0: // where their done records are is not known
	case len(s.pending) > 0:
		s.low = max(s.low, s.pending[0].physical)
	default:
		s.low = max(s.low, end)
	}
	return s.low
}

// load reads the windows of the meta store.
func (s *Store) load() error {
	var pos position
	if _, err := s.state.Get(positionKey, &pos); err != nil {
		return fmt.Errorf("pop: %w", err)
	}
	s.next = pos.Next
	return s.table.Scan("", func(id string, raw []byte) error {
		k, err := keyOf(id)
		if err != nil {
			return err
		}
		w := s.Window(k)
		w.mu.Lock()
		defer w.mu.Unlock()
		if err := w.decode(raw); err != nil {
			return fmt.Errorf("pop: window %q in the meta store: %w", id, err)
		}
		w.hasSaved, w.saved, w.lost = true, w.next, w.next
		w.returned(s.o.Now().UnixMilli())
		s.reconcile(w)
		if err := s.clamp(w); err != nil {
			return err
		}
		s.Changed(w)
		return nil
	})
}

// reconcile settles between a window as saved and the group's progress as
// saved, which is done at other times: the higher one is right, unless the
// progress was set by somebody since.
func (s *Store) reconcile(w *Window) {
	off, known, reset := s.o.Progress(w.Key)
	if reset {
		w.Stop()
		return
	}
	w.committed = -1
	if !known {
		return
	}
	for i := range w.entries {
		if e := &w.entries[i]; e.off < off {
			w.finish(e)
		}
	}
	w.next = max(w.next, off)
}

// clamp takes a window back to the end of its queue: the log may have lost what
// it hadn't synced, and other messages will have those offsets. A queue that it
// doesn't know begins at 0.
func (s *Store) clamp(w *Window) error {
	r, err := s.log.Range(context.Background(), s.queue(w))
	switch {
	case err != nil && !errors.Is(err, mq.ErrNoQueue):
		return fmt.Errorf("pop: range of %v: %w", s.queue(w), err)
	case w.next <= r.To:
		return nil
	}
	s.o.Logger.Warn("messages that were given out are not in the log any more",
		"group", w.Group, "queue", s.queue(w).String(), "next", w.next, "end", r.To)
	for i := w.head; i < len(w.entries); i++ {
		if e := &w.entries[i]; e.off >= r.To && e.state != done {
			w.finish(e)
		}
	}
	n := len(w.entries)
	for n > w.head && w.entries[n-1].off >= r.To {
		n--
	}
	w.entries, w.next = w.entries[:n], r.To
	return nil
}

// follow reads the done records that the windows don't reflect.
func (s *Store) follow(ctx context.Context) error {
	q := mq.Queue{Broker: s.o.Broker, Topic: doneTopic}
	for at, more := s.next, true; more; {
		step, err := s.log.Follow(ctx, q, at, unitBytes)
		if err != nil {
			return fmt.Errorf("pop: follow %v at %d: %w", q, at, err)
		}
		if step.Lost {
			s.o.Logger.Error("place in the queue of done records is outside the log; messages may be given out twice",
				"queue", q.String(), "place", at, "from", step.From, "to", step.To)
			s.next = step.Place
		}
		for rec := range mq.Records(step.Batch.Body) {
			if err := s.replay(rec); err != nil {
				s.o.Logger.Error("done record is broken; messages may be given out twice", "queue", q.String(), "offset", rec.QueueOffset(), "error", err)
			}
			s.mark(doneMark{rec.QueueOffset(), rec.PhysicalOffset()})
		}
		at, more = step.Batch.Next, step.More
	}
	return nil
}

// replay has the windows follow one done record.
func (s *Store) replay(rec mq.Record) error {
	k, list, err := parseDone(rec.Body())
	if err != nil {
		return err
	}
	w := s.find(k)
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range list {
		if e := w.find(d.off); e != nil && e.state == live && e.pop <= d.pop { // its deadline may have been changed since the save
			w.leave(e, rec.PhysicalOffset())
		}
	}
	s.Changed(w)
	return nil
}
