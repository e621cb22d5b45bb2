package broker

import (
	"context"
	"errors"
	"fmt"

	"varve/hot"
	"varve/internal/mq"
)

// QueryOffset gives a group's progress in a queue: ErrNoOffset where it has
// none, but 0 for a group that is new to a queue that is new too, unless
// zeroIfNew is false.
func (b *Broker) QueryOffset(ctx context.Context, group, topic string, queueID int32, zeroIfNew bool) (int64, error) {
	if off, ok := b.offsets.Get(group, topic, queueID); ok {
		return off, nil
	}
	if zeroIfNew {
		fresh, err := b.fresh(ctx, b.queue(topic, queueID))
		if err != nil {
			return 0, err
		}
		if fresh {
			return 0, nil
		}
	}
	return 0, fmt.Errorf("%w: group %q in queue %d of topic %q", ErrNoOffset, group, queueID, topic)
}

// fresh reports whether the log still has the whole of a queue, and little
// behind its first message. The archive doesn't count: with it every queue
// starts at 0 for ever, and a group that asks for the end would get years.
func (b *Broker) fresh(ctx context.Context, q mq.Queue) (bool, error) {
	r, known, err := b.hotRange(ctx, q)
	if err != nil || r.From > 0 {
		return false, err
	}
	if !known || r.To == 0 {
		return true, nil
	}
	batch, err := b.log.Read(ctx, q, 0, mq.Limit{Messages: 1})
	if err != nil && hot.Damaged(err) { // the archive may stand in
		batch, err = b.reader.Read(ctx, q, 0, mq.Limit{Messages: 1})
	}
	if errors.Is(err, mq.ErrTooLow) { // trimmed since
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("first message of %v: %w", q, err)
	}
	for rec := range mq.Records(batch.Body) {
		return b.log.Confirmed()-rec.PhysicalOffset() <= b.cfg.FreshBytes, nil
	}
	return false, nil
}

func (b *Broker) queue(topic string, id int32) mq.Queue {
	return mq.Queue{Broker: b.cfg.Broker, Topic: topic, ID: id}
}

// CommitOffset notes a group's progress in a queue. It is dropped while a reset
// waits for the next pull.
func (b *Broker) CommitOffset(group, topic string, queueID int32, offset int64) error {
	if _, ok := b.groups.Get(group); !ok {
		return fmt.Errorf("%w: %q", ErrNoGroup, group)
	}
	if _, err := b.queueOf(topic, queueID); err != nil {
		return err
	}
	if offset < 0 {
		return fmt.Errorf("%w: offset %d of group %q in queue %d of topic %q is negative", ErrBadRequest, offset, group, queueID, topic)
	}
	previous, taken := b.offsets.Commit(group, topic, queueID, offset)
	if taken && offset < previous {
		b.logger.Warn("group's progress moved back", "group", group, "topic", topic, "queue", queueID, "from", previous, "to", offset)
	}
	return nil
}

// maxBeyondTold bounds what clampOffsets logs one by one.
const maxBeyondTold = 64

// clampOffsets takes progress back that is beyond the log's end: a power cut
// took messages that were acked and consumed, but not synced yet. Others will
// have their offsets, and the group would never get those.
func (b *Broker) clampOffsets() error {
	beyond, err := b.offsets.Clamp(func(topic string, id int32) (int64, error) {
		r, _, err := b.hotRange(context.Background(), b.queue(topic, id))
		return r.To, err
	})
	if err != nil {
		return fmt.Errorf("compare groups' progress with the log: %w", err)
	}
	for i, o := range beyond {
		if i == maxBeyondTold {
			b.logger.Warn("more progress was beyond the end of its queue", "count", len(beyond)-i)
			break
		}
		b.logger.Warn("group's progress is beyond the end of the queue, goes on at the end",
			"group", o.Group, "queue", b.queue(o.Topic, o.Queue).String(), "progress", o.From, "end", o.To)
	}
	if err := b.offsets.Flush(); err != nil { // it must not come back when others have those offsets
		return fmt.Errorf("save groups' progress: %w", err)
	}
	return nil
}

// FlushOffsets saves the groups' progress as it is now; it is saved every few
// seconds anyway.
func (b *Broker) FlushOffsets() error {
	if err := b.offsets.Flush(); err != nil {
		return fmt.Errorf("save groups' progress: %w", err)
	}
	return nil
}

// queueOf checks that a topic has a queue.
func (b *Broker) queueOf(topic string, id int32) (mq.Queue, error) {
	t, ok := b.topics.Get(topic)
	if !ok {
		return mq.Queue{}, fmt.Errorf("%w: %q", ErrNoTopic, topic)
	}
	if id < 0 || id >= t.Queues() {
		return mq.Queue{}, fmt.Errorf("%w: queue %d of topic %q, which has %d", ErrBadRequest, id, topic, t.Queues())
	}
	return b.queue(t.Name, id), nil
}

// ResetTargets is where a reset would set a group's progress, by queue. It
// changes nothing.
func (b *Broker) ResetTargets(ctx context.Context, req *ResetRequest) (map[mq.Queue]int64, error) {
	t, ok := b.topics.Get(req.Topic)
	if !ok {
		return nil, fmt.Errorf("%w: %q", ErrNoTopic, req.Topic)
	}
	if _, ok := b.groups.Get(req.Group); !ok {
		return nil, fmt.Errorf("%w: %q", ErrNoGroup, req.Group)
	}
	first, last := req.QueueID, req.QueueID
	if req.QueueID < 0 {
		first, last = 0, t.ReadQueues-1
		if req.Offset >= 0 {
			return nil, fmt.Errorf("%w: a reset to offset %d needs a queue", ErrBadRequest, req.Offset)
		}
	}
	out := map[mq.Queue]int64{}
	for id := first; id <= last; id++ {
		q, err := b.queueOf(req.Topic, id)
		if err != nil {
			return nil, err
		}
		off, err := b.resetTarget(ctx, q, req)
		if err != nil {
			return nil, err
		}
		out[q] = off
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: topic %q has no queue to reset", ErrBadRequest, req.Topic)
	}
	return out, nil
}

