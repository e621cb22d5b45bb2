package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"varve/e2e/wire"
)

const (
	heldConns      = 10_000
	heldQueues     = 10 // of a topic, and members of its group
	heldDialers    = 32
	heldBuffer     = 4 << 10
	heldSuspend    = 15 * time.Second
	heldBeat       = 20 * time.Second
	heldLimit      = 30 * time.Second
	heldRate       = 5_000 // paced sends a second
	heldTime       = 5.0
	heldIdle       = 12.0
	heldCase       = "10,000 connections"
	heldSends      = "10,000 connections: paced sends beside them"
	heldSendsAlone = "10,000 connections: paced sends before them"

	heldPulls = "varve_broker_held_pulls"
)

func connectionBars() []bar {
	v := func(name, metric string) side { return side{name, varve, metric} }
	return []bar{
		{what: "clients held that heartbeat, each with an open pull", over: v(heldCase, "pulls held"), atLeast: heldConns},
		{what: "10,000 connections: memory of one", over: v(heldCase, "KiB each"), atMost: 48, unit: " KiB"},
		{what: "10,000 connections: each gets a message of its own within", over: v(heldCase, "ms until all had theirs"), atMost: 2000, unit: " ms"},
		{what: "10,000 connections: p99 of sends beside them over p99 before", over: v(heldSends, "p99 ms"), under: v(heldSendsAlone, "p99 ms"), atMost: 1.5, decimals: 2, unit: "×"},
	}
}

// connectionSession: clients that heartbeat and hold a pull each. Only Varve is
// held to this.
func connectionSession() session {
	return session{cases: []benchCase{
		{name: heldCase, parts: []string{"connections"}, only: varve, once: true, run: holdConnections},
	}}
}

func heldTopic(i int) string { return fmt.Sprintf("bench_held_%04d", i) }

func holdConnections(ctx context.Context, s *subject) error {
	if err := s.makeTopics(heldConns/heldQueues, heldQueues, heldTopic); err != nil {
		return err
	}
	if err := s.pacedSends(ctx, heldSendsAlone); err != nil {
		return err
	}
	before, err := s.Memory()
	if err != nil {
		return err
	}
	h := &holders{addr: s.Addrs.Broker, got: make(chan struct{}, heldConns)}
	defer h.close()
	begun := time.Now()
	if err := h.open(ctx); err != nil {
		return err
	}
	s.set(heldCase, "s to connect", time.Since(begun).Seconds())
	if err := s.awaitHeld(ctx, h); err != nil {
		return err
	}
	after, err := s.Memory()
	if err != nil {
		return err
	}
	s.set(heldCase, "KiB each", float64(after.Resident-before.Resident)/1024/heldConns)
	s.set(heldCase, "resident MiB", mib(after.Resident))
	busy, err := s.idle(ctx, heldCase, s.seconds(heldIdle))
	if err != nil {
		return err
	}
	s.set(heldCase, "% of a core", busy)
	if err := s.pacedSends(ctx, heldSends); err != nil {
		return err
	}
	if err := s.sendToAll(ctx, h); err != nil {
		return err
	}
	return h.failure()
}

