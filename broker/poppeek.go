package broker

import (
	"context"
	"errors"
	"fmt"

	"varve/broker/pop"
	"varve/internal/mq"
)

// Peek gives what Pop would give next, the retry topic's first, and gives
// nothing out. rest is what is left behind it.
func (b *Broker) Peek(ctx context.Context, req *PopRequest) (body []byte, count int, rest int64, err error) {
	if err := b.MayRead(req.Topic); err != nil {
		return nil, 0, 0, err
	}
	p := &popping{ctx: ctx, req: req, look: true}
	if err := b.beginPop(p); err != nil {
		return nil, 0, 0, err
	}
	_, topic, err := b.checkPop(req)
	if err != nil {
		return nil, 0, 0, err
	}
	want := req.MaxMessages
	if want == 0 {
		want = MaxPopMessages
	}
	peek := func(t *Topic, kind int) error {
		for id := range t.ReadQueues {
			if kind == pop.RetryNone && req.QueueID >= 0 && req.QueueID != id {
				continue
			}
			if len(body) >= b.cfg.MaxPullBytes { // the rest is only counted
				want = count
			}
			batch, left, err := b.peekQueue(p, b.queue(t.Name, id), kind, want-count)
			if err != nil {
				return err
			}
			body, count, rest = append(body, batch.Body...), count+batch.Count, rest+left
		}
		return nil
	}
	if retry, ok := b.topics.Get(p.share.retry); ok {
		if err := peek(retry, pop.RetryV1); err != nil {
			return nil, 0, 0, err
		}
	}
	if err := peek(topic, pop.RetryNone); err != nil {
		return nil, 0, 0, err
	}
	b.NoteRead(req.Topic, count, int64(len(body)))
	return body, count, rest, nil
}

func (b *Broker) peekQueue(p *popping, q mq.Queue, kind, want int) (batch mq.Batch, rest int64, err error) {
	r, err := b.rangeOf(p.ctx, q)
	if err != nil {
		return batch, 0, err
	}
	at, has, _ := b.offsets.Look(p.req.Group, q.Topic, q.ID)
	if !has {
		at = r.From
	}
	if w := b.pops.Find(pop.Key{Group: p.req.Group, Topic: q.Topic, Queue: q.ID}); w != nil {
		w.Lock()
		if w.Started() && w.Committed() == at {
			at = w.Next()
		}
		w.Unlock()
	}
	at = max(at, r.From)
	if at >= r.To || want <= 0 {
		return batch, max(0, r.To-at), nil
	}
	lim := mq.Limit{Messages: want, Bytes: b.cfg.MaxPullBytes}
	if kind == pop.RetryNone {
		lim.Filter = p.filter
	}
	batch, err = b.reader.Read(p.ctx, q, at, lim)
	if errors.Is(err, mq.ErrTooLow) { // retention took it since
		return mq.Batch{}, 0, nil
	}
	if err != nil {
		return mq.Batch{}, 0, fmt.Errorf("peek at %v from %d: %w", q, at, err)
	}
	return batch, max(0, r.To-batch.Next), nil
}
