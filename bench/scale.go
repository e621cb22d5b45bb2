package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"varve/e2e/server"
	"varve/e2e/wire"
)

// The size that a broker is expected to bear, whatever -scale says.
const (
	manyTopics  = 10_000
	manyQueues  = 10 // of each
	manyEach    = 3  // messages in each queue
	manyAtOnce  = 250
	manyRoutes  = 5_000
	manyBeats   = 100
	idleSettle  = 10.0
	idleTime    = 30.0
	scaleStart  = "10,000 topics: start"
	scaleIdle   = "10,000 topics: idle"
	scaleCalls  = "10,000 topics: calls"
	scaleSends  = "10,000 topics: sends to 100,000 queues"
	scaleCommit = "10,000 topics: connector"
	scaleMemory = "10,000 topics: memory"

	commitsMetric = "varve_connector_commits_total"
)

func scaleBars() []bar {
	v := func(name, metric string) side { return side{name, varve, metric} }
	return []bar{
		{what: "10,000 topics and 100,000 queues: start after a kill to the first send", over: v(scaleStart, "ms after a kill"), atMost: 5000, unit: " ms"},
		{what: "10,000 topics and 100,000 queues: start after a stop to the first send", over: v(scaleStart, "ms after a stop"), atMost: 5000, unit: " ms"},
		{what: "10,000 topics and 100,000 queues: most resident memory", over: v(scaleMemory, "peak MiB, filling"), atMost: 1024, unit: " MiB"},
		{what: "10,000 topics and 100,000 queues: CPU of an idle server, all roles", over: v(scaleIdle, "% of a core"), atMost: 1, decimals: 2, unit: " %"},
		{what: "10,000 topics: p99 of a route request", over: v(scaleCalls, "route p99 ms"), atMost: 1, decimals: 2, unit: " ms"},
		{what: "10,000 topics: p99 of a heartbeat with 1,000 subscriptions", over: v(scaleCalls, "heartbeat p99 ms"), atMost: 20, decimals: 1, unit: " ms"},
		{what: "10,000 topics: commits a minute of trickling queues", over: v(scaleCommit, "commits a minute"), atMost: 1000, unit: ""},
	}
}

func manyTopic(i int) string { return fmt.Sprintf("bench_many_%05d", i) }

// scaleSession: a server of all roles with many topics and queues, some
// messages in each: its starts, its memory, what it takes while nobody asks
// for anything, and what it answers how fast. Only Varve is held to this.
func scaleSession() session {
	parts := []string{"scale"}
	return session{cases: []benchCase{
		{name: scaleSends, parts: parts, only: varve, once: true, run: fillMany},
		{name: scaleStart + " after a kill", parts: parts, only: varve, once: true, run: func(ctx context.Context, s *subject) error {
			return errors.Join(s.Kill(), s.timedStart(ctx, "ms after a kill"))
		}},
		{name: scaleIdle, parts: parts, only: varve, once: true, run: idleCase},
		{name: scaleCalls, parts: parts, only: varve, once: true, run: manyCalls},
		{name: scaleStart + " after a stop", parts: parts, only: varve, once: true, run: func(ctx context.Context, s *subject) error {
			return errors.Join(s.Stop(), s.timedStart(ctx, "ms after a stop"), s.peak("peak MiB, started"))
		}},
	}}
}

// timedStart starts the server over what there is, to its first send.
func (s *subject) timedStart(ctx context.Context, metric string) error {
	first := make(chan time.Time, 1)
	starting, cancel := context.WithTimeout(ctx, firstSendLimit)
	defer cancel()
	go s.firstSend(starting, first)
	if err := s.start(ctx, server.Options{}); err != nil {
		return err
	}
	select {
	case t := <-first:
		s.set(scaleStart, metric, float64(t.Sub(s.Spawned))/1e6)
		return nil
	case <-starting.Done():
		return fmt.Errorf("no send was taken within %s of the start", firstSendLimit)
	}
}

// fillMany makes the topics and sends a few messages to each queue.
func fillMany(ctx context.Context, s *subject) error {
	begun := time.Now()
	if err := s.makeTopics(manyTopics, manyQueues, manyTopic); err != nil {
		return err
	}
	s.set(scaleSends, "topics made/s", manyTopics/time.Since(begun).Seconds())
	var serial atomic.Int64
	l := s.load(shape{8, 32, 0})
	l.Serial = &serial
	l.Messages = manyTopics * manyQueues * manyEach
	l.Place = func(n int64) (string, int) { return manyTopic(int(n % manyTopics)), int(n / manyTopics % manyQueues) }
	stop := s.startProfile(scaleSends, 3*time.Second)
	m, err := s.meter()
	if err != nil {
		return err
	}
	sent, err := l.Run(ctx)
	if err != nil {
		return err
	}
	if sent.Messages != l.Messages {
		return fmt.Errorf("%d of %d were taken: %s", sent.Messages, l.Messages, sent.Refusal)
	}
	stop()
	if err := s.done(m, scaleSends, sent.Messages, sent.Elapsed); err != nil {
		return err
	}
	s.latency(scaleSends, &sent.Latency)
	return s.peak("peak MiB, filling")
}

