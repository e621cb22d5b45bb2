package pop

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"varve/hot"
	"varve/internal/mq"
)

// Run takes back what is not acked in time and saves what changed, until ctx
// ends; then it saves once more.
func (s *Store) Run(ctx context.Context) error {
	defer s.release()
	var units sync.WaitGroup
	t := time.NewTimer(0)
	defer t.Stop()
	for ctx.Err() == nil {
		wait := s.expire(ctx, &units)
		if again := s.saveDue(); again >= 0 && (wait < 0 || again < wait) {
			wait = again
		}
		var due <-chan time.Time
		if wait >= 0 {
			t.Reset(wait)
			due = t.C
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-due:
		}
	}
	units.Wait()
	if err := s.Save(true); err != nil {
		return fmt.Errorf("pop: stop: %w", err)
	}
	return nil
}

// expire visits the windows whose time has come and gives the time to the next,
// at most maxSleep; -1 where a unit that ends wakes.
func (s *Store) expire(ctx context.Context, units *sync.WaitGroup) time.Duration {
	for {
		now := s.o.Now().UnixMilli()
		s.watch(now)
		s.mu.Lock()
		if len(s.agenda) == 0 {
			s.mu.Unlock()
			return maxSleep
		}
		if at := s.agenda[0].at; at > now {
			s.mu.Unlock()
			return min(max(time.Duration(at-now)*time.Millisecond, minSleep), maxSleep)
		}
		select {
		case s.places <- struct{}{}:
		default: // a unit that ends wakes
			s.mu.Unlock()
			return -1
		}
		v := heap.Pop(&s.agenda).(visit)
		s.mu.Unlock()
		list, starved := s.visit(v, now)
		if starved {
			s.o.Wake(v.w.Key)
		}
		if len(list) == 0 {
			<-s.places
			continue
		}
		units.Go(func() {
			defer s.signal()
			defer func() { <-s.places }()
			err := s.move(ctx, v.w, list, nil)
			if err != nil && ctx.Err() == nil {
				s.tell(v.w, len(list), err)
			}
		})
	}
}

// tell logs that messages can't be taken back, one window for all that fail
// meanwhile: a full disk fails every one, once a second.
func (s *Store) tell(w *Window, messages int, err error) {
	now := time.Now()
	s.mu.Lock()
	s.failed++
	n, due := s.failed, s.toldAt.IsZero() || now.Sub(s.toldAt) >= tellEvery
	if due {
		s.failed, s.toldAt = 0, now
	}
	s.mu.Unlock()
	if due {
		s.o.Logger.Warn("messages that were not acked can't be taken back, will try again",
			"group", w.Group, "topic", w.Topic, "queue", w.Queue, "messages", messages, "failures", n, "error", err)
	}
}

// visit collects a window's messages whose deadline has passed, and puts it on
// the agenda again.
func (s *Store) visit(v visit, now int64) (list []entry, starved bool) {
	w := v.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wake != v.at || w.gone {
		return nil, false
	}
	w.wake = never
	if w.failing > now { // what comes due meanwhile goes with the rest
		w.expect(w.failing)
		return nil, false
	}
	again := int64(never)
	tries := int32(-1)
	for i := w.head; i < len(w.entries); i++ {
		e := &w.entries[i]
		switch {
		case e.state != live:
			continue
		case e.due > now:
			again = min(again, e.due)
			continue
		case e.ordered:
			if tries < 0 {
				tries = s.o.Tries(w.Group)
			}
			if e.suspended || e.kept < tries {
				starved = true // its queue gives it again
				continue
			}
		}
		if len(list) == unitMessages {
			again = now
			break
		}
		if e.ordered {
			w.ordered--
			starved = true
		}
		e.state = moving
		list = append(list, *e)
	}
	if again != never {
		w.expect(again)
	}
	starved = starved && w.starved
	if starved {
		w.starved = false
	}
	return list, starved
}

// DeadLetter moves one live message to the dead letter topic.
func (s *Store) DeadLetter(ctx context.Context, k Key, off, popMillis int64, maxAttempts int) error {
	w := s.find(k)
	if w == nil {
		return ErrExpired
	}
	w.mu.Lock()
	e := w.find(off)
	if e == nil || e.pop != popMillis || e.state != live {
		w.mu.Unlock()
		return ErrExpired
	}
	if e.ordered {
		w.ordered--
	}
	e.state = moving
	list := []entry{*e}
	w.mu.Unlock()
	return s.move(ctx, w, list, func(x *Expired) { x.DeadLetter, x.MaxAttempts = true, maxAttempts })
}

// move copies moving messages to where they go, a unit at a time. Those of a
// unit that fails are live again.
func (s *Store) move(ctx context.Context, w *Window, list []entry, change func(*Expired)) error {
	if err := s.know(w, list[len(list)-1].off); err != nil {
		s.revert(w, list)
		return err
	}
	for len(list) > 0 && !w.forgotten() {
		u, err := s.collect(ctx, w, list, change)
		if err == nil {
			err = s.submit(ctx, w, u)
		}
		if err != nil {
			s.revert(w, list)
			return err
		}
		list = list[len(u.list):]
	}
	return nil
}

// forgotten reports whether the window's topic or group was deleted.
func (w *Window) forgotten() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gone
}

