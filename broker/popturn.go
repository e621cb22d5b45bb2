package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"varve/broker/pop"
	"varve/hot"
	"varve/internal/mq"
)

const (
	// retryTurns says how often the retry topic has the first turn.
	retryTurns = 5
	// popReads bounds the reads of one queue in one attempt, where a filter
	// refuses what they give.
	popReads = 8
)

type popTurns struct{ n atomic.Uint32 }

// popWindows is a table of windows by queue id, so that a pop looks for none of
// them by name.
type popWindows struct {
	mu sync.RWMutex
	by []*pop.Window
}

// window gives a share's window of a queue, locked.
func (b *Broker) lockWindow(s *popShare, kind int, id int32) *pop.Window {
	t := &s.windows[kind]
	for {
		t.mu.RLock()
		var w *pop.Window
		if int(id) < len(t.by) {
			w = t.by[id]
		}
		t.mu.RUnlock()
		if w != nil {
			w.Lock()
			if !w.Gone() {
				return w
			}
			w.Unlock()
		}
		name := s.topic
		if kind != pop.RetryNone {
			name = s.retry
		}
		w = b.pops.Window(pop.Key{Group: s.group, Topic: name, Queue: id})
		t.mu.Lock()
		for int(id) >= len(t.by) {
			t.by = append(t.by, nil)
		}
		t.by[id] = w
		t.mu.Unlock()
	}
}

// popTurn is one attempt of a pop.
type popTurn struct {
	p         *popping
	now, due  int64
	want      int // messages
	bytes     int
	r         PopResult
	parts     []mq.Batch // whose bodies the messages alias
	retries   []byte     // records of retries, rewritten
	full      bool       // a window has no room
	cold      *coldPop   // a queue that only the archive can serve
	rewritten bool
}

// coldPop is a queue that is read outside its window's lock. The window is
// marked Reading.
type coldPop struct {
	w     *pop.Window
	q     mq.Queue
	kind  int
	at    int64 // -1 where the window doesn't know its beginning
	limit mq.Limit
}

func (b *Broker) newPopTurn(p *popping) *popTurn {
	now := b.clock().UnixMilli()
	t := &popTurn{p: p, now: now, due: now + p.req.Invisible.Milliseconds(), want: p.req.MaxMessages, bytes: p.req.Backlog.Room(b.cfg.MaxPullBytes)}
	if t.want == 0 {
		t.want = MaxPopMessages
	}
	t.r.PopMillis, t.r.InvisibleMillis = now, p.req.Invisible.Milliseconds()
	return t
}

// gather takes messages from the queues until the turn has enough.
func (b *Broker) gather(t *popTurn, topic *Topic) error {
	n := t.p.share.turns.n.Add(1)
	var retry *Topic
	if !t.p.req.Ordered {
		retry, _ = b.topics.Get(t.p.share.retry)
	}
	if retry != nil && n%retryTurns == 0 {
		if err := b.gatherTopic(t, retry, pop.RetryV1, n); err != nil {
			return err
		}
		retry = nil
	}
	if err := b.gatherTopic(t, topic, pop.RetryNone, n); err != nil {
		return err
	}
	if retry != nil {
		return b.gatherTopic(t, retry, pop.RetryV1, n)
	}
	return nil
}

func (b *Broker) gatherTopic(t *popTurn, topic *Topic, kind int, n uint32) error {
	if kind == pop.RetryNone && t.p.req.QueueID >= 0 {
		return b.popQueue(t, topic.Name, t.p.req.QueueID, kind)
	}
	queues := uint32(topic.ReadQueues)
	for i := range queues {
		if t.cold != nil || t.r.Rest > 0 && t.enough() {
			return nil
		}
		if err := b.popQueue(t, topic.Name, int32((n+i)%queues), kind); err != nil {
			return err
		}
	}
	return nil
}

