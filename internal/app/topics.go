package app

import (
	"context"
	"errors"
	"maps"
	"time"

	"varve/broker"
	"varve/hot"
	"varve/internal/admin"
	"varve/internal/archive"
	"varve/internal/meta"
	"varve/internal/mq"
	"varve/internal/tier"
)

// brokerError gives the broker's errors their place in the API.
func brokerError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, broker.ErrNoTopic), errors.Is(err, broker.ErrNoGroup), errors.Is(err, broker.ErrNoMessage), errors.Is(err, broker.ErrNoTransaction),
		errors.Is(err, broker.ErrNoOffset), errors.Is(err, mq.ErrNotFound), errors.Is(err, mq.ErrNoQueue):
		return admin.NotFound("%v", err)
	case errors.Is(err, broker.ErrBadRequest), errors.Is(err, broker.ErrIllegalMessage), errors.Is(err, broker.ErrMessageType), errors.Is(err, broker.ErrBadFilter), errors.Is(err, broker.ErrBadHandle),
		errors.Is(err, mq.ErrTooLow), errors.Is(err, mq.ErrTooHigh):
		return admin.BadRequest("%v", err)
	case errors.Is(err, broker.ErrForbidden), errors.Is(err, broker.ErrTransactionEnded), errors.Is(err, broker.ErrTransactionLate):
		return admin.Conflict("%v", err)
	case errors.Is(err, broker.ErrDiskFull):
		return admin.NoRoom("%v", err)
	case errors.Is(err, broker.ErrOverQuota):
		return admin.OverLimit("%v", err)
	case errors.Is(err, broker.ErrBusy), errors.Is(err, broker.ErrClosed):
		return admin.Unavailable("%v", err)
	}
	return coldError(err)
}

// coldError gives the archive's errors that pass, and a full disk, their place
// in the API.
func coldError(err error) error {
	if errors.Is(err, meta.ErrDiskFull) || errors.Is(err, hot.ErrDiskFull) {
		return admin.NoRoom("%v", err)
	}
	for _, e := range []error{archive.ErrUnavailable, tier.ErrBehind, tier.ErrHole} {
		if errors.Is(err, e) {
			return admin.Unavailable("%v", err)
		}
	}
	return err
}

