package txn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"varve/internal/mq"
)

// Query chooses half messages; empty fields choose all.
type Query struct {
	Topic, Group string
	GivenUp      bool
	Max          int
}

// view is a half for those outside.
func (s *Store) view(ctx context.Context, h *half, checks int) (*Half, error) {
	rec, err := s.record(ctx, h.physical)
	if err != nil {
		return nil, err
	}
	v, err := viewOf(rec, checks)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v.LastCheckMillis, v.NextCheckMillis = h.asked, h.due
	v.GivenUp = h.state == ended && h.verdict == giveUp
	return v, nil
}

func viewOf(rec mq.Record, checks int) (*Half, error) {
	seen, err := asSeen(rec, checks)
	if err != nil {
		return nil, err
	}
	m, err := seen.Decode()
	if err != nil {
		return nil, err
	}
	return &Half{
		Record: seen, Group: m.Property(mq.PropProducerGroup), Topic: m.Topic, QueueID: m.QueueID,
		Offset: m.QueueOffset, Physical: m.PhysicalOffset, MsgID: m.Property(mq.PropUniqKey),
		OffsetMsgID: mq.OffsetMsgID(m.StoreHost, m.PhysicalOffset), StoreTimeMillis: m.StoreTimeMillis, Checks: checks,
	}, nil
}

// List gives half messages, oldest first.
func (s *Store) List(q Query) ([]Half, error) {
	if q.GivenUp {
		return s.listGivenUp(q)
	}
	type row struct {
		h      *half
		checks int
	}
	var rows []row
	s.mu.Lock()
	for _, h := range s.halves {
		if h.state == open && (q.Topic == "" || q.Topic == h.topic.name) && (q.Group == "" || q.Group == h.group.name) {
			rows = append(rows, row{h, h.checks})
		}
	}
	s.mu.Unlock()
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.h.physical, b.h.physical) })
	var out []Half
	for _, r := range rows {
		if len(out) == q.Max {
			break
		}
		v, err := s.view(context.Background(), r.h, r.checks)
		if errors.Is(err, mq.ErrNotFound) {
			continue // ended meanwhile
		}
		if err != nil {
			return nil, err
		}
		out = append(out, *v)
	}
	return out, nil
}

var errEnough = errors.New("enough")

func (s *Store) listGivenUp(q Query) (out []Half, err error) {
	add := func(rec mq.Record) error {
		v, err := viewOf(rec, 0)
		if err != nil {
			return err
		}
		v.GivenUp = true
		if (q.Topic == "" || q.Topic == v.Topic) && (q.Group == "" || q.Group == v.Group) {
			if len(out) == q.Max {
				return errEnough
			}
			out = append(out, *v)
		}
		return nil
	}
	inMemory := map[int64]bool{} // true where it was given up
	s.mu.Lock()
	for at, h := range s.halves {
		inMemory[at] = h.state == ended && h.verdict == giveUp
	}
	s.mu.Unlock()
	err = s.givenUp.Scan("", func(k string, raw []byte) error {
		physical, err := physicalOf(k)
		if _, known := inMemory[physical]; known || err != nil {
			return err
		}
		return add(raw)
	})
	for at, givenUp := range inMemory {
		if !givenUp || err != nil {
			continue
		}
		rec, rerr := s.record(context.Background(), at)
		if errors.Is(rerr, mq.ErrNotFound) {
			continue // ended meanwhile
		}
		if err = rerr; err == nil {
			err = add(rec)
		}
	}
	if err != nil && !errors.Is(err, errEnough) {
		return nil, fmt.Errorf("list given up transactions: %w", err)
	}
	slices.SortFunc(out, func(a, b Half) int { return cmp.Compare(a.Physical, b.Physical) })
	return out, nil
}

// Find gives one half message, in doubt or given up: ErrNoHalf.
func (s *Store) Find(physical int64) (*Half, error) {
	s.mu.Lock()
	h := s.halves[physical]
	known := h != nil && (h.state == open || h.state == ended && h.verdict == giveUp)
	checks := 0
	if known {
		checks = h.checks
	}
	s.mu.Unlock()
	if known {
		return s.view(context.Background(), h, checks)
	}
	if h == nil {
		raw, ok, err := s.givenUp.GetRaw(key(physical))
		if err != nil {
			return nil, err
		}
		if ok {
			v, err := viewOf(raw, 0)
			if err == nil {
				v.GivenUp = true
			}
			return v, err
		}
	}
	return nil, fmt.Errorf("%w: at physical offset %d", ErrNoHalf, physical)
}

// Restore opens a half that was given up; of one that is open, its producer is
// asked now, and from the beginning.
func (s *Store) Restore(ctx context.Context, physical int64) error {
	h, err := s.beginRestore(physical)
	if err != nil || h == nil {
		return err
	}
	placed, err := s.log.Append(context.WithoutCancel(ctx), []*mq.Message{s.endRecord(physical, restore)})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.settle(h, restore, placed[0].PhysicalOffset)
		s.Wake()
		return nil
	}
	if h.state == reopening {
		h.state = ended
		if h.saved && h.opAt == 0 {
			s.forget(h)
		}
	}
	return fmt.Errorf("restore the half at physical offset %d: %w", physical, err)
}

// beginRestore gives nil where the half is open.
func (s *Store) beginRestore(physical int64) (*half, error) {
	var raw mq.Record
	s.mu.Lock()
	known := s.halves[physical] != nil
	s.mu.Unlock()
	if !known {
		var ok bool
		var err error
		if raw, ok, err = s.givenUp.GetRaw(key(physical)); err != nil {
			return nil, err
		} else if !ok {
			return nil, fmt.Errorf("%w: at physical offset %d", ErrNoHalf, physical)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.halves[physical]
	if h == nil {
		if raw == nil { // its end was saved just now
			return nil, fmt.Errorf("%w: at physical offset %d", ErrNoHalf, physical)
		}
		var err error
		if h, err = s.loaded(raw); err != nil {
			return nil, err
		}
		h.state, h.verdict = ended, giveUp
		s.halves[physical] = h
	}
	switch {
	case h.state == open:
		h.checks, h.since = 0, s.o.Now().UnixMilli()
		s.queue.set(h, h.since)
		s.touch(h)
		s.Wake()
		return nil, nil
	case h.state == ended && h.verdict == giveUp:
		h.state = reopening
		return h, nil
	}
	return nil, fmt.Errorf("%w: the half at physical offset %d was %v", ErrEnded, physical, h.verdict)
}