// know sees to it that the meta store durably knows that a message was given
// out: otherwise, after a crash, it would be given out again beside its copy.
func (s *Store) know(w *Window, off int64) error {
	w.mu.Lock()
	known := w.hasSaved && off < w.saved && w.savedIn <= s.synced.Load()
	w.mu.Unlock()
	if known {
		return nil
	}
	return s.Save(true)
}

// unit is copies that go to the log together.
type unit struct {
	list  []entry // the first ones of what is to be moved
	msgs  []*mq.Message
	bytes int
}

// collect reads messages and makes their copies, until a unit is full.
func (s *Store) collect(ctx context.Context, w *Window, list []entry, change func(*Expired)) (u unit, err error) {
	for len(u.list) < len(list) && u.bytes < unitBytes {
		at := len(u.list)
		run := 1
		for at+run < len(list) && list[at+run].off == list[at].off+int64(run) {
			run++
		}
		batch, err := s.read(ctx, w, list[at].off, mq.Limit{Messages: run, Scan: run, Bytes: unitBytes})
		if err != nil {
			return u, err
		}
		if batch.Next <= list[at].off { // nothing is there any more
			u.list = list[:at+1]
			continue
		}
		recs := batch.Body
		for at < len(list) && list[at].off < batch.Next {
			rec, rest, err := mq.NextRecord(recs)
			switch {
			case len(recs) == 0 || err == nil && rec.QueueOffset() > list[at].off: // a gap
			case err != nil:
				return u, fmt.Errorf("message %d of %v: %w", list[at].off, s.queue(w), err)
			case rec.QueueOffset() < list[at].off:
				recs = rest
				continue
			default:
				recs = rest
				if err := s.copyOne(&u, w, &list[at], rec, change); err != nil {
					return u, err
				}
			}
			at++
			u.list = list[:at]
		}
	}
	return u, nil
}

func (s *Store) copyOne(u *unit, w *Window, e *entry, rec mq.Record, change func(*Expired)) error {
	x := Expired{Key: w.Key, Record: rec, PopMillis: e.pop, Suspended: e.suspended, DeadLetter: e.ordered}
	if change != nil {
		change(&x)
	}
	m, err := s.o.Copy(x)
	if err != nil {
		return fmt.Errorf("copy message %d of %v for group %q: %w", e.off, s.queue(w), w.Group, err)
	}
	if m != nil {
		u.msgs = append(u.msgs, m)
		u.bytes += len(rec)
	}
	return nil
}

func (s *Store) queue(w *Window) mq.Queue {
	return mq.Queue{Broker: s.o.Broker, Topic: w.Topic, ID: w.Queue}
}

// read reads messages that were given out; a batch that ends where it begins
// says that the first one is gone for good.
func (s *Store) read(ctx context.Context, w *Window, at int64, lim mq.Limit) (mq.Batch, error) {
	batch, err := s.o.Reader.Read(ctx, s.queue(w), at, lim)
	if errors.Is(err, mq.ErrTooLow) || errors.Is(err, mq.ErrTooHigh) || errors.Is(err, mq.ErrNoQueue) {
		s.o.Logger.Warn("message that was not acked is gone", "group", w.Group, "queue", s.queue(w).String(), "offset", at, "error", err)
		return mq.Batch{Next: at}, nil
	}
	return batch, err
}

// submit has the log take a unit with its done record, and the window follow.
func (s *Store) submit(ctx context.Context, w *Window, u unit) error {
	s.mu.Lock()
	s.units++
	s.mu.Unlock()
	msgs := append(u.msgs, &mq.Message{Topic: doneTopic, Body: doneBody(w.Key, u.list), BornTimeMillis: s.o.Now().UnixMilli()})
	placed, err := s.append(ctx, msgs)
	if err != nil {
		s.mu.Lock()
		s.units--
		s.mu.Unlock()
		return fmt.Errorf("store copies of %d messages: %w", len(u.list), err)
	}
	at := placed[len(placed)-1]
	w.mu.Lock()
	for i := range u.list {
		if e := w.find(u.list[i].off); e != nil && e.state == moving && e.pop == u.list[i].pop {
			w.leave(e, at.PhysicalOffset)
		}
	}
	starved := w.starved
	w.starved = false
	s.Changed(w)
	w.mu.Unlock()
	s.mu.Lock()
	s.units--
	s.mark(doneMark{at.QueueOffset, at.PhysicalOffset})
	s.mu.Unlock()
	s.moves.Add(int64(len(u.list)))
	s.feed(w, starved)
	return nil
}

// append waits for the log's word whatever ctx says: a unit that was handed
// over may be stored.
func (s *Store) append(_ context.Context, msgs []*mq.Message) ([]hot.Placed, error) {
	return s.log.Append(context.Background(), msgs)
}

// mark notes a done record, in the order of their offsets. mu is held.
func (s *Store) mark(m doneMark) {
	i := len(s.pending)
	for i > 0 && s.pending[i-1].off > m.off {
		i--
	}
	s.pending = append(s.pending, doneMark{})
	copy(s.pending[i+1:], s.pending[i:])
	s.pending[i] = m
}

// revert has messages that couldn't be copied wait a little, and their window
// with them.
func (s *Store) revert(w *Window, list []entry) {
	due := s.o.Now().Add(retryAfter).UnixMilli()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failing = due
	for i := range list {
		e := w.find(list[i].off)
		if e == nil || e.state != moving || e.pop != list[i].pop {
			continue
		}
		e.state = live
		if e.ordered {
			w.ordered++
		}
		e.due = max(e.due, due)
		w.expect(e.due)
	}
}