func (s *subject) pacedSends(ctx context.Context, key string) error {
	l := s.load(shape{8, 32, 0})
	l.PerSecond, l.Limit = heldRate, s.seconds(heldTime)
	m, err := s.meter()
	if err != nil {
		return err
	}
	sent, err := l.Run(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	s.latency(key, &sent.Latency)
	return s.done(m, key, sent.Messages, sent.Elapsed)
}

// awaitHeld waits until every pull is held; some are always on their way.
func (s *subject) awaitHeld(ctx context.Context, h *holders) error {
	ctx, cancel := context.WithTimeout(ctx, heldLimit)
	defer cancel()
	for {
		n, err := s.Metric(ctx, heldPulls)
		if err == nil {
			err = h.failure()
		}
		if err != nil {
			return err
		}
		if n >= heldConns {
			s.set(heldCase, "pulls held", n)
			return nil
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return fmt.Errorf("%.0f of %d pulls are held: %w", n, heldConns, err)
		}
	}
}

// sendToAll sends a message to every queue that is waited for.
func (s *subject) sendToAll(ctx context.Context, h *holders) error {
	ctx, cancel := context.WithTimeout(ctx, heldLimit)
	defer cancel()
	var serial atomic.Int64
	l := s.load(shape{8, 32, 0})
	l.Serial, l.Messages = &serial, heldConns
	l.Place = func(n int64) (string, int) {
		return heldTopic(int(n % (heldConns / heldQueues))), int(n / (heldConns / heldQueues) % heldQueues)
	}
	begun := time.Now()
	if _, err := l.Run(ctx); err != nil {
		return err
	}
	for got := range heldConns {
		select {
		case <-h.got:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d clients got their message: %w", got, heldConns, errors.Join(ctx.Err(), h.failure()))
		}
	}
	s.set(heldCase, "ms until all had theirs", float64(time.Since(begun).Milliseconds()))
	return nil
}

// holders are the clients.
type holders struct {
	addr    string
	got     chan struct{}
	running sync.WaitGroup

	mu     sync.Mutex
	conns  []*wire.Conn
	closed bool
	err    error
}

// open connects them all.
func (h *holders) open(ctx context.Context) error {
	var next atomic.Int64
	var dialing sync.WaitGroup
	for range heldDialers {
		dialing.Go(func() {
			for i := int(next.Add(1)) - 1; i < heldConns && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := h.add(i); err != nil {
					h.fail(err)
					return
				}
			}
		})
	}
	dialing.Wait()
	return errors.Join(ctx.Err(), h.failure())
}

func (h *holders) add(i int) error {
	c, err := wire.DialSmall(h.addr, heldBuffer)
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.conns = append(h.conns, c)
	h.mu.Unlock()
	topic := i / heldQueues
	beat, err := json.Marshal(map[string]any{
		"clientID": fmt.Sprintf("127.0.0.1@%d", i),
		"consumerDataSet": []any{map[string]any{
			"groupName": fmt.Sprintf("bench_held_group_%04d", topic), "consumeType": "CONSUME_PASSIVELY", "messageModel": "CLUSTERING",
			"consumeFromWhere":    "CONSUME_FROM_LAST_OFFSET",
			"subscriptionDataSet": []any{map[string]any{"topic": heldTopic(topic), "subString": "*", "subVersion": 1, "expressionType": "TAG"}},
		}},
	})
	if err != nil {
		return fmt.Errorf("encoding a heartbeat: %w", err)
	}
	if a, err := c.Call(wire.CodeHeartbeat, beat); err != nil || a.Code != 0 {
		return errors.Join(fmt.Errorf("heartbeat: %q", a.Header), err)
	}
	h.running.Go(func() {
		if err := h.hold(c, i, beat); err != nil {
			h.fail(err)
		}
	})
	return nil
}

// hold keeps a pull open and heartbeats now and then.
func (h *holders) hold(c *wire.Conn, i int, beat []byte) error {
	const pull, beating = 1, 2
	p := wire.Pull{Group: fmt.Sprintf("bench_held_group_%04d", i/heldQueues), Topic: heldTopic(i / heldQueues), Queue: i % heldQueues, Suspend: heldSuspend}
	beaten := time.Now()
	for {
		if err := c.Open(p, pull); err != nil {
			return err
		}
		a, err := c.Await(pull)
		if err != nil {
			return err
		}
		if a.Code == 0 {
			p.Offset++
			h.got <- struct{}{}
		}
		if time.Since(beaten) > heldBeat {
			beaten = time.Now()
			if a, err := c.CallAs(wire.CodeHeartbeat, beating, beat); err != nil || a.Code != 0 {
				return errors.Join(fmt.Errorf("heartbeat: %q", a.Header), err)
			}
		}
	}
}

func (h *holders) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil && !h.closed {
		h.err = err
	}
}

// failure is what broke the first connection that broke.
func (h *holders) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

func (h *holders) close() {
	h.mu.Lock()
	h.closed = true
	for _, c := range h.conns {
		_ = c.Close()
	}
	h.mu.Unlock()
	h.running.Wait()
}
