package demo

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

const (
	// extraRate and extraMost bound what is sent while the consumer reads.
	extraRate = 1000
	extraMost = 20_000
	// hotEnough is how many messages must come from the hot log.
	hotEnough = 2000
	// stallAfter ends the stage when nothing comes any more.
	stallAfter = 45 * time.Second
)

func (r *run) archive(ctx context.Context) (string, error) {
	if err := r.api.Flush(ctx); err != nil {
		return "", err
	}
	s, err := r.api.ArchiveStatus(ctx)
	if err != nil {
		return "", err
	}
	for _, t := range s.Topics {
		if t.Topic != topic {
			continue
		}
		if t.Messages != int64(r.figures.Messages) || t.Pending != 0 {
			return "", fmt.Errorf("the archive has %d messages of %d, %d are pending", t.Messages, r.figures.Messages, t.Pending)
		}
		r.figures.HotBytes, r.figures.ArchivedBytes, r.figures.ArchiveFiles = t.RawBytes, t.Bytes, t.Files
		return fmt.Sprintf("%d messages in %d Parquet files, %.1f MiB hot became %.1f MiB (%.0f %%)", t.Messages, t.Files,
			mib(t.RawBytes), mib(t.Bytes), 100*float64(t.Bytes)/float64(t.RawBytes)), nil
	}
	return "", errors.New("the archive has no table for " + topic)
}

func (r *run) trim(ctx context.Context) (string, error) {
	done, err := r.api.Trim(ctx, 0)
	if err != nil {
		return "", err
	}
	d, err := r.api.Topic(ctx, topic)
	if err != nil {
		return "", err
	}
	var cold, all int64
	for _, q := range d.Detail {
		if q.Min != 0 || q.HotStart > q.Archived {
			return "", fmt.Errorf("queue %d: min %d, hot from %d, archived to %d", q.ID, q.Min, q.HotStart, q.Archived)
		}
		r.coldTo[q.ID] = q.HotStart
		cold, all = cold+q.HotStart, all+q.Max
	}
	r.figures.FreedBytes = done.FreedBytes
	if cold < all*9/10 {
		return "", fmt.Errorf("only %d of %d messages left the hot log", cold, all)
	}
	return fmt.Sprintf("freed %.1f MiB of the hot log; %d of %d messages are in the archive alone", mib(done.FreedBytes), cold, all), nil
}

// reading is the consumer's side of the stage.
type reading struct {
	*audit
	cold, hot atomic.Int64
	last      atomic.Int64 // time of the last message, in nanoseconds
	arrived   chan struct{}
}

func (r *run) subscribe(rd *reading) (rocketmq.PushConsumer, error) {
	c, err := rocketmq.NewPushConsumer(
		consumer.WithNameServer(primitive.NamesrvAddr{r.route}), consumer.WithGroupName(group),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset), consumer.WithConsumeMessageBatchMaxSize(32),
		consumer.WithPullBatchSize(512),
	)
	if err != nil {
		return nil, fmt.Errorf("make the consumer: %w", err)
	}
	err = c.Subscribe(topic, consumer.MessageSelector{}, func(_ context.Context, list ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range list {
			rd.note(m.GetProperty("number"), m.GetTags(), m.GetKeys(), m.GetProperty("region"), m.Body)
			if m.QueueOffset < r.coldTo[m.Queue.QueueId] {
				rd.cold.Add(1)
			} else {
				rd.hot.Add(1)
			}
		}
		rd.last.Store(time.Now().UnixNano())
		select {
		case rd.arrived <- struct{}{}:
		default:
		}
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", topic, err)
	}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("start the consumer: %w", err)
	}
	return c, nil
}

func (r *run) consume(ctx context.Context) (string, error) {
	p, err := r.producer()
	if err != nil {
		return "", err
	}
	defer p.Shutdown()
	rd := &reading{audit: newAudit(), arrived: make(chan struct{}, 1)}
	from := time.Now()
	rd.last.Store(from.UnixNano())
	c, err := r.subscribe(rd)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Shutdown() }()

	sendCtx, stopSending := context.WithCancel(ctx)
	defer stopSending()
	sent := make(chan error, 1)
	go func() { sent <- r.sendMeanwhile(sendCtx, p) }()
	enough := func() bool { return rd.hot.Load() >= hotEnough && int(rd.cold.Load()) >= r.coldTotal() }
	if err := rd.until(ctx, enough); err != nil {
		return "", fmt.Errorf("%w; %d cold and %d hot had come", err, rd.cold.Load(), rd.hot.Load())
	}
	coldFor := time.Since(from)
	stopSending()
	if err := <-sent; err != nil {
		return "", err
	}
	total := r.ledger.len()
	if err := rd.until(ctx, func() bool { return rd.distinct() >= total }); err != nil {
		return "", fmt.Errorf("%w; %d of %d had come", err, rd.distinct(), total)
	}
	v := rd.compare(r.ledger.numbers(func(int) bool { return true }))
	r.figures.SentWhile = total - r.figures.Messages
	r.figures.Cold, r.figures.Hot = int(rd.cold.Load()), int(rd.hot.Load())
	r.figures.ColdRate = float64(r.figures.Cold+r.figures.Hot) / coldFor.Seconds()
	r.figures.Lost, r.figures.Doubled = v.lost, v.doubled
	if err := v.err("a push consumer's reading"); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d cold, then %d hot, by an ordinary push consumer at %.0f/s while %d were sent\nnone lost, none doubled, every digest right",
		r.figures.Cold, r.figures.Hot, r.figures.ColdRate, r.figures.SentWhile), nil
}

func (r *run) coldTotal() int {
	n := int64(0)
	for _, to := range r.coldTo {
		n += to
	}
	return int(n)
}

// until waits for a condition that messages bring about.
func (rd *reading) until(ctx context.Context, done func() bool) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-rd.arrived:
		case <-tick.C:
			if time.Since(time.Unix(0, rd.last.Load())) > stallAfter {
				return fmt.Errorf("no message for %s", stallAfter)
			}
		}
	}
	return nil
}

// sendMeanwhile sends at a steady rate until ctx ends.
func (r *run) sendMeanwhile(ctx context.Context, p rocketmq.Producer) error {
	tick := time.NewTicker(time.Second / extraRate * 10)
	defer tick.Stop()
	for n := r.o.Messages; n < r.o.Messages+extraMost; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for range 10 {
			// A send that was begun is finished: its message counts.
			if err := r.sendOne(context.WithoutCancel(ctx), p, n); err != nil {
				return err
			}
			n++
		}
	}
	return nil
}
