package broker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"varve/internal/mq"
)

// DeadLetters is one group's dead letters.
type DeadLetters struct {
	Group string
	Topic string // where they lie
	// Messages is how many can be read, Waiting how many of them came since
	// the last ResendDead.
	Messages, Waiting int64
}

// resender is whose progress in a dead letter topic says what was resent.
const resender = "CID_RMQ_SYS_VARVE_RESEND"

// DeadLetters gives the groups that have dead letters, in the order of names.
func (b *Broker) DeadLetters(ctx context.Context) ([]DeadLetters, error) {
	var out []DeadLetters
	for _, t := range b.topics.All() {
		if !strings.HasPrefix(t.Name, mq.DLQPrefix) {
			continue
		}
		d := DeadLetters{Group: strings.TrimPrefix(t.Name, mq.DLQPrefix), Topic: t.Name}
		for id := range t.Queues() {
			r, err := b.rangeOf(ctx, b.queue(t.Name, id))
			if err != nil {
				return nil, err
			}
			resent, _ := b.offsets.Get(resender, t.Name, id)
			d.Messages += r.To - r.From
			d.Waiting += r.To - max(r.From, resent)
		}
		if d.Messages > 0 {
			out = append(out, d)
		}
	}
	return out, nil
}

// ResendDeadLetter gives one dead letter back to its group, by its physical
// offset: ErrNoMessage where the group has no such one.
func (b *Broker) ResendDeadLetter(ctx context.Context, group string, physical int64) error {
	g, err := b.deadGroup(group)
	if err != nil {
		return err
	}
	rec, err := b.ViewMessage(ctx, physical)
	if err != nil {
		return err
	}
	if topic := string(rec.Topic()); topic != mq.DLQTopic(group) {
		return fmt.Errorf("%w: at physical offset %d of topic %q, which is no dead letter of group %q", ErrNoMessage, physical, topic, group)
	}
	return b.resend(ctx, g, []mq.Record{rec})
}

// ResendDeadLetters gives a group the dead letters back that came since the
// last time, at most most of them, and says whether there are more. Each is
// given back once, but for a crash between the message and the note of it.
func (b *Broker) ResendDeadLetters(ctx context.Context, group string, most int) (sent int, more bool, err error) {
	g, err := b.deadGroup(group)
	if err != nil {
		return 0, false, err
	}
	t, ok := b.topics.Get(mq.DLQTopic(group))
	if !ok {
		return 0, false, nil
	}
	for id := range t.Queues() {
		q := b.queue(t.Name, id)
		r, err := b.rangeOf(ctx, q)
		if err != nil {
			return sent, false, err
		}
		resent, _ := b.offsets.Get(resender, t.Name, id)
		for at := max(r.From, resent); at < r.To; {
			if sent >= most {
				return sent, true, nil
			}
			batch, err := b.reader.Read(ctx, q, at, mq.Limit{Messages: min(defaultPullMessages, most-sent), Bytes: b.cfg.MaxPullBytes})
			if err != nil && !errors.Is(err, mq.ErrNoQueue) {
				return sent, false, fmt.Errorf("dead letters of group %q from %d: %w", group, at, err)
			}
			var recs []mq.Record
			for rec := range mq.Records(batch.Body) {
				recs = append(recs, rec)
			}
			if batch.Next <= at {
				break
			}
			if err := b.resend(ctx, g, recs); err != nil {
				return sent, false, err
			}
			sent, at = sent+len(recs), batch.Next
			b.offsets.Commit(resender, t.Name, id, at)
		}
	}
	return sent, false, b.offsets.Flush()
}

func (b *Broker) deadGroup(name string) (*Group, error) {
	if b.closed.Load() {
		return nil, ErrClosed
	}
	g, ok := b.groups.Get(name)
	if !ok {
		return nil, fmt.Errorf("%w: %q", ErrNoGroup, name)
	}
	if g.RetryQueues <= 0 {
		return nil, fmt.Errorf("%w: group %q takes no retries, and nothing can be given back to it", ErrForbidden, name)
	}
	return g, b.ensureRetryTopic(g, false)
}

// resend stores dead letters in the group's retry topic, as if they had never
// been tried: no other group sees them again.
func (b *Broker) resend(ctx context.Context, g *Group, recs []mq.Record) error {
	msgs := make([]*mq.Message, len(recs))
	for i, rec := range recs {
		m, err := rec.Decode()
		if err != nil {
			return fmt.Errorf("dead letter of group %q: %w", g.Name, err)
		}
		m.Topic, m.QueueID = mq.RetryTopic(g.Name), rand.Int32N(g.RetryQueues)
		m.ReconsumeTimes, m.StoreHost = 0, b.cfg.StoreHost
		m.Properties = mq.RemoveProperty(m.Properties, mq.PropDelay)
		msgs[i] = &m
	}
	if len(msgs) == 0 {
		return nil
	}
	if _, err := b.log.Append(ctx, msgs); err != nil {
		return fmt.Errorf("give %d dead letters back to group %q: %w", len(msgs), g.Name, storeError(err))
	}
	b.logger.Info("dead letters given back", "group", g.Name, "messages", len(msgs))
	return nil
}
