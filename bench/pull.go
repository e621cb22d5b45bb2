package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"varve/e2e/wire"
)

const (
	million   = 1_000_000
	pullBatch = 32 // what the clients ask for
	pushLimit = 3 * time.Minute
)

// fill sends the messages that the reading cases read.
func fill(ctx context.Context, s *subject) error {
	n := s.count(million)
	for got := int64(0); got < n; {
		l := s.load(shape{8, 32, 0})
		l.Messages = n - got
		sent, err := l.Run(ctx)
		if err != nil {
			return err
		}
		if sent.Messages == 0 {
			return fmt.Errorf("nothing is taken: %s", sent.Refusal)
		}
		got += sent.Messages
	}
	return nil
}

// catchUp: all messages by pulls, read twice, of which the second time counts.
func catchUp(ctx context.Context, s *subject) error {
	const name = "pull catch-up"
	if err := s.pull(ctx, false); err != nil {
		return err
	}
	stop := s.startProfile(name, 3*time.Second)
	defer stop()
	return s.pull(ctx, false, name)
}

// pull reads all once; the names are the cases that it counts for.
func (s *subject) pull(ctx context.Context, cold bool, names ...string) error {
	c := wire.Catchup{Addr: s.Addrs.Broker, Topic: benchTopic, Queues: queues, PullBatch: pullBatch, Messages: s.count(million)}
	if cold {
		c.History = s.Addrs.History
	}
	m, err := s.meter()
	if err != nil {
		return err
	}
	got, err := c.Run(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.done(m, name, got.Messages, got.Elapsed); err != nil {
			return err
		}
		if cold {
			s.set(name, "% cold", 100*float64(got.Cold)/float64(got.Messages))
		}
	}
	return nil
}

// pushCase: a new group of one Go push consumer from the first message on.
func pushCase(ctx context.Context, s *subject) error {
	n := s.count(million)
	group := fmt.Sprintf("bench_push_%d", s.round)
	c, err := rocketmq.NewPushConsumer(
		consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{s.Addrs.Route})),
		consumer.WithGroupName(group), consumer.WithInstance(s.name+"_"+group), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
		consumer.WithConsumeMessageBatchMaxSize(pullBatch))
	if err != nil {
		return fmt.Errorf("making the consumer: %w", err)
	}
	var got atomic.Int64
	var start atomic.Int64
	done := make(chan struct{})
	err = c.Subscribe(benchTopic, consumer.MessageSelector{}, func(_ context.Context, ms ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		start.CompareAndSwap(0, time.Now().UnixNano())
		if now := got.Add(int64(len(ms))); now >= n && now-int64(len(ms)) < n {
			close(done)
		}
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	m, err := s.meter()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("starting the consumer: %w", err)
	}
	select {
	case <-done:
	case <-ctx.Done():
		return errors.Join(ctx.Err(), c.Shutdown())
	case <-time.After(pushLimit):
		return errors.Join(fmt.Errorf("push consumer got %d of %d messages within %v", got.Load(), n, pushLimit), c.Shutdown())
	}
	// From the first message on: what precedes it is the client's own rebalance clock.
	elapsed := time.Since(time.Unix(0, start.Load()))
	if err := s.done(m, "Go push consumer", n, elapsed); err != nil {
		return err
	}
	if over := got.Load() - n; over > 0 {
		s.set("Go push consumer", "doubled", float64(over))
	}
	return c.Shutdown()
}