// popQueue takes messages from one queue.
func (b *Broker) popQueue(t *popTurn, topic string, id int32, kind int) error {
	q := b.queue(topic, id)
	hot, known, err := b.hotRange(t.p.ctx, q)
	if err != nil {
		return err
	}
	w := b.lockWindow(t.p.share, kind, id)
	defer w.Unlock()
	if w.Reading {
		return nil // who reads wakes who waits
	}
	if ok, err := b.placePop(t, w, q, kind, hot, known); !ok || err != nil {
		return err
	}
	if t.p.req.Ordered {
		if done, err := b.popAgain(t, w, q); done || err != nil {
			return err
		}
	} else {
		w.Loosen()
	}
	rest := hot.To - w.Next()
	if rest <= 0 {
		return nil
	}
	if t.enough() {
		t.r.Rest += rest
		return nil
	}
	want := min(t.want-len(t.r.Messages), w.Room())
	if want <= 0 {
		t.full = true
		return nil
	}
	lim := mq.Limit{Messages: want, Bytes: max(1, t.bytes), Lend: true}
	if kind == pop.RetryNone {
		lim.Filter = t.p.filter
	}
	if w.Next() < hot.From {
		t.goCold(w, q, kind, w.Next(), lim)
		return nil
	}
	if err := b.popHot(t, w, q, kind, hot.To, lim); err != nil {
		return err
	}
	t.r.Rest += max(0, hot.To-w.Next())
	return nil
}

// enough reports whether the answer takes no more, in messages or in bytes.
func (t *popTurn) enough() bool {
	n := len(t.r.Messages)
	return n >= t.want || n > 0 && t.bytes <= 0
}

// popHot reads a window's queue in the log.
func (b *Broker) popHot(t *popTurn, w *pop.Window, q mq.Queue, kind int, end int64, lim mq.Limit) error {
	for range popReads {
		at := w.Next()
		batch, err := b.log.Read(t.p.ctx, q, at, lim)
		switch {
		case errors.Is(err, mq.ErrTooLow), err != nil && hot.Damaged(err) && at < b.log.Archived(q):
			t.goCold(w, q, kind, at, lim)
			return nil
		case err != nil:
			return fmt.Errorf("pop from %v at %d: %w", q, at, err)
		}
		b.take(t, w, kind, batch)
		if batch.Count > 0 || w.Next() >= end {
			return nil
		}
	}
	return nil
}

// goCold marks a window to be read without its lock, if the turn has nothing
// else.
func (t *popTurn) goCold(w *pop.Window, q mq.Queue, kind int, at int64, lim mq.Limit) {
	if len(t.r.Messages) > 0 {
		t.r.Rest++
		return
	}
	lim.Lend = false
	w.Reading = true
	t.cold = &coldPop{w: w, q: q, kind: kind, at: at, limit: lim}
}

// take gives a batch's messages out. The window is locked.
func (b *Broker) take(t *popTurn, w *pop.Window, kind int, batch mq.Batch) {
	body := batch.Body
	t.r.Messages = slices.Grow(t.r.Messages, batch.Count)
	for len(body) > 0 {
		rec, rest, err := mq.NextRecord(body)
		if err != nil {
			break
		}
		body = rest
		w.Give(rec.QueueOffset(), t.now, t.due, t.p.req.Ordered)
		t.add(b, w, kind, rec, t.now, rec.ReconsumeTimes())
	}
	w.Skip(batch.Next)
	b.pops.Changed(w)
	if batch.Count == 0 {
		batch.Release()
		return
	}
	if t.p.req.Ordered {
		w.SetAttempt(t.p.req.AttemptID)
	}
	b.offsets.NotePulled(w.Group, w.Topic, w.Queue, w.Next())
	t.bytes -= len(batch.Body)
	if kind != pop.RetryNone { // its records were rewritten
		batch.Release()
		return
	}
	t.parts = append(t.parts, batch)
}

