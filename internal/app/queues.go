package app

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"varve/broker"
	"varve/internal/admin"
	"varve/internal/mq"
)

// queueState is who may use a queue of a topic's settings.
func queueState(t *broker.Topic, id int32) string {
	read, write := t.Readable() && id < t.ReadQueues, t.Writable() && id < t.WriteQueues
	switch {
	case read && write:
		return admin.QueueOpen
	case read:
		return admin.QueueReadOnly
	case write:
		return admin.QueueWriteOnly
	}
	return admin.QueueClosed
}

// lookClosed is how long a list waits for the archive's word on closed queues.
const lookClosed = 2 * time.Second

// archivedTopics are the topics that have a table. Where the archive doesn't
// answer there are none: closed queues are then those that the log knows, which
// are all but those of a data directory that is no more.
func (a topicAPI) archivedTopics(ctx context.Context) map[string]bool {
	out := map[string]bool{}
	if a.n.archive == nil {
		return out
	}
	short, cancel := context.WithTimeout(ctx, lookClosed)
	defer cancel()
	all, err := a.n.archive.Topics(short)
	if err != nil {
		return out
	}
	for _, t := range all {
		out[t] = true
	}
	return out
}

// closed gives the queues, in order, that had messages and that the topic's
// settings don't count any more.
func (a topicAPI) closed(ctx context.Context, t *broker.Topic, archived bool) (out []int32) {
	add := func(q mq.Queue) {
		if q.Broker == a.n.cfg.Broker.Name && q.ID >= t.Queues() && !slices.Contains(out, q.ID) {
			out = append(out, q.ID)
		}
	}
	for _, q := range a.n.store.QueuesOf(t.Name) {
		add(q)
	}
	// The table of a topic that was deleted is of before until it is retired.
	if archived && a.n.archive != nil && a.n.store.Ending(t.Name) == 0 {
		short, cancel := context.WithTimeout(ctx, lookClosed)
		defer cancel()
		if table, err := a.n.archive.Table(short, t.Name); err == nil {
			for _, q := range table.Index().Queues() {
				add(q)
			}
		}
	}
	slices.Sort(out)
	return out
}

// storeTime is when a message was stored; zero where there is none or the
// archive can't say.
func (a topicAPI) storeTime(ctx context.Context, topic string, id int32, at int64) (time.Time, error) {
	q := mq.Queue{Broker: a.n.cfg.Broker.Name, Topic: topic, ID: id}
	b, err := a.n.reader.Read(ctx, q, at, mq.Limit{Messages: 1})
	for _, moved := range []error{mq.ErrNoQueue, mq.ErrTooLow, mq.ErrTooHigh} {
		if errors.Is(err, moved) {
			return time.Time{}, nil
		}
	}
	if err != nil && !ofArchive(err) {
		return time.Time{}, err
	}
	for r := range mq.Records(b.Body) {
		return millis(r.StoreTimeMillis()), nil
	}
	return time.Time{}, nil
}

// newTopicQueues is the number of queues of a new topic that nobody gave one.
const newTopicQueues = 4

// maxTopicQueues bounds the queues of a topic made by the API.
const maxTopicQueues = 1024

func (a topicAPI) CreateTopic(ctx context.Context, s admin.TopicSpec) (admin.Topic, error) {
	t := broker.Topic{Name: s.Name, ReadQueues: newTopicQueues, WriteQueues: newTopicQueues, Perm: 6}
	if old, ok := a.n.broker.Topic(s.Name); ok {
		t = *old
	}
	if err := setQueues(&t, s); err != nil {
		return admin.Topic{}, err
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
	sum, err := a.summary(ctx, made, a.closed(ctx, made, true))
	return sum, brokerError(err)
}

// setQueues sets the numbers of queues that a spec gives; 0 leaves them.
func setQueues(t *broker.Topic, s admin.TopicSpec) error {
	switch {
	case s.Queues < 0 || s.Queues > maxTopicQueues:
		return admin.BadRequest("queues: %d is not between 1 and %d", s.Queues, maxTopicQueues)
	case s.ReadQueues < 0 || s.ReadQueues > maxTopicQueues:
		return admin.BadRequest("read_queues: %d is not between 1 and %d", s.ReadQueues, maxTopicQueues)
	}
	if s.Queues > 0 {
		t.WriteQueues, t.ReadQueues = int32(s.Queues), int32(s.Queues)
	}
	if s.ReadQueues > 0 {
		t.ReadQueues = int32(s.ReadQueues)
		if t.ReadQueues < t.WriteQueues {
			return admin.BadRequest("read_queues: %d is less than the %d queues that are written to: nobody would get what is sent to the others", t.ReadQueues, t.WriteQueues)
		}
	}
	return nil
}
