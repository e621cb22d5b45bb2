package broker

import (
	"context"

	"varve/internal/mq"
)

// Submit stores one message, or the messages of a batch as one unit. done is
// called once, possibly before Submit returns and otherwise from the log's
// committer: it must return quickly, and the receipts are valid during the call
// only.
func (b *Broker) Submit(req *SendRequest, done func([]Receipt, error)) { done(nil, ErrClosed) }

// Send is Submit that waits. The receipts are the caller's own.
func (b *Broker) Send(ctx context.Context, req *SendRequest) ([]Receipt, error) {
	return nil, ErrClosed
}

// Pull reads a queue from an offset on. done is called once: before Pull
// returns where there is an answer already, and later, from another goroutine,
// where the pull is held or reads the archive. A pull from the hot log reads it
// in the caller's goroutine. When ctx ends first, done gets its error.
func (b *Broker) Pull(ctx context.Context, req *PullRequest, done func(PullResult, error)) {
	done(PullResult{}, ErrClosed)
}

// SendBack stores a message again, to be delivered later to the group's
// retry topic, or to its dead letter topic after the last retry. It may read
// the archive for the message.
func (b *Broker) SendBack(ctx context.Context, req *SendBackRequest) error { return ErrClosed }

// QueryOffset gives a group's progress in a queue: ErrNoOffset where it has
// none, but 0 for a group that is new to a queue that is new too, unless
// zeroIfNew is false.
func (b *Broker) QueryOffset(ctx context.Context, group, topic string, queueID int32, zeroIfNew bool) (int64, error) {
	return 0, ErrClosed
}

// CommitOffset notes a group's progress in a queue. It is dropped while a reset
// waits for the next pull.
func (b *Broker) CommitOffset(group, topic string, queueID int32, offset int64) error {
	return ErrClosed
}

// ResetOffset sets a group's progress, durably, and has the next pull of each
// queue told of it. It gives the new progress by queue.
func (b *Broker) ResetOffset(ctx context.Context, req *ResetRequest) (map[mq.Queue]int64, error) {
	return nil, ErrClosed
}

// CloneOffsets copies a group's progress in a topic to another group; an empty
// topic is all.
func (b *Broker) CloneOffsets(from, to, topic string) error { return ErrClosed }

// QueueRange gives the offsets of a queue that can be read, archive included.
// An existing topic's queue without a message is [0, 0).
func (b *Broker) QueueRange(ctx context.Context, topic string, queueID int32) (mq.Range, error) {
	return mq.Range{}, ErrClosed
}

// SearchOffset finds an offset by store time.
func (b *Broker) SearchOffset(ctx context.Context, topic string, queueID int32, millis int64, bound mq.Bound) (int64, error) {
	return 0, ErrClosed
}

// EarliestTime gives the store time of a queue's first message in
// milliseconds: ErrNoMessage where it is empty.
func (b *Broker) EarliestTime(ctx context.Context, topic string, queueID int32) (int64, error) {
	return 0, ErrClosed
}

// ViewMessage finds a message by its physical offset: ErrNoMessage.
func (b *Broker) ViewMessage(ctx context.Context, physicalOffset int64) (mq.Record, error) {
	return nil, ErrClosed
}

// QueryByKey finds the messages of a topic with a key, newest first. None is
// an empty batch.
func (b *Broker) QueryByKey(ctx context.Context, k mq.KeyQuery) (mq.Batch, error) {
	return mq.Batch{}, ErrClosed
}

// PutTopic creates or replaces a topic.
func (b *Broker) PutTopic(t Topic) error { return ErrClosed }

// DeleteTopic removes a topic, its messages in the log, and all progress in
// it. Its archive stays.
func (b *Broker) DeleteTopic(ctx context.Context, name string) error { return ErrClosed }

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
	return nil, ErrClosed
}

// PutGroup creates or replaces a consumer group's settings.
func (b *Broker) PutGroup(g Group) error { return ErrClosed }

// DeleteGroup removes a consumer group's settings, and its progress where
// asked to.
func (b *Broker) DeleteGroup(name string, cleanOffsets bool) error { return ErrClosed }

// Group finds a consumer group's settings; they must not be changed.
func (b *Broker) Group(name string) (*Group, bool) { return b.groups.Get(name) }

// Groups gives every consumer group's settings in name order; they must not be
// changed.
func (b *Broker) Groups() []*Group { return b.groups.All() }

// ConsumeStats gives a group's progress, queue by queue, in one topic or, where
// it is empty, in all it consumes.
func (b *Broker) ConsumeStats(ctx context.Context, group, topic string) ([]ConsumeStat, error) {
	return nil, ErrClosed
}

// Stats gives the broker's figures.
func (b *Broker) Stats() Stats { return Stats{} }
