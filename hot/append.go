package hot

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"varve/hot/index"
	"varve/internal/mq"
)

// unit is one Append on its way: its records, encoded but for their places.
type unit struct {
	buf  []byte
	recs []rec
	keys []uint64 // hashes of all records' keys, in the records' order
	done func([]Placed, error)
	exec func() error // a command to run between batches instead of records
}

// rec is what the committer has to know of one record.
type rec struct {
	topic string
	id    int32
	size  int32
	tag   int32
	keys  int32 // how many of unit.keys are its own
}

// keepUnitBytes is the largest buffer that a unit keeps for its next use.
const keepUnitBytes = 64 << 10

var unitPool = sync.Pool{New: func() any { return new(unit) }}

func putUnit(u *unit) {
	if cap(u.buf) > keepUnitBytes {
		return
	}
	clear(u.recs)
	*u = unit{buf: u.buf[:0], recs: u.recs[:0], keys: u.keys[:0]}
	unitPool.Put(u)
}

// Append stores messages as one unit: either all of them survive a crash or
// none, and those of the same queue get consecutive offsets. It returns when
// they are confirmed. After ErrFailed, or if ctx ends first, it is not known
// whether they were stored; after any other error they were not.
func (s *Store) Append(ctx context.Context, msgs []*mq.Message) ([]Placed, error) {
	type result struct {
		placed []Placed
		err    error
	}
	ch := make(chan result, 1)
	s.Submit(msgs, func(p []Placed, err error) { ch <- result{p, err} })
	select {
	case r := <-ch:
		return r.placed, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for an append: %w", ctx.Err())
	}
}

// Submit is Append without waiting: done is called once, from the goroutine
// that commits, and must return quickly; it may keep the slice. Where the
// append is refused at once (ErrBusy, ErrClosed, ErrTooLarge, a bad message),
// done is called before Submit returns. The messages are encoded before Submit
// returns and may then be reused.
func (s *Store) Submit(msgs []*mq.Message, done func([]Placed, error)) {
	s.Enqueue(msgs, done)
	s.wakeCommitter()
}

// Enqueue is Submit for a caller with more to come: it sees to it that Commit
// is called when it has enqueued what it has.
func (s *Store) Enqueue(msgs []*mq.Message, done func([]Placed, error)) {
	if len(msgs) == 0 {
		done(nil, nil)
		return
	}
	u := unitPool.Get().(*unit)
	if err := s.encode(u, msgs); err != nil {
		putUnit(u)
		done(nil, err)
		return
	}
	u.done = done
	if err := s.enqueue(u); err != nil {
		putUnit(u)
		done(nil, err)
	}
}

func (s *Store) encode(u *unit, msgs []*mq.Message) error {
	var scratch [64]byte
	hashed := scratch[:0]
	for i, m := range msgs {
		if err := mq.CheckMessage(m); err != nil {
			return fmt.Errorf("message %d of %d: %w", i+1, len(msgs), err)
		}
		size := mq.RecordLen(m)
		if len(u.buf)+size > maxUnitBytes {
			return fmt.Errorf("%w: message %d of %d passes the limit of %d bytes", ErrTooLarge, i+1, len(msgs), maxUnitBytes)
		}
		if !m.StoreHost.IsValid() {
			with := *m
			with.StoreHost = s.o.StoreHost
			m = &with
			size = mq.RecordLen(m)
		}
		r := rec{topic: m.Topic, id: m.QueueID, size: int32(size)}
		before := len(u.keys)
		r.tag, u.keys, hashed = keysOf(u.keys, hashed, m.Topic, m.Properties)
		r.keys = int32(len(u.keys) - before)
		u.buf = mq.AppendRecord(u.buf, m)
		u.recs = append(u.recs, r)
	}
	return nil
}

// keysOf gives the hash of a message's tag and appends those of its keys. As
// for every reader of properties, the first of a name counts.
func keysOf(keys []uint64, scratch []byte, topic string, props []byte) (tag int32, out []uint64, reuse []byte) {
	var seenTag, seenUniq, seenKeys bool
	had := len(keys)
	for len(props) > 0 {
		pair := props
		if i := bytes.IndexByte(props, 0x02); i >= 0 {
			pair, props = props[:i], props[i+1:]
		} else {
			props = nil
		}
		i := bytes.IndexByte(pair, 0x01)
		if i < 0 {
			continue
		}
		value := pair[i+1:]
		var h uint64
		switch string(pair[:i]) {
		case mq.PropTags:
			if !seenTag {
				tag, seenTag = int32(mq.TagHash(string(value))), true
			}
		case mq.PropUniqKey:
			if !seenUniq && len(value) > 0 {
				h, scratch = index.KeyHash(scratch, topic, index.KeyUnique, value)
				keys = append(keys, h)
			}
			seenUniq = true
		case mq.PropKeys:
			if !seenKeys {
				for word := range bytes.FieldsSeq(value) {
					if len(keys)-had == maxKeys {
						break
					}
					h, scratch = index.KeyHash(scratch, topic, index.KeyWord, word)
					keys = append(keys, h)
				}
			}
			seenKeys = true
		}
	}
	return tag, keys, scratch
}

// enqueue puts a unit behind those that wait to be committed.
func (s *Store) enqueue(u *unit) error {
	s.subMu.Lock()
	defer s.subMu.Unlock()
	if s.closing {
		return ErrClosed
	}
	if u.exec == nil && s.pendingBytes+int64(len(u.buf)) > s.o.MaxPendingBytes && s.pendingBytes > 0 {
		return fmt.Errorf("%w: %d bytes", ErrBusy, s.pendingBytes)
	}
	s.pendingBytes += int64(len(u.buf))
	s.pending = append(s.pending, u)
	return nil
}

// Share is how many bytes one of many senders may have waiting, of what
// Options.MaxPendingBytes bounds for all: a part of the room that is left, so
// that a new one always finds some, however many fill it, and never more than a
// batch takes in quickly.
func (s *Store) Share() int64 {
	s.subMu.Lock()
	defer s.subMu.Unlock()
	return min(maxShare, max(minShare, (s.o.MaxPendingBytes-s.pendingBytes)/sharePart))
}

// run has f run between two batches and returns its error.
func (s *Store) run(ctx context.Context, f func() error) error {
	ch := make(chan error, 1)
	u := &unit{exec: f, done: func(_ []Placed, err error) { ch <- err }}
	if err := s.enqueue(u); err != nil {
		return err
	}
	s.wakeCommitter()
	select {
	case err := <-ch:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
