package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"varve/e2e/server"
	"varve/e2e/wire"
)

const (
	timedTopic  = "bench_timed"
	timedInsert = "timed sends, due tomorrow, 8×32"
	timedLate   = "timed delivery beside a million"
	timedRate   = 2000 // a second, all due on whole seconds
	timedFor    = 10.0 // seconds of such sends
	timedAhead  = 5 * time.Second
	timedSettle = 6.0
	timedLimit  = 2 * time.Minute
)

// timerSession: timed sends as fast as they are taken, then how late messages
// come that are due on a second, beside a million that are due much later.
func timerSession() session {
	return session{options: server.Options{HotOnly: true}, cases: []benchCase{
		{name: "warm-up", run: warm},
		{name: timedInsert, parts: []string{"timer"}, run: timedInserts},
		{name: "holding a million back", run: holdBack},
		{name: timedLate, parts: []string{"timer"}, once: true, run: lateness},
	}}
}

// timedLoad are sends that are due tomorrow.
func (s *subject) timedLoad() wire.Load {
	l := s.load(shape{8, 32, 0})
	l.Due = func(now time.Time, n int64) int64 { return now.Add(24*time.Hour).UnixMilli() + n%3_600_000 }
	return l
}

func timedInserts(ctx context.Context, s *subject) error {
	n, err := s.timeSends(ctx, timedInsert, s.timedLoad())
	s.held += n
	return err
}

// holdBack makes it a million of them.
func holdBack(ctx context.Context, s *subject) error {
	l := s.timedLoad()
	for want := s.count(million); s.held < want; {
		l.Messages = want - s.held
		sent, err := l.Run(ctx)
		if err != nil {
			return err
		}
		s.held += sent.Messages
	}
	time.Sleep(s.seconds(timedSettle))
	m, err := s.Memory()
	if err != nil {
		return err
	}
	s.set("timer memory", "resident MiB", mib(m.Resident))
	s.set("timer memory", "held back", float64(s.held))
	return nil
}

// lateness sends at a pace what is due on a whole second some seconds later,
// and compares those times with the ones at which the broker stored the
// deliveries.
func lateness(ctx context.Context, s *subject) error {
	l := s.load(shape{2, 32, 0})
	l.Topic, l.PerSecond, l.Limit = timedTopic, timedRate, s.seconds(timedFor)
	l.Due = func(now time.Time, _ int64) int64 { return now.Add(timedAhead).Truncate(time.Second).UnixMilli() }
	m, err := s.meter()
	if err != nil {
		return err
	}
	sent, err := l.Run(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", timedLate, err)
	}
	if err := s.awaitCount(ctx, timedTopic, sent.Messages); err != nil {
		return err
	}
	if err := s.done(m, timedLate, sent.Messages, time.Since(m.begun)); err != nil {
		return err
	}
	var late wire.Histogram
	var early int64
	var worst time.Duration
	c := wire.Catchup{Addr: s.Addrs.Broker, Topic: timedTopic, Queues: queues, PullBatch: pullBatch, Messages: sent.Messages * queues}
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
	set := func(metric string, v float64) { s.set(timedLate, metric, v) }
	set("p50 ms late", float64(late.Quantile(0.5))/1e6)
	set("p99 ms late", float64(late.Quantile(0.99))/1e6)
	set("worst ms late", float64(worst)/1e6)
	set("before its second", float64(early))
	set("doubled", float64(late.N()-sent.Messages))
	return nil
}

// awaitCount waits until a topic's queues hold so many messages.
func (s *subject) awaitCount(ctx context.Context, topic string, n int64) error {
	c, err := wire.Dial(s.Addrs.Broker)
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