func millis(ms int64) time.Time {
	if ms <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// topicAPI implements admin.Topics.
type topicAPI struct{ n *Node }

func (a topicAPI) Topics(ctx context.Context) ([]admin.Topic, error) {
	out := []admin.Topic{}
	for _, t := range a.n.broker.Topics() {
		s, err := a.summary(ctx, t)
		if err != nil {
			return nil, brokerError(err)
		}
		out = append(out, s)
	}
	return out, nil
}

// summary counts a topic's messages, those in the log alone where the archive
// can't say what it has.
func (a topicAPI) summary(ctx context.Context, t *broker.Topic) (admin.Topic, error) {
	s := admin.Topic{Name: t.Name, Queues: int(t.Queues()), Type: t.MessageType(), System: systemTopic(t.Name)}
	for id := range t.Queues() {
		r, cold, err := a.queueRange(ctx, t.Name, id)
		if err != nil {
			return s, err
		}
		if cold != nil && s.Error == "" {
			s.Error = cold.Error()
		}
		s.Messages += r.Len()
	}
	return s, nil
}

// queueRange is a queue's range, of the log alone where cold says why the archive
// can't say what it has.
func (a topicAPI) queueRange(ctx context.Context, topic string, id int32) (r mq.Range, cold, err error) {
	r, err = a.n.broker.QueueRange(ctx, topic, id)
	if err == nil || ctx.Err() != nil || !ofArchive(err) {
		return r, nil, err
	}
	r, hot := a.n.store.Range(ctx, mq.Queue{Broker: a.n.cfg.Broker.Name, Topic: topic, ID: id})
	if errors.Is(hot, mq.ErrNoQueue) {
		hot = nil
	}
	return r, err, hot
}

// ofArchive tells errors of the archive, that passes or that somebody has to
// mend.
func ofArchive(err error) bool {
	return errors.Is(err, archive.ErrUnavailable) || errors.Is(err, tier.ErrBehind) || errors.Is(err, tier.ErrHole) || archive.Unreadable(err)
}

// systemTopic reports whether lists leave a topic out: the broker's machinery
// and the topics that RocketMQ brings along.
func systemTopic(name string) bool {
	return mq.SystemTopic(name) || name == mq.TraceTopic
}

func (a topicAPI) Topic(ctx context.Context, name string) (admin.TopicDetail, error) {
	t, ok := a.n.broker.Topic(name)
	if !ok {
		return admin.TopicDetail{}, admin.NotFound("topic %q does not exist", name)
	}
	s, err := a.summary(ctx, t)
	if err != nil {
		return admin.TopicDetail{}, brokerError(err)
	}
	d := admin.TopicDetail{Topic: s, Detail: []admin.Queue{}}
	last := map[int32]int64{}
	stats, err := a.n.broker.TopicStats(ctx, name)
	if err != nil && !ofArchive(err) {
		return d, brokerError(err)
	}
	for _, st := range stats {
		last[st.Queue.ID] = st.LastUpdateMillis
	}
	for id := range t.Queues() {
		q, err := a.queue(ctx, name, id, last[id])
		if err != nil {
			return d, brokerError(err)
		}
		d.Detail = append(d.Detail, q)
	}
	return d, nil
}

func (a topicAPI) queue(ctx context.Context, topic string, id int32, lastMillis int64) (admin.Queue, error) {
	mqq := mq.Queue{Broker: a.n.cfg.Broker.Name, Topic: topic, ID: id}
	r, cold, err := a.queueRange(ctx, topic, id)
	if err != nil {
		return admin.Queue{}, err
	}
	q := admin.Queue{
		Broker: mqq.Broker, ID: id, Min: r.From, HotStart: r.To, Max: r.To,
		Archived: a.n.store.Archived(mqq), LastTime: millis(lastMillis),
	}
	if h, err := a.n.store.Range(ctx, mqq); err == nil {
		q.HotStart = h.From
	} else if !errors.Is(err, mq.ErrNoQueue) {
		return q, err
	}
	if cold != nil {
		q.Min = -1 // the log's first offset isn't the queue's
		return q, nil
	}
	first, err := a.n.broker.EarliestTime(ctx, topic, id)
	if err != nil && !errors.Is(err, broker.ErrNoMessage) && !ofArchive(err) {
		return q, err
	}
	q.FirstTime = millis(first)
	return q, nil
}

func (a topicAPI) CreateTopic(ctx context.Context, s admin.TopicSpec) (admin.Topic, error) {
	if s.Queues < 1 || s.Queues > 1024 {
		return admin.Topic{}, admin.BadRequest("queues: %d is not between 1 and 1024", s.Queues)
	}
	t := broker.Topic{Name: s.Name, ReadQueues: int32(s.Queues), WriteQueues: int32(s.Queues), Perm: 6}
	if old, ok := a.n.broker.Topic(s.Name); ok {
		t = *old
		t.ReadQueues, t.WriteQueues = int32(s.Queues), int32(s.Queues)
	}
	if s.Type != "" {
		t.Attributes = maps.Clone(t.Attributes)
		if t.Attributes == nil {
			t.Attributes = map[string]string{}
		}
		t.Attributes[broker.AttrMessageType] = s.Type
	}
	if err := a.n.broker.PutTopic(t); err != nil {
		return admin.Topic{}, brokerError(err)
	}
	made, ok := a.n.broker.Topic(s.Name)
	if !ok {
		return admin.Topic{}, admin.Conflict("topic %q was deleted again", s.Name)
	}
	sum, err := a.summary(ctx, made)
	return sum, brokerError(err)
}

func (a topicAPI) DeleteTopic(ctx context.Context, name string) error {
	if _, ok := a.n.broker.Topic(name); !ok {
		return admin.NotFound("topic %q does not exist", name)
	}
	return brokerError(a.n.broker.DeleteTopic(ctx, name))
}