// add puts one message into the answer.
func (t *popTurn) add(b *Broker, w *pop.Window, kind int, rec mq.Record, popMillis int64, before int32) {
	h := Handle{
		Topic: w.Topic, QueueID: w.Queue, Offset: rec.QueueOffset(), PopMillis: popMillis, Retry: kind,
		InvisibleMillis: t.due - t.now, PhysicalOffset: rec.PhysicalOffset(), Broker: b.cfg.Broker,
	}
	if t.p.req.Ordered {
		h.Revive = pop.OrderedRevive
	}
	if kind != pop.RetryNone {
		t.rewritten = true
		at := len(t.retries)
		t.retries = asPopped(t.retries, rec, t.p.req.Topic, &h)
		rec = mq.Record(t.retries[at:])
	}
	t.r.Messages = append(t.r.Messages, Popped{Record: rec, Handle: h, Deliveries: before})
}

// asPopped appends the record of a retried message as its consumer is to see
// it: under the topic that it popped from, with its handle.
func asPopped(dst []byte, rec mq.Record, topic string, h *Handle) []byte {
	m, err := rec.Decode()
	if err != nil { // a whole record, or nobody had read it
		return append(dst, rec...)
	}
	m.Topic = topic
	props := mq.RemoveProperty(m.Properties, mq.PropPopCK)
	if ck := h.ExtraInfo(); len(props)+len(mq.PropPopCK)+len(ck)+3 <= mq.MaxPropertiesLen {
		props = mq.AppendProperty(props, mq.PropPopCK, ck)
	}
	m.Properties = props
	return mq.AppendRecordCRC(dst, &m, rec.BodyCRC())
}

// finish makes one body of the parts.
func (t *popTurn) finish() {
	r := &t.r
	r.Status = PopFound
	if len(t.parts) == 1 && !t.rewritten {
		r.Body, r.Free = t.parts[0].Body, t.parts[0].Free
		return
	}
	if len(t.parts) == 0 && len(r.Messages) > 0 {
		n := 0
		for i := range r.Messages {
			n += len(r.Messages[i].Record)
		}
		if n == len(t.retries) { // nothing but retries: they lie in order
			r.Body = t.retries
			t.alias()
			return
		}
	}
	n := 0
	for i := range r.Messages {
		n += len(r.Messages[i].Record)
	}
	body := make([]byte, 0, n)
	for i := range r.Messages {
		body = append(body, r.Messages[i].Record...)
	}
	for i := range t.parts {
		t.parts[i].Release()
	}
	r.Body = body
	t.alias()
}

// alias has the messages' records lie in the body.
func (t *popTurn) alias() {
	at := 0
	for i := range t.r.Messages {
		m := &t.r.Messages[i]
		end := at + len(m.Record)
		m.Record = mq.Record(t.r.Body[at:end:end])
		at = end
	}
}

// poppable reports whether an attempt would find something now, as far as can
// be seen without reading.
func (b *Broker) poppable(p *popping, topic *Topic) bool {
	look := func(t *Topic, kind int) bool {
		for id := range t.ReadQueues {
			if kind == pop.RetryNone && p.req.QueueID >= 0 && p.req.QueueID != id {
				continue
			}
			if b.queuePoppable(p, t.Name, id, kind) {
				return true
			}
		}
		return false
	}
	if look(topic, pop.RetryNone) {
		return true
	}
	if retry, ok := b.topics.Get(p.share.retry); ok && !p.req.Ordered {
		return look(retry, pop.RetryV1)
	}
	return false
}

func (b *Broker) queuePoppable(p *popping, topic string, id int32, kind int) bool {
	r, _, err := b.hotRange(context.Background(), b.queue(topic, id))
	if err != nil {
		return true // the attempt tells
	}
	w := b.lockWindow(p.share, kind, id)
	defer w.Unlock()
	off, known, reset := b.offsets.Look(p.req.Group, topic, id)
	switch {
	case w.Reading:
		return false
	case reset, !w.Started(), !known, off != w.Committed():
		return r.To > 0
	case p.req.Ordered && len(w.Live(1)) > 0:
		return !w.Blocked(b.clock().UnixMilli(), p.req.AttemptID)
	}
	return w.Next() < r.To && w.Room() > 0
}
