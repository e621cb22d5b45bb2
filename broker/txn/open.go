package txn

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"varve/hot"
	"varve/internal/meta"
	"varve/internal/mq"
)

// Open reads what the meta store has and what the log has beyond that. Nobody
// is asked until Run.
func Open(o Options, log *hot.Store, m *meta.Store) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		o: o, log: log, meta: m,
		open: m.Table(openTable), asking: m.Table(checksTable), givenUp: m.Table(givenUpTable), state: m.Table(stateTable),
		wake: make(chan struct{}, 1), halves: map[int64]*half{}, topics: tallies{}, groups: tallies{},
	}
	var at position
	if _, err := s.state.Get(positionKey, &at); err != nil {
		return nil, err
	}
	s.halfQueue = follow{mq.Queue{Broker: o.Broker, Topic: mq.HalfTopic}, at.Half, at.Half}
	s.endQueue = follow{mq.Queue{Broker: o.Broker, Topic: mq.OpHalfTopic}, at.End, at.End}
	s.next, s.durableHalf, s.durableEnd = at.Half, at.Half, at.End
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("transactions: %w", err)
	}
	s.low = log.Stats().FirstPhysical
	s.release = log.Hold("transactions", s.lowest)
	if err := s.read(context.Background()); err != nil {
		s.release()
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.halves { // given up, and still
		if h.state == ended && h.opAt == 0 {
			s.forget(h)
		}
	}
	return s, nil
}

// load reads the halves of the meta store: those that were given up may have
// been restored since it was saved.
func (s *Store) load() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.open.Scan("", func(_ string, raw []byte) error {
		h, err := s.loaded(raw)
		if err == nil {
			s.admit(h)
		}
		return err
	})
	if err != nil {
		return err
	}
	err = s.givenUp.Scan("", func(_ string, raw []byte) error {
		h, err := s.loaded(raw)
		if err == nil {
			h.state, h.verdict = ended, giveUp
			s.halves[h.physical] = h
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.asking.Scan("", func(k string, raw []byte) error {
		physical, err := physicalOf(k)
		if err != nil {
			return err
		}
		h := s.halves[physical]
		if h == nil {
			return nil
		}
		var a asked
		if err := json.Unmarshal(raw, &a); err != nil {
			return fmt.Errorf("questions about the half message at physical offset %d: %w", physical, err)
		}
		h.checks, h.asked, h.since = a.Checks, a.Last, a.Since
		s.queue.set(h, a.Due)
		return nil
	})
}

func (s *Store) loaded(raw []byte) (*half, error) {
	rec := mq.Record(raw)
	if err := rec.Check(false); err != nil {
		return nil, fmt.Errorf("saved half message: %w", err)
	}
	h := s.newHalf(rec)
	h.saved, h.followed = true, true
	return h, nil
}

// newHalf makes a half of a record; it has no place in the Store yet.
func (s *Store) newHalf(rec mq.Record) *half {
	h := &half{
		physical: rec.PhysicalOffset(), offset: rec.QueueOffset(), stored: rec.StoreTimeMillis(),
		// The log's time may be ahead of a clock that was set back.
		since: min(rec.StoreTimeMillis(), s.o.Now().UnixMilli()), immunity: s.o.FirstCheck, inHeap: -1,
	}
	props := rec.Properties()
	topic, _ := mq.Property(props, mq.PropRealTopic)
	group, _ := mq.Property(props, mq.PropProducerGroup)
	h.topic, h.group = s.topics.get(topic), s.groups.get(group)
	if v, ok := mq.Property(props, propImmunity); ok {
		if n, err := strconv.ParseInt(string(v), 10, 32); err == nil && n >= 0 {
			h.immunity, h.custom = time.Duration(n)*time.Second, true
		}
	}
	return h
}

// admit takes an open half in. mu must be held.
func (s *Store) admit(h *half) {
	s.halves[h.physical] = h
	h.topic.open++
	s.count.Open++
	if h.followed {
		s.queue.set(h, h.since+h.immunity.Milliseconds())
	}
}

// forget drops a half. mu must be held.
func (s *Store) forget(h *half) {
	s.dropRecord(h)
	s.queue.remove(h)
	s.topics.put(h.topic)
	s.groups.put(h.group)
	delete(s.halves, h.physical)
}

// keepRecord has a half keep its record, where there is room. mu must be held.
func (s *Store) keepRecord(h *half, rec mq.Record) {
	if h.rec == nil && !h.saved && s.freshN+int64(len(rec)) <= maxFreshBytes {
		h.rec = rec
		s.freshN += int64(len(rec))
	}
}

func (s *Store) dropRecord(h *half) {
	s.freshN -= int64(len(h.rec))
	h.rec = nil
}

// record gives a half's record, wherever it is. mu must not be held.
func (s *Store) record(ctx context.Context, physical int64) (mq.Record, error) {
	s.mu.Lock()
	if h := s.halves[physical]; h != nil && h.rec != nil {
		rec := h.rec
		s.mu.Unlock()
		return rec, nil
	}
	s.mu.Unlock()
	for _, t := range []meta.Table{s.open, s.givenUp} {
		if raw, ok, err := t.GetRaw(key(physical)); ok || err != nil {
			return raw, err
		}
	}
	rec, err := s.log.FindPhysical(ctx, s.o.Broker, physical)
	if err != nil {
		return nil, fmt.Errorf("half message at physical offset %d: %w", physical, err)
	}
	return rec, nil
}
