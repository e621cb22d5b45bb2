package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"varve/broker/pop"
	"varve/broker/topic"
	"varve/internal/mq"
)

// autoTopicQueues is what RocketMQ gives the topic that others inherit from.
const autoTopicQueues = 8

// seedTopics makes the topic that auto-created ones inherit from, or takes it
// away, so that clients see in the route whether sends may create topics.
func (b *Broker) seedTopics() error {
	if !b.live.Load().AutoCreateTopics {
		_, err := b.topics.Delete(mq.AutoTopic)
		return err
	}
	_, err := b.topics.Put(Topic{
		Name: mq.AutoTopic, ReadQueues: autoTopicQueues, WriteQueues: autoTopicQueues,
		Perm: topic.PermRead | topic.PermWrite | topic.PermInherit,
	})
	return err
}

// BuiltIn gives the topics that are there without anybody making them, as
// RocketMQ's broker has them: two by which clients ask where topics can be
// made, named as the cluster and as the broker, and the one of the cluster's
// replies to requests. They are stored once somebody sends to them.
func (b *Broker) BuiltIn() []*Topic {
	const rw = topic.PermRead | topic.PermWrite
	return []*Topic{
		{Name: b.cfg.Cluster, ReadQueues: autoTopicQueues, WriteQueues: autoTopicQueues, Perm: rw | topic.PermInherit},
		{Name: b.cfg.Broker, ReadQueues: 1, WriteQueues: 1, Perm: rw | topic.PermInherit},
		{Name: b.cfg.Cluster + replySuffix, ReadQueues: 1, WriteQueues: 1, Perm: rw},
	}
}

// BuiltInTopic gives the built-in topic of a name; false where there is none.
func (b *Broker) BuiltInTopic(name string) (*Topic, bool) {
	all := b.BuiltIn()
	if i := slices.IndexFunc(all, func(t *Topic) bool { return t.Name == name }); i >= 0 {
		return all[i], true
	}
	return nil, false
}

// replySuffix ends the name of a cluster's topic of replies.
const replySuffix = "_REPLY_TOPIC"

// PutTopic creates or replaces a topic: ErrBadRequest where it can't be.
func (b *Broker) PutTopic(t Topic) error {
	if b.closed.Load() {
		return ErrClosed
	}
	if mq.SystemTopic(t.Name) {
		return fmt.Errorf("%w: topic %q is the broker's own", ErrBadRequest, t.Name)
	}
	if err := errors.Join(t.Check(), t.CheckMessageType()); err != nil {
		return fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	changed, err := b.topics.Put(t)
	if err != nil {
		return storeError(err)
	}
	if changed {
		b.logger.Info("topic set", "topic", t.Name, "read", t.ReadQueues, "write", t.WriteQueues, "perm", t.Perm)
		b.waits.wakeTopic(t.Name)
		b.popWaits.wakeTopic(t.Name)
	}
	return nil
}

// DeleteTopic removes a topic, its messages in the log, and all progress in
// it. Its archive stays. An absent topic is ErrNoTopic.
func (b *Broker) DeleteTopic(ctx context.Context, name string) error {
	if b.closed.Load() {
		return ErrClosed
	}
	if mq.SystemTopic(name) {
		return fmt.Errorf("%w: topic %q is the broker's own", ErrBadRequest, name)
	}
	if b.mayDelete != nil {
		if err := b.mayDelete(ctx, name); err != nil {
			return fmt.Errorf("delete topic %q: %w", name, err)
		}
	}
	had, err := b.topics.Delete(name)
	if err != nil {
		return storeError(err)
	}
	// An absent one may have left something where its deletion failed halfway.
	err = errors.Join(b.log.DeleteTopic(name),
		b.forgetPops(func(k pop.Key) bool { return k.Topic == name }), b.offsets.DeleteTopic(name))
	b.first.forget(name)
	b.traffic.Forget(func(k TrafficKey) bool { return k.Topic == name })
	b.waits.wakeTopic(name)
	b.popWaits.wakeTopic(name)
	if err != nil {
		return fmt.Errorf("topic %q is deleted, but not all that belonged to it, delete it again: %w", name, storeError(err))
	}
	if !had {
		return fmt.Errorf("%w: %q", ErrNoTopic, name)
	}
	b.logger.Info("topic deleted", "topic", name)
	return nil
}

// Topic finds a topic; it must not be changed.
func (b *Broker) Topic(name string) (*Topic, bool) { return b.topics.Get(name) }

// Topics gives every topic in name order; they must not be changed.
func (b *Broker) Topics() []*Topic { return b.topics.All() }

// TopicsVersion grows with every change of a topic since the start.
func (b *Broker) TopicsVersion() int64 { return b.topics.Version() }

// OnTopicsChange calls fn after every change of a topic; fn must return
// quickly.
func (b *Broker) OnTopicsChange(fn func()) { b.topics.OnChange(fn) }

// TopicStats gives the figures of a topic's queues.
func (b *Broker) TopicStats(ctx context.Context, name string) ([]QueueStat, error) {
	t, ok := b.topics.Get(name)
	if !ok {
		return nil, fmt.Errorf("%w: %q", ErrNoTopic, name)
	}
	out := make([]QueueStat, 0, t.Queues())
	for id := range t.Queues() {
		q := b.queue(t.Name, id)
		r, err := b.rangeOf(ctx, q)
		if err != nil {
			return nil, err
		}
		s := QueueStat{Queue: q, Min: r.From, Max: r.To}
		if !r.Empty() {
			s.LastUpdateMillis, err = b.storeTime(ctx, q, r.To-1)
			if err != nil && !errors.Is(err, ErrNoMessage) {
				return nil, err
			}
		}
		out = append(out, s)
	}
	return out, nil
}
