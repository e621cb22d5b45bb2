package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"varve/e2e/server"
	"varve/e2e/wire"
)

const (
	timedTopic  = "bench_timed"
	timedInsert = "timed sends, due tomorrow, 8×32"
	timedLate   = "timed delivery beside a million"
	timedRate   = 2000 // a second, all due on whole seconds
	timedFor    = 15.0 // seconds of such sends
	timedAhead  = 5 * time.Second
	timedSettle = 10.0
	timedLimit  = 2 * time.Minute
)

// timerSession: timed sends as fast as they are taken, then how late messages
// come that are due on a second, beside a million that are due much later.
func (b *bench) timerSession(ctx context.Context) error {
	s, err := b.start(ctx, server.Options{HotOnly: true})
	if err != nil {
		return err
	}
	return errors.Join(b.timerCases(ctx, s), s.Stop())
}

func (b *bench) timerCases(ctx context.Context, s *server.Server) error {
	var serial atomic.Int64
	total := int64(0)
	if err := b.warm(ctx, &serial, &total); err != nil {
		return err
	}
	l := b.load(shape{8, 32, 0}, &serial)
	l.Due = func(now time.Time, n int64) int64 { return now.Add(24*time.Hour).UnixMilli() + n%3_600_000 }
	held, err := b.timedInserts(ctx, s, l)
	if err != nil {
		return err
	}
	for want := b.count(million); held < want; {
		l.Messages = want - held
		sent, err := l.Run(ctx)
		if err != nil {
			return fmt.Errorf("filling the timer: %w", err)
		}
		held += sent.Messages
	}
	time.Sleep(b.seconds(timedSettle))
	m, err := s.Memory()
	if err != nil {
		return err
	}
	b.results.set("timer memory", b.name, "resident MiB", mib(m.Resident))
	b.results.set("timer memory", b.name, "held back", float64(held))
	return b.lateness(ctx, s)
}

func (b *bench) timedInserts(ctx context.Context, s *server.Server, l wire.Load) (int64, error) {
	l.Limit = b.seconds(warmTime)
	first, err := l.Run(ctx)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", timedInsert, err)
	}
	l.Limit = b.seconds(caseTime)
	stop := b.startProfile(s, timedInsert, l.Limit)
	m, err := b.meter(s)
	if err != nil {
		return 0, err
	}
	sent, err := l.Run(ctx)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", timedInsert, err)
	}
	stop()
	b.latency(timedInsert, &sent.Latency)
	if sent.Refused > 0 {
		b.results.set(timedInsert, b.name, "refused", float64(sent.Refused))
		fmt.Printf("   %d requests refused, the last with %s\n", sent.Refused, sent.Refusal)
	}
	return first.Messages + sent.Messages, b.done(m, timedInsert, sent.Messages, sent.Elapsed)
}

// lateness sends at a pace what is due on a whole second some seconds later,
// and compares those times with the ones at which the broker stored the
// deliveries.
func (b *bench) lateness(ctx context.Context, s *server.Server) error {
	var serial atomic.Int64
	l := b.load(shape{2, 32, 0}, &serial)
	l.Topic, l.PerSecond, l.Limit = timedTopic, timedRate, b.seconds(timedFor)
	l.Due = func(now time.Time, _ int64) int64 { return now.Add(timedAhead).Truncate(time.Second).UnixMilli() }
	m, err := b.meter(s)
	if err != nil {
		return err
	}
	sent, err := l.Run(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", timedLate, err)
	}
	if err := awaitCount(ctx, timedTopic, sent.Messages); err != nil {
		return err
	}
	if err := b.done(m, timedLate, sent.Messages, time.Since(m.begun)); err != nil {
		return err
	}
	var late wire.Histogram
	var early int64
	var worst time.Duration
	c := wire.Catchup{Addr: server.BrokerAddr, Topic: timedTopic, Queues: queues, PullBatch: pullBatch, Messages: sent.Messages * queues}
	c.Each = func(_ int, rec []byte) error {
		d, err := lateBy(rec)
		if err != nil {
			return err
		}
		if d < 0 {
			early++
		}
		worst = max(worst, d)
		late.Add(d)
		return nil
	}
	if _, err := c.Run(ctx); err != nil {
		return fmt.Errorf("reading what was delivered: %w", err)
	}
	set := func(metric string, v float64) { b.results.set(timedLate, b.name, metric, v) }
	set("p50 ms late", float64(late.Quantile(0.5))/1e6)
	set("p99 ms late", float64(late.Quantile(0.99))/1e6)
	set("worst ms late", float64(worst)/1e6)
	set("before its second", float64(early))
	set("doubled", float64(late.N()-sent.Messages))
	return nil
}

// awaitCount waits until a topic's queues hold so many messages.
func awaitCount(ctx context.Context, topic string, n int64) error {
	c, err := wire.Dial(server.BrokerAddr)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, timedLimit)
	defer cancel()
	for {
		var sum int64
		for q := range queues {
			first, next, err := c.Bounds(topic, q)
			if err != nil {
				return err
			}
			sum += next - first
		}
		if sum >= n {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d timed messages were delivered: %w", sum, n, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Where a stored record with IPv4 hosts has its store time.
const posStoreTime = 56

// lateBy is how long after its time a delivered record was stored.
func lateBy(rec []byte) (time.Duration, error) {
	name := []byte("TIMER_DELIVER_MS\x01")
	i := bytes.Index(rec, name)
	if i < 0 {
		return 0, errors.New("a delivered message doesn't say when it was due")
	}
	v := rec[i+len(name):]
	if end := bytes.IndexByte(v, 0x02); end >= 0 {
		v = v[:end]
	}
	due, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("time of a delivered message: %w", err)
	}
	return time.Duration(int64(binary.BigEndian.Uint64(rec[posStoreTime:]))-due) * time.Millisecond, nil
}
