package broker

import (
	"context"
	"errors"
	"fmt"

	"varve/broker/pop"
)

// PutGroup creates or replaces a consumer group's settings: ErrBadRequest
// where they can't be.
func (b *Broker) PutGroup(g Group) error {
	if b.closed.Load() {
		return ErrClosed
	}
	if err := g.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	if old, ok := b.groups.Get(g.Name); ok && g.Forbidden == nil {
		g.Forbidden = old.Forbidden // settings of Forbid's, not of this
	}
	if _, err := b.groups.Put(g); err != nil {
		return storeError(err)
	}
	b.logger.Info("group set", "group", g.Name, "consume", g.ConsumeEnabled, "retries", g.RetryMaxTimes)
	return nil
}

// DeleteGroup removes a consumer group's settings, and its progress where
// asked to. An absent group is ErrNoGroup.
func (b *Broker) DeleteGroup(name string, cleanOffsets bool) error {
	if b.closed.Load() {
		return ErrClosed
	}
	had, err := b.groups.Delete(name)
	if err != nil {
		return storeError(err)
	}
	if err := b.forgetPops(func(k pop.Key) bool { return k.Group == name }); err != nil {
		return fmt.Errorf("forget what group %q has in flight: %w", name, storeError(err))
	}
	if cleanOffsets {
		if err := b.offsets.DeleteGroup(name); err != nil {
			return fmt.Errorf("delete progress of group %q: %w", name, storeError(err))
		}
	}
	if !had {
		return fmt.Errorf("%w: %q", ErrNoGroup, name)
	}
	b.traffic.Forget(func(k TrafficKey) bool { return k.Group == name })
	b.logger.Info("group deleted", "group", name, "offsets", cleanOffsets)
	return nil
}

// Group finds a consumer group's settings; they must not be changed.
func (b *Broker) Group(name string) (*Group, bool) { return b.groups.Get(name) }

// Groups gives every consumer group's settings in name order; they must not be
// changed.
func (b *Broker) Groups() []*Group { return b.groups.All() }

// ConsumeStats gives a group's progress, queue by queue, in one topic or, where
// it is empty, in all it consumes. It doesn't depend on the archive: where only
// that has the last message consumed and doesn't answer, its time is 0.
func (b *Broker) ConsumeStats(ctx context.Context, group, topic string) ([]ConsumeStat, error) {
	topics := []string{topic}
	if topic == "" {
		topics = b.TopicsOfGroup(group)
	} else if _, ok := b.topics.Get(topic); !ok {
		return nil, fmt.Errorf("%w: %q", ErrNoTopic, topic)
	}
	var out []ConsumeStat
	for _, name := range topics {
		t, ok := b.topics.Get(name)
		if !ok {
			continue // deleted since the group last consumed it
		}
		for id := range t.ReadQueues {
			s, err := b.consumeStat(ctx, group, t.Name, id)
			if err != nil {
				return nil, err
			}
			out = append(out, s)
		}
	}
	return out, nil
}

func (b *Broker) consumeStat(ctx context.Context, group, topic string, id int32) (ConsumeStat, error) {
	q := b.queue(topic, id)
	r, known, err := b.hotRange(ctx, q)
	if err != nil {
		return ConsumeStat{}, err
	}
	if !known { // never in this log, or not since the archive has it
		if r, err = b.rangeOf(ctx, q); err != nil {
			r.To = b.log.Archived(q)
		}
	}
	off, _ := b.offsets.Get(group, topic, id)
	s := ConsumeStat{Queue: q, BrokerOffset: r.To, ConsumerOffset: off, PullOffset: b.offsets.Pulled(group, topic, id)}
	if off > 0 {
		s.LastUpdateMillis, err = b.storeTime(ctx, q, off-1)
		if err != nil && !errors.Is(err, ErrNoMessage) && known && off > r.From {
			return ConsumeStat{}, err
		}
	}
	return s, nil
}
