package txn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"varve/hot"
	"varve/internal/mq"
)

// End is what a producer says of one half message.
type End struct {
	Group            string
	Offset, Physical int64
	Verdict          Verdict // Commit or Rollback
	FromCheck        bool
	// Allow, if not nil, says whether the caller may end a transaction of this
	// topic. It must not call back.
	Allow func(topic string) error
}

// End ends a transaction. put gives the unit to the log; done is called once,
// as the log calls it. What has ended the same way is success.
func (s *Store) End(e End, put func([]*mq.Message, func([]hot.Placed, error)), done func(error)) {
	h, err := s.begin(e)
	if err != nil || h == nil {
		done(err)
		return
	}
	msgs, err := s.unit(e)
	if err != nil {
		s.fail(h)
		done(err)
		return
	}
	put(msgs, func(placed []hot.Placed, err error) {
		if err != nil {
			s.fail(h)
			done(err)
			return
		}
		s.mu.Lock()
		s.settle(h, e.Verdict, placed[len(placed)-1].PhysicalOffset)
		if e.Verdict == Commit {
			s.count.Commits++
		} else {
			s.count.Rollbacks++
		}
		s.mu.Unlock()
		done(nil)
	})
}

// begin takes a half message for its end: from then on nobody else can end it.
// It gives nil where the half has that end already.
func (s *Store) begin(e End) (*half, error) {
	s.mu.Lock()
	h, followed := s.halves[e.Physical], e.Offset < s.next
	s.mu.Unlock()
	if h == nil && !followed {
		rec, err := s.look(e)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		// It may have been followed, ended and saved meanwhile.
		if h = s.halves[e.Physical]; h == nil && e.Offset >= s.next {
			h = s.newHalf(rec)
			s.admit(h)
			s.keepRecord(h, rec)
		}
		s.mu.Unlock()
	}
	if h != nil && e.Allow != nil {
		if err := e.Allow(h.topic.name); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h == nil || s.halves[e.Physical] != h {
		return nil, fmt.Errorf("%w: at physical offset %d, offset %d", ErrNoHalf, e.Physical, e.Offset)
	}
	return s.claim(h, e)
}

// look reads a half message that is not followed yet.
func (s *Store) look(e End) (mq.Record, error) {
	rec, err := s.log.FindPhysical(context.Background(), s.o.Broker, e.Physical)
	if err != nil && !errors.Is(err, mq.ErrNotFound) {
		return nil, err
	}
	if err != nil || string(rec.Topic()) != mq.HalfTopic || rec.QueueOffset() != e.Offset {
		return nil, fmt.Errorf("%w: at physical offset %d, offset %d", ErrNoHalf, e.Physical, e.Offset)
	}
	return rec, nil
}

// claim is the rest of begin. mu must be held.
func (s *Store) claim(h *half, e End) (*half, error) {
	switch {
	case h.offset != e.Offset:
		return nil, fmt.Errorf("%w: the half at physical offset %d has offset %d, not %d", ErrNoHalf, e.Physical, h.offset, e.Offset)
	case h.group.name != e.Group:
		return nil, fmt.Errorf("%w: the half at physical offset %d is producer group %q's, not %q's", ErrNoHalf, e.Physical, h.group.name, e.Group)
	case h.state == open:
	case h.verdict == e.Verdict:
		return nil, nil
	default:
		return nil, fmt.Errorf("%w: the half at physical offset %d was %v", ErrEnded, e.Physical, h.verdict)
	}
	if age := s.o.Now().UnixMilli() - h.stored; h.custom && !e.FromCheck && age > h.immunity.Milliseconds() {
		return nil, fmt.Errorf("%w: the half at physical offset %d is %v old, its %s %v", ErrLate, e.Physical,
			time.Duration(age)*time.Millisecond, propImmunity, h.immunity)
	}
	h.state, h.verdict = ending, e.Verdict
	s.queue.remove(h)
	return h, nil
}

// unit is what an end writes, the end record last.
func (s *Store) unit(e End) ([]*mq.Message, error) {
	msgs := make([]*mq.Message, 0, 2)
	if e.Verdict == Commit {
		rec, err := s.record(context.Background(), e.Physical)
		if err != nil {
			return nil, err
		}
		m, delayed, err := real(rec)
		if err != nil {
			return nil, fmt.Errorf("half message at physical offset %d: %w", e.Physical, err)
		}
		if err := s.o.Place(&m, delayed); err != nil {
			return nil, err
		}
		msgs = append(msgs, &m)
	}
	return append(msgs, s.endRecord(e.Physical, e.Verdict)), nil
}

func (s *Store) endRecord(physical int64, v Verdict) *mq.Message {
	return &mq.Message{Topic: mq.OpHalfTopic, Body: endBody(physical, v), BornTimeMillis: s.o.Now().UnixMilli()}
}

// fail opens a half again whose end the log didn't take. A log that failed, of
// which it isn't known, takes nothing more; the next start finds out.
func (s *Store) fail(h *half) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.state != ending {
		return // the end was found in the log
	}
	h.state, h.verdict = open, 0
	if h.followed {
		s.queue.set(h, max(h.due, s.o.Now().Add(retryAfter).UnixMilli()))
	}
}
