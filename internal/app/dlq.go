package app

import (
	"context"
	"errors"

	"varve/broker"
	"varve/internal/admin"
	"varve/internal/mq"
)

// resendAtOnce bounds the dead letters of one request.
const resendAtOnce = 5000

// DeadLetters lists the groups that have dead letters.
func (a groupAPI) DeadLetters(ctx context.Context) ([]admin.DeadLetters, error) {
	dead, err := a.n.broker.DeadLetters(ctx)
	if err != nil {
		return nil, brokerError(err)
	}
	out := make([]admin.DeadLetters, len(dead))
	for i, d := range dead {
		out[i] = admin.DeadLetters(d)
	}
	return out, nil
}

// ResendDeadLetters gives dead letters back to their group.
func (a groupAPI) ResendDeadLetters(ctx context.Context, group string, r admin.Resend) (admin.Resent, error) {
	if r.All {
		n, more, err := a.n.broker.ResendDeadLetters(ctx, group, resendAtOnce)
		return admin.Resent{Sent: n, More: more}, brokerError(err)
	}
	var places []int64
	for _, id := range r.IDs { // all of them are looked up before any is sent
		m, err := messageAPI(a).MessageByID(ctx, mq.DLQTopic(group), id)
		if err != nil {
			return admin.Resent{}, err
		}
		places = append(places, m.PhysicalOffset)
	}
	var sent admin.Resent
	for i, at := range places {
		err := a.n.broker.ResendDeadLetter(ctx, group, at)
		if errors.Is(err, broker.ErrNoMessage) {
			return sent, admin.NotFound("%s: %v", r.IDs[i], err)
		}
		if err != nil {
			return sent, brokerError(err)
		}
		sent.Sent++
	}
	return sent, nil
}
