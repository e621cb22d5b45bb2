package broker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"varve/broker/topic"
	"varve/internal/mq"
)

const (
	// firstRetryLevel is the delay level of the first retry (10 s); each
	// further one is a level higher.
	firstRetryLevel = 3
	dlqQueues       = 1
)

// retriedByClient handles a message that a client sends to a retry topic
// itself. dead says that it now goes to the group's dead letter topic: it has
// been tried too often, or its group consumes in order (an orderly consumer
// retries in place and sends only what it gave up).
func (b *Broker) retriedByClient(m *mq.Message, sp *special, maxTimes int32) (dead bool, err error) {
	name := strings.TrimPrefix(m.Topic, mq.RetryPrefix)
	g, ok := b.groups.Get(name)
	if !ok {
		return false, fmt.Errorf("%w: %q of retry topic %q", ErrNoGroup, name, m.Topic)
	}
	if m.ReconsumeTimes == 0 && sp.retried > 0 {
		m.ReconsumeTimes = sp.retried
	}
	limit := g.RetryMaxTimes
	switch {
	case maxTimes >= 0:
		limit = maxTimes
	case sp.maxRetries >= 0:
		limit = sp.maxRetries
	}
	if m.ReconsumeTimes <= limit && !b.locks.Live(name, b.now()) {
		return false, nil
	}
	return true, b.toDeadLetters(m, name)
}

// toDeadLetters readdresses a message to a group's dead letter topic.
func (b *Broker) toDeadLetters(m *mq.Message, group string) error {
	t, err := b.topics.PutIfAbsent(Topic{
		Name: mq.DLQTopic(group), ReadQueues: dlqQueues, WriteQueues: dlqQueues,
		Perm: topic.PermRead | topic.PermWrite,
	})
	if err != nil {
		return fmt.Errorf("create dead letter topic of group %q: %w", group, err)
	}
	m.Topic, m.QueueID = t.Name, rand.Int32N(max(1, t.WriteQueues))
	b.stats.deadLetters.Add(1)
	return nil
}

// SendBack stores a message again, to be delivered later to the group's
// retry topic, or to its dead letter topic after the last retry. It may read
// the archive for the message.
func (b *Broker) SendBack(ctx context.Context, req *SendBackRequest) error {
	if b.closed.Load() {
		return ErrClosed
	}
	g, ok := b.groups.Get(req.Group)
	if !ok {
		return fmt.Errorf("%w: %q", ErrNoGroup, req.Group)
	}
	if g.RetryQueues <= 0 {
		return nil // the group wants no retries
	}
	if err := b.ensureRetryTopic(g, req.Unit); err != nil {
		return err
	}
	t, ok := b.topics.Get(mq.RetryTopic(g.Name))
	if !ok || !t.Writable() {
		return fmt.Errorf("%w: retry topic of group %q takes no messages", ErrForbidden, g.Name)
	}
	rec, err := b.finder.FindPhysical(ctx, b.cfg.Broker, req.PhysicalOffset)
	if err != nil {
		if errors.Is(err, mq.ErrNotFound) {
			return fmt.Errorf("%w: at physical offset %d: %w", ErrNoMessage, req.PhysicalOffset, err)
		}
		return fmt.Errorf("find message at physical offset %d: %w", req.PhysicalOffset, err)
	}
	m, err := rec.Decode()
	if err != nil {
		return fmt.Errorf("message at physical offset %d: %w", req.PhysicalOffset, err)
	}
	b.stats.sendBacks.Add(1)
	b.traffic.Add(TrafficKey{Kind: TrafficSendBack, Topic: m.Topic, Group: g.Name}, 1, int64(len(m.Body)))
	return b.sendBack(ctx, req, g, m)
}

// sendBack stores m again for group g.
func (b *Broker) sendBack(ctx context.Context, req *SendBackRequest, g *Group, m mq.Message) error {
	limit := g.RetryMaxTimes
	if req.MaxReconsumeTimes >= 0 {
		limit = req.MaxReconsumeTimes
	}
	props := mq.RemoveProperty(m.Properties, mq.PropDelay)
	if _, ok := mq.Property(props, mq.PropRetryTopic); !ok {
		props = mq.AppendProperty(props, mq.PropRetryTopic, m.Topic)
	}
	if _, ok := mq.Property(props, mq.PropOriginMessageID); !ok {
		props = mq.AppendProperty(props, mq.PropOriginMessageID, mq.OffsetMsgID(m.StoreHost, m.PhysicalOffset))
	}
	if m.ReconsumeTimes >= limit || req.DelayLevel < 0 {
		if err := b.toDeadLetters(&m, g.Name); err != nil {
			return err
		}
	} else {
		m.Topic, m.QueueID = mq.RetryTopic(g.Name), rand.Int32N(g.RetryQueues)
		m.Properties = props
		b.putOff(&m, g, req.DelayLevel)
		props = m.Properties
	}
	m.Properties = props
	m.ReconsumeTimes++
	m.StoreHost = b.cfg.StoreHost
	m.PreparedTransactionOffset = 0
	if n := len(props); n > mq.MaxPropertiesLen {
		return fmt.Errorf("%w: properties of %d bytes are over the limit of %d", ErrIllegalMessage, n, mq.MaxPropertiesLen)
	}
	if _, err := b.log.Append(ctx, []*mq.Message{&m}); err != nil {
		return fmt.Errorf("send back message at physical offset %d for group %q: %w", req.PhysicalOffset, g.Name, storeError(err))
	}
	return nil
}

// putOff delays a retry: by the level that the client names, else by the group's
// own policy, else by the level of so many retries.
func (b *Broker) putOff(m *mq.Message, g *Group, level int32) {
	switch {
	case level > 0:
		b.timers.Level(m, int(level))
	case !g.RetryPolicy.Own():
		b.timers.Level(m, firstRetryLevel+int(m.ReconsumeTimes))
	default:
		if d := g.RetryPolicy.Delay(m.ReconsumeTimes); d > 0 {
			b.timers.After(m, d)
		}
	}
}
