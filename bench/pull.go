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

	"varve/e2e/server"
	"varve/e2e/wire"
)

const (
	million   = 1_000_000
	pullBatch = 32 // what the clients ask for
	pushLimit = 3 * time.Minute
)

// fill sends the messages that the reading cases read.
func (b *bench) fill(ctx context.Context, n int64) error {
	var serial atomic.Int64
	for got := int64(0); got < n; {
		l := b.load(shape{8, 32, 0}, &serial)
		l.Messages = n - got
		sent, err := l.Run(ctx)
		if err != nil {
			return fmt.Errorf("filling: %w", err)
		}
		if sent.Messages == 0 {
			return fmt.Errorf("filling: nothing is taken: %s", sent.Refusal)
		}
		got += sent.Messages
	}
	return nil
}

// pullSession: catching up on a million messages by pulls and by the push consumer.
func (b *bench) pullSession(ctx context.Context) error {
	s, err := b.start(ctx, server.Options{HotOnly: true})
	if err != nil {
		return err
	}
	n := b.count(million)
	err = b.fill(ctx, n)
	if err == nil && b.wants("pull") {
		err = b.pullCase(ctx, s, "pull catch-up", n, wire.Catchup{Addr: server.BrokerAddr})
	}
	if err == nil && b.wants("push") {
		err = b.pushCase(ctx, s, n)
	}
	return errors.Join(err, s.Stop())
}

// pullCase reads all twice and counts the second time; of the archive the
// first time too, when no cache holds anything yet.
func (b *bench) pullCase(ctx context.Context, s *server.Server, key string, n int64, c wire.Catchup) error {
	c.Topic, c.Queues, c.PullBatch, c.Messages = benchTopic, queues, pullBatch, n
	pass := func(name string) error {
		m, err := b.meter(s)
		if err != nil {
			return err
		}
		got, err := c.Run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if name == "" {
			return nil
		}
		if err := b.done(m, name, got.Messages, got.Elapsed); err != nil {
			return err
		}
		if c.History != "" {
			b.results.set(name, b.name, "% cold", 100*float64(got.Cold)/float64(got.Messages))
		}
		return nil
	}
	first := ""
	if c.History != "" {
		first = key + ", nothing cached"
	}
	if err := pass(first); err != nil {
		return err
	}
	stop := b.startProfile(s, key, 3*time.Second)
	defer stop()
	return pass(key)
}

// pushCase: a new group of one Go push consumer from the first message on.
func (b *bench) pushCase(ctx context.Context, s *server.Server, n int64) error {
	c, err := rocketmq.NewPushConsumer(
		consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{server.RouteAddr})),
		consumer.WithGroupName("bench_push"), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
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
	m, err := b.meter(s)
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
	if err := b.done(m, "Go push consumer", n, elapsed); err != nil {
		return err
	}
	if over := got.Load() - n; over > 0 {
		b.results.set("Go push consumer", b.name, "doubled", float64(over))
	}
	return c.Shutdown()
}