// ResetOffset sets a group's progress, durably, and has the next pull of each
// queue told of it. It gives the new progress by queue.
func (b *Broker) ResetOffset(ctx context.Context, req *ResetRequest) (map[mq.Queue]int64, error) {
	out, err := b.ResetTargets(ctx, req)
	if err != nil {
		return nil, err
	}
	to := map[int32]int64{}
	for q, off := range out {
		to[q.ID] = off
	}
	if err := b.offsets.Reset(req.Group, req.Topic, to); err != nil {
		return nil, storeError(err)
	}
	b.waits.wakeTopic(req.Topic)
	b.popWaits.wakeTopic(req.Topic)
	b.logger.Info("offsets reset", "group", req.Group, "topic", req.Topic, "queues", len(to), "time", req.TimeMillis, "offset", req.Offset)
	return out, nil
}

func (b *Broker) resetTarget(ctx context.Context, q mq.Queue, req *ResetRequest) (int64, error) {
	r, err := b.rangeOf(ctx, q)
	if err != nil {
		return 0, err
	}
	switch {
	case req.Offset >= 0:
		if req.Offset < r.From || req.Offset > r.To {
			return 0, fmt.Errorf("%w: offset %d of %v is outside %d to %d", ErrBadRequest, req.Offset, q, r.From, r.To)
		}
		return req.Offset, nil
	case req.TimeMillis < 0:
		return r.To, nil
	}
	return b.offsetAt(ctx, q, req.TimeMillis, mq.Lower)
}

// CloneOffsets copies a group's progress in a topic to another group; an empty
// topic is all.
func (b *Broker) CloneOffsets(from, to, topic string) error {
	if _, ok := b.groups.Get(from); !ok {
		return fmt.Errorf("%w: %q", ErrNoGroup, from)
	}
	if _, err := b.groupFor(to); err != nil {
		return err
	}
	topics := []string{topic}
	if topic == "" {
		topics = b.offsets.Topics(from)
	}
	progress := map[string]map[int32]int64{}
	for _, name := range topics {
		if offs := b.offsets.Offsets(from, name); len(offs) > 0 {
			progress[name] = offs
		}
	}
	if len(progress) == 0 {
		return nil
	}
	return storeError(b.offsets.Put(to, progress))
}

// QueueRange gives the offsets of a queue that can be read, archive included.
// An existing topic's queue without a message is [0, 0).
func (b *Broker) QueueRange(ctx context.Context, topic string, queueID int32) (mq.Range, error) {
	q, err := b.queueOf(topic, queueID)
	if err != nil {
		return mq.Range{}, err
	}
	return b.rangeOf(ctx, q)
}

// rangeOf asks the archive only for a queue whose start isn't in the log.
func (b *Broker) rangeOf(ctx context.Context, q mq.Queue) (mq.Range, error) {
	hot, known, err := b.hotRange(ctx, q)
	if err != nil || known && hot.From == 0 {
		return hot, err
	}
	r, err := b.reader.Range(ctx, q)
	switch {
	case errors.Is(err, mq.ErrNoQueue):
		return mq.Range{}, nil
	case err != nil:
		return mq.Range{}, fmt.Errorf("range of %v: %w", q, err)
	}
	b.first.set(q, r.From, b.now())
	return r, nil
}

// SearchOffset finds an offset by store time: the first at or after it, or the
// last at or before it.
func (b *Broker) SearchOffset(ctx context.Context, topic string, queueID int32, millis int64, bound mq.Bound) (int64, error) {
	q, err := b.queueOf(topic, queueID)
	if err != nil {
		return 0, err
	}
	return b.offsetAt(ctx, q, millis, bound)
}

func (b *Broker) offsetAt(ctx context.Context, q mq.Queue, millis int64, bound mq.Bound) (int64, error) {
	off, err := b.reader.OffsetAt(ctx, q, millis, bound)
	switch {
	case errors.Is(err, mq.ErrNoQueue):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("offset of %v at %d ms: %w", q, millis, err)
	}
	return off, nil
}

// EarliestTime gives the store time of a queue's first message in
// milliseconds: ErrNoMessage where it is empty.
func (b *Broker) EarliestTime(ctx context.Context, topic string, queueID int32) (int64, error) {
	q, err := b.queueOf(topic, queueID)
	if err != nil {
		return 0, err
	}
	r, err := b.rangeOf(ctx, q)
	if err != nil {
		return 0, err
	}
	return b.storeTime(ctx, q, r.From)
}

// storeTime reads one message for its store time: ErrNoMessage where there is
// none at the offset.
func (b *Broker) storeTime(ctx context.Context, q mq.Queue, at int64) (int64, error) {
	batch, err := b.reader.Read(ctx, q, at, mq.Limit{Messages: 1})
	if err != nil && !errors.Is(err, mq.ErrNoQueue) && !errors.Is(err, mq.ErrTooLow) && !errors.Is(err, mq.ErrTooHigh) {
		return 0, fmt.Errorf("message %d of %v: %w", at, q, err)
	}
	for rec := range mq.Records(batch.Body) {
		return rec.StoreTimeMillis(), nil
	}
	return 0, fmt.Errorf("%w: at %d of %v", ErrNoMessage, at, q)
}