// makeTopics makes topics as mqadmin does, many with a request.
func (s *subject) makeTopics(n, queues int, name func(int) string) error {
	c, err := wire.Dial(s.Addrs.Broker)
	if err != nil {
		return err
	}
	defer c.Close()
	type topic struct {
		Name  string `json:"topicName"`
		Read  int    `json:"readQueueNums"`
		Write int    `json:"writeQueueNums"`
		Perm  int    `json:"perm"`
		Kind  string `json:"topicFilterType"`
	}
	for at := 0; at < n; at += manyAtOnce {
		var list []topic
		for i := at; i < min(at+manyAtOnce, n); i++ {
			list = append(list, topic{name(i), queues, queues, 6, "SINGLE_TAG"})
		}
		body, err := json.Marshal(map[string]any{"topicConfigList": list})
		if err != nil {
			return fmt.Errorf("encoding topics: %w", err)
		}
		a, err := c.Call(wire.CodeCreateTopics, body)
		if err != nil {
			return err
		}
		if a.Code != 0 {
			return fmt.Errorf("making topics: %q", a.Header)
		}
	}
	return nil
}

// makeGroup makes a consumer group as mqadmin does.
func (s *subject) makeGroup(name string) error {
	c, err := wire.Dial(s.Addrs.Broker)
	if err != nil {
		return err
	}
	defer c.Close()
	body := fmt.Sprintf(`{"groupName":%q,"consumeEnable":true,"consumeBroadcastEnable":true,"retryQueueNums":1,"retryMaxTimes":16}`, name)
	a, err := c.Call(wire.CodeCreateGroup, []byte(body))
	if err == nil && a.Code != 0 {
		err = fmt.Errorf("making group %s: %q", name, a.Header)
	}
	return err
}

// idleCase measures a server that nobody asks for anything.
func idleCase(ctx context.Context, s *subject) error {
	if err := pause(ctx, s.seconds(idleSettle)); err != nil {
		return err
	}
	m, err := s.Memory()
	if err != nil {
		return err
	}
	s.set(scaleMemory, "resident MiB", mib(m.Resident))
	s.set(scaleMemory, "anonymous MiB", mib(m.Anonymous))
	before, err := s.Metric(ctx, commitsMetric)
	if err != nil {
		return err
	}
	wait := s.seconds(idleTime)
	busy, err := s.idle(ctx, scaleIdle, wait)
	if err != nil {
		return err
	}
	s.set(scaleIdle, "% of a core", busy)
	after, err := s.Metric(ctx, commitsMetric)
	s.set(scaleCommit, "commits a minute", (after-before)*60/wait.Seconds())
	return err
}

// idle is what the server takes for a time of one core, in percent.
func (s *subject) idle(ctx context.Context, name string, wait time.Duration) (float64, error) {
	stop := s.startProfile(name, wait-time.Second)
	before, err := s.CPU()
	if err != nil {
		return 0, err
	}
	if err := pause(ctx, wait); err != nil {
		return 0, err
	}
	after, err := s.CPU()
	stop()
	return 100 * float64(after-before) / float64(wait), err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// manyCalls times route requests of all topics, and heartbeats of a client that
// subscribes to many.
func manyCalls(_ context.Context, s *subject) error {
	err := s.timeCalls(scaleCalls, "route", s.Addrs.Route, manyRoutes, func(c *wire.Conn, i int) (wire.Answer, error) {
		return c.Call(wire.CodeRoute, nil, "topic", manyTopic(i*7919%manyTopics))
	})
	if err != nil {
		return err
	}
	body, err := manySubscriptions("bench_many_client", "bench_many_group", manyTopics/10)
	if err != nil {
		return err
	}
	return s.timeCalls(scaleCalls, "heartbeat", s.Addrs.Broker, manyBeats, func(c *wire.Conn, _ int) (wire.Answer, error) {
		return c.Call(wire.CodeHeartbeat, body)
	})
}

func (s *subject) timeCalls(key, what, addr string, n int, call func(c *wire.Conn, i int) (wire.Answer, error)) error {
	c, err := wire.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	var h wire.Histogram
	for i := range n {
		begun := time.Now()
		a, err := call(c, i)
		if err != nil {
			return err
		}
		if a.Code != 0 {
			return fmt.Errorf("%s: %q", what, a.Header)
		}
		h.Add(time.Since(begun))
	}
	s.set(key, what+" p50 ms", float64(h.Quantile(0.5))/1e6)
	s.set(key, what+" p99 ms", float64(h.Quantile(0.99))/1e6)
	return nil
}

// manySubscriptions is a heartbeat's body with one group that subscribes to the
// first n topics.
func manySubscriptions(client, group string, n int) ([]byte, error) {
	type subscription struct {
		Topic   string `json:"topic"`
		Sub     string `json:"subString"`
		Version int64  `json:"subVersion"`
		Type    string `json:"expressionType"`
	}
	subs := make([]subscription, 0, n)
	for i := range n {
		subs = append(subs, subscription{manyTopic(i), "*", 1, "TAG"})
	}
	body, err := json.Marshal(map[string]any{
		"clientID": client,
		"consumerDataSet": []any{map[string]any{
			"groupName": group, "consumeType": "CONSUME_PASSIVELY", "messageModel": "CLUSTERING",
			"consumeFromWhere": "CONSUME_FROM_LAST_OFFSET", "subscriptionDataSet": subs,
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding a heartbeat: %w", err)
	}
	return body, nil
}

// peak notes the most memory that the server has held in this life.
func (s *subject) peak(metric string) error {
	m, err := s.Memory()
	if err != nil {
		return err
	}
	s.set(scaleMemory, metric, mib(m.Peak))
	return nil
}
