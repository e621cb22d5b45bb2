package timer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"varve/hot"
	"varve/internal/mq"
)

// maxScan bounds the entries that are looked through for a handle without a
// position.
const maxScan = 10_000

// errFound ends a scan.
var errFound = errors.New("found")

// recall is one Recall on its way.
type recall struct {
	h     Handle
	upTo  int64 // the log must have been followed this far before it is decided
	entry entry // once it is found
	ch    chan outcome
}

type outcome struct {
	hit bool
	err error
}

// Recall takes a message back. hit says that it was held back and now never
// will be delivered, as surely as the log's flush policy keeps an acked
// message; false that there is no such message, or that it was delivered or
// recalled before. It is decided in the log: by a done record without a
// delivery. When ctx ends first the message may still be recalled.
func (s *Store) Recall(ctx context.Context, h Handle) (hit bool, err error) {
	r := &recall{h: h, upTo: h.Physical + 1, ch: make(chan outcome, 1)}
	if end := s.log.Confirmed(); h.Physical < 0 {
		r.upTo = end
	} else if h.Physical >= end {
		return false, nil
	}
	s.mu.Lock()
	ended := s.ended
	if !ended {
		s.asked = append(s.asked, r)
	}
	s.mu.Unlock()
	if ended {
		return false, fmt.Errorf("recall: %w", hot.ErrClosed)
	}
	s.Wake()
	select {
	case o := <-r.ch:
		return o.hit, o.err
	case <-ctx.Done():
		return false, fmt.Errorf("recall of message %q of topic %q: %w", h.MsgID, h.Topic, ctx.Err())
	}
}

// takeAsked gives what is asked; last says that nothing may be asked any more.
func (s *Store) takeAsked(last bool) []*recall {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = s.ended || last
	asked := s.asked
	s.asked = nil
	return asked
}

// recalls decides what is asked, and gives the hits to the log as one unit.
// One waits whose entry is not read yet or is on its way to be delivered.
func (s *Store) recalls() {
	s.recalling = append(s.recalling, s.takeAsked(false)...)
	if len(s.recalling) == 0 || !s.started || s.recallUnit {
		return
	}
	seen := s.readTo()
	var wait, hits []*recall
	var u unit
	for _, r := range s.recalling {
		if r.upTo > seen || len(hits) == unitMessages {
			wait = append(wait, r)
			continue
		}
		e, ok, err := s.find(r.h)
		done, under := s.taken[e]
		switch {
		case err != nil || !ok || done:
			r.ch <- outcome{false, err}
		case under:
			wait = append(wait, r)
		default:
			r.entry = e
			s.taken[e] = false
			u.entries, hits = append(u.entries, e), append(hits, r)
		}
	}
	s.recalling = wait
	if len(hits) > 0 {
		s.recallUnit = true
		u.recalls = hits
		s.submit(&u)
	}
}

// find looks for the entry of a handle.
func (s *Store) find(h Handle) (entry, bool, error) {
	if h.Physical < 0 {
		return s.findByID(h)
	}
	e := entry{h.DueMillis, h.Physical}
	if rec, ok := s.fresh[e]; ok {
		return e, names(h, rec), nil
	}
	raw, ok, err := s.table.GetRaw(e.key())
	if err != nil {
		return e, false, fmt.Errorf("timer: recall: %w", err)
	}
	return e, ok && names(h, raw), nil
}

func (s *Store) findByID(h Handle) (found entry, ok bool, err error) {
	for e, rec := range s.fresh {
		if e.due == h.DueMillis && names(h, rec) && !deletes(rec) {
			return e, true, nil
		}
	}
	n := 0
	err = s.table.ScanRange(entry{h.DueMillis, 0}.key(), entry{h.DueMillis + 1, 0}.key(), func(key string, raw []byte) error {
		e, err := entryOf(key)
		if err != nil {
			return err
		}
		if names(h, raw) && !deletes(raw) {
			found = e
			return errFound
		}
		if n++; n == maxScan {
			return fmt.Errorf("more than %d messages are due at %d: use the handle that the send gave", maxScan, h.DueMillis)
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return found, true, nil
	}
	if err != nil {
		return found, false, fmt.Errorf("timer: recall message %q: %w", h.MsgID, err)
	}
	return found, false, nil
}

// names reports whether a held record is the handle's message.
func names(h Handle, rec mq.Record) bool {
	props := rec.Properties()
	topic, _ := mq.Property(props, mq.PropRealTopic)
	id, _ := mq.Property(props, mq.PropUniqKey)
	return string(topic) == h.Topic && string(id) == h.MsgID
}

// deletes reports whether a record is there to delete another.
func deletes(rec mq.Record) bool {
	_, ok := mq.Property(rec.Properties(), mq.PropTimerDelete)
	return ok
}

// addDeleted takes the entry into a unit that a message with TIMER_DEL_UNIQKEY
// deletes: the one of the same topic, due a millisecond after it, with that id.
// RocketMQ writes it as "topic_id", in early versions as the id alone. Such a
// message is never delivered itself.
func (s *Store) addDeleted(u *unit, by entry, rec mq.Record, id string) {
	topic, _ := mq.Property(rec.Properties(), mq.PropRealTopic)
	for _, id := range []string{strings.TrimPrefix(id, string(topic)+"_"), id} {
		e, ok, err := s.findByID(Handle{Topic: string(topic), DueMillis: by.due + 1, MsgID: id})
		if err != nil {
			s.o.Logger.Error("delayed message is not deleted", "topic", string(topic), "id", id, "due", by.due+1, "error", err)
			return
		}
		if _, gone := s.taken[e]; ok && !gone {
			s.taken[e] = false
			u.entries = append(u.entries, e)
			return
		}
	}
}

// settleRecalls answers the recalls of a unit.
func (s *Store) settleRecalls(recalls []*recall, err error) {
	if len(recalls) == 0 {
		return
	}
	s.recallUnit = false
	if err != nil {
		err = fmt.Errorf("recall: %w", err)
	}
	for _, r := range recalls {
		r.ch <- outcome{err == nil, err}
	}
}

// refuseRecalls answers all that is left when Run ends.
func (s *Store) refuseRecalls() {
	for _, r := range append(s.recalling, s.takeAsked(true)...) {
		r.ch <- outcome{false, fmt.Errorf("recall: %w", hot.ErrClosed)}
	}
	s.recalling = nil
}

// readTo is the position below which all held messages have been read.
func (s *Store) readTo() int64 {
	low := int64(maxDue)
	for _, f := range s.queues {
		if f.queue.Topic != doneTopic {
			low = min(low, f.read)
		}
	}
	return low
}
