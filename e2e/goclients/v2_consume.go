package main

import (
	"context"
	"fmt"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func (l *v2) consumerOptions(at place, group string) []consumer.Option {
	o := []consumer.Option{
		consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{at.Route})),
		consumer.WithGroupName(group), consumer.WithInstance(l.instance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	}
	if at.User != "" {
		o = append(o, consumer.WithCredentials(primitive.Credentials{AccessKey: at.User, SecretKey: at.Secret}))
	}
	return o
}

func selectorV2(s subscription) consumer.MessageSelector {
	switch {
	case s.sql != "":
		return consumer.MessageSelector{Type: consumer.SQL92, Expression: s.sql}
	case s.tags != "":
		return consumer.MessageSelector{Type: consumer.TAG, Expression: s.tags}
	}
	return consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}
}

type v2Push struct{ c rocketmq.PushConsumer }

func (p v2Push) close() error { return p.c.Shutdown() }

func (l *v2) push(at place, s subscription, take func(*message) bool) (closer, error) {
	o := l.consumerOptions(at, s.group)
	o = append(o, consumer.WithConsumerOrder(s.orderly), consumer.WithConsumeMessageBatchMaxSize(1))
	if s.broadcast {
		o = append(o, consumer.WithConsumerModel(consumer.BroadCasting))
	}
	if s.attempts > 0 {
		o = append(o, consumer.WithMaxReconsumeTimes(int32(s.attempts-1)))
	}
	c, err := rocketmq.NewPushConsumer(o...)
	if err != nil {
		return nil, err
	}
	err = c.Subscribe(s.topic, selectorV2(s), func(ctx context.Context, ms ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range ms {
			if take(incoming(m)) {
				continue
			}
			if s.orderly {
				return consumer.SuspendCurrentQueueAMoment, nil
			}
			if later, has := primitive.GetConcurrentlyCtx(ctx); has {
				later.DelayLevelWhenNextConsume = 1
			}
			return consumer.ConsumeRetryLater, nil
		}
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		return nil, err
	}
	return v2Push{c}, c.Start()
}

func (l *v2) simple(place, subscription) (simple, error) { return nil, lacks("simple consumer") }

type v2Puller struct {
	c      rocketmq.PullConsumer
	broker string
}

func (p v2Puller) close() error { return p.c.Shutdown() }

func (l *v2) puller(at place, group, topic string) (puller, error) {
	c, err := rocketmq.NewPullConsumer(l.consumerOptions(at, group)...)
	if err != nil {
		return nil, err
	}
	if err := c.Subscribe(topic, selectorV2(subscription{})); err != nil {
		return nil, err
	}
	return v2Puller{c, at.Broker}, c.Start()
}

func (p v2Puller) pull(ctx context.Context, topic string, queue int, offset int64, most int) ([]*message, error) {
	r, err := p.c.PullFrom(ctx, &primitive.MessageQueue{Topic: topic, BrokerName: p.broker, QueueId: queue}, offset, most)
	if err != nil {
		return nil, err
	}
	switch r.Status {
	case primitive.PullFound:
	case primitive.PullNoNewMsg, primitive.PullNoMsgMatched:
		return nil, nil
	default:
		return nil, fmt.Errorf("pull status %d at %s %d/%d", r.Status, topic, queue, offset)
	}
	var out []*message
	for _, m := range r.GetMessageExts() {
		out = append(out, incoming(m))
	}
	return out, nil
}
