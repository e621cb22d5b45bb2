package app

import (
	"context"
	"errors"
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
	tables := a.archivedTopics(ctx)
	for _, t := range a.n.broker.Topics() {
		s, err := a.summary(ctx, t, a.closed(ctx, t, tables[t.Name]))
		if err != nil {
			return nil, brokerError(err)
		}
		out = append(out, s)
	}
	return out, nil
}

// summary counts a topic's messages, those in the log alone where the archive
// can't say what it has.
func (a topicAPI) summary(ctx context.Context, t *broker.Topic, closed []int32) (admin.Topic, error) {
	s := admin.Topic{
		Name: t.Name, Queues: int(t.Queues()), ReadQueues: int(t.ReadQueues), WriteQueues: int(t.WriteQueues),
		Type: t.MessageType(), System: systemTopic(t.Name),
	}
	count := func(id int32) (int64, error) {
		r, cold, err := a.queueRange(ctx, t, id)
		if err != nil {
			return 0, err
		}
		if cold != nil && s.Error == "" {
			s.Error = cold.Error()
		}
		s.Messages += r.Len()
		return r.Len(), nil
	}
	for id := range t.Queues() {
		if _, err := count(id); err != nil {
			return s, err
		}
	}
	for _, id := range closed {
		n, err := count(id)
		if err != nil {
			return s, err
		}
		if n > 0 {
			s.Closed = append(s.Closed, admin.ClosedQueue{ID: id, Messages: n})
		}
	}
	return s, nil
}

// queueRange is a queue's range, of the log alone where cold says why the archive
// can't say what it has.
func (a topicAPI) queueRange(ctx context.Context, t *broker.Topic, id int32) (r mq.Range, cold, err error) {
	q := mq.Queue{Broker: a.n.cfg.Broker.Name, Topic: t.Name, ID: id}
	if id < t.Queues() {
		r, err = a.n.broker.QueueRange(ctx, t.Name, id)
	} else if r, err = a.n.reader.Range(ctx, q); errors.Is(err, mq.ErrNoQueue) {
		return mq.Range{}, nil, nil
	}
	if err == nil || ctx.Err() != nil || !ofArchive(err) {
		return r, nil, err
	}
	r, hot := a.n.store.Range(ctx, q)
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
	s, err := a.summary(ctx, t, a.closed(ctx, t, true))
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
		q, err := a.queue(ctx, t, id)
		if err != nil {
			return d, brokerError(err)
		}
		q.LastTime = millis(last[id])
		d.Detail = append(d.Detail, q)
	}
	for _, c := range s.Closed {
		q, err := a.queue(ctx, t, c.ID)
		if err != nil {
			return d, brokerError(err)
		}
		if q.Min >= 0 && q.Max > q.Min {
			if q.LastTime, err = a.storeTime(ctx, t.Name, c.ID, q.Max-1); err != nil {
				return d, brokerError(err)
			}
		}
		d.Detail = append(d.Detail, q)
	}
	return d, nil
}

// queue is a queue but for the time of its last message.
func (a topicAPI) queue(ctx context.Context, t *broker.Topic, id int32) (admin.Queue, error) {
	mqq := mq.Queue{Broker: a.n.cfg.Broker.Name, Topic: t.Name, ID: id}
	r, cold, err := a.queueRange(ctx, t, id)
	if err != nil {
		return admin.Queue{}, err
	}
	q := admin.Queue{
		Broker: mqq.Broker, ID: id, State: queueState(t, id), Min: r.From, HotStart: r.To, Max: r.To,
		Archived: a.n.store.Archived(mqq),
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
	if !r.Empty() {
		q.FirstTime, err = a.storeTime(ctx, t.Name, id, r.From)
	}
	return q, err
}

func (a topicAPI) DeleteTopic(ctx context.Context, name string) error {
	return brokerError(a.n.broker.DeleteTopic(ctx, name))
}
