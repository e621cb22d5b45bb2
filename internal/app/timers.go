package app

import (
	"context"
	"time"

	"varve/broker"
	"varve/internal/admin"
)

// timerAPI implements admin.Timers.
type timerAPI struct{ n *Node }

func (a timerAPI) Held(_ context.Context, s admin.HeldSearch) (admin.HeldPage, error) {
	q := broker.HeldQuery{Topic: s.Topic, Max: s.Max}
	if !s.From.IsZero() {
		q.FromMillis = s.From.UnixMilli()
	}
	held, more, err := a.n.broker.Held(q)
	if err != nil {
		return admin.HeldPage{}, brokerError(err)
	}
	p := admin.HeldPage{Held: make([]admin.Held, len(held)), Total: a.n.broker.Stats().TimersPending, More: more}
	for i, h := range held {
		p.Held[i] = admin.Held{
			Topic: h.Topic, MsgID: h.MsgID, Due: time.UnixMilli(h.DueMillis).UTC(), Sent: time.UnixMilli(h.SentMillis).UTC(),
			Level: h.Level, Bytes: h.Bytes, RecallHandle: h.String(),
		}
	}
	return p, nil
}

func (a timerAPI) Recall(ctx context.Context, r admin.Recall) (admin.Recalled, error) {
	id, hit, err := a.n.broker.Recall(ctx, r.Topic, r.Handle)
	if err != nil {
		return admin.Recalled{}, brokerError(err)
	}
	if !hit {
		return admin.Recalled{}, admin.NotFound("message %q is not held back: it was delivered or recalled before, or never sent", id)
	}
	return admin.Recalled{MsgID: id}, nil
}
