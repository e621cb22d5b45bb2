package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	pollEvery = 20 * time.Millisecond
	usual     = time.Minute // for what is there at once if all is well
)

// env is what a scenario works with: names of its own, and clients that are
// closed after it.
type env struct {
	context.Context
	h            *harness
	lib          library
	plan         *plan
	client       string
	topic, group string
	name         string // the scenario's
	note         string

	mu      sync.Mutex
	closers []func() error
}

func newEnv(ctx context.Context, h *harness, lib library, p *plan, client, name string) *env {
	topic := strings.ReplaceAll(name, "-", "_") + "_go" + client + "_" + strconv.FormatUint(uint64(rand.Uint32()), 36)
	return &env{Context: ctx, h: h, lib: lib, plan: p, client: client, name: name, topic: topic, group: "g_" + topic}
}

func (e *env) onClose(f func() error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closers = append(e.closers, f)
}

func (e *env) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range e.closers {
		go func() { _ = f() }() // a client that can't close is of no interest any more
	}
}

// prepare makes the scenario's topic.
func (e *env) prepare(typ string) error {
	return e.h.call("topic", strings.TrimSpace(e.topic+" "+typ))
}

// retries makes the scenario's group, with so many attempts, a second apart.
func (e *env) retries(attempts int, orderly bool) error {
	return e.h.call("group", fmt.Sprintf("%s %d %t", e.group, attempts, orderly))
}

func (e *env) producer() (sender, error) {
	p, err := e.lib.producer(e.plan.Plain, e.topic)
	if err != nil {
		return nil, fmt.Errorf("starting a producer: %w", err)
	}
	e.onClose(p.close)
	return p, nil
}

// ready makes the topic and a producer.
func (e *env) ready(typ string) (sender, error) {
	if err := e.prepare(typ); err != nil {
		return nil, err
	}
	return e.producer()
}

// push starts a consumer; topic and group are the scenario's where the subscription has none.
func (e *env) push(s subscription, take func(*message) bool) (closer, error) {
	if s.topic == "" {
		s.topic = e.topic
	}
	if s.group == "" {
		s.group = e.group
	}
	c, err := e.lib.push(e.plan.Plain, s, take)
	if err != nil {
		return nil, fmt.Errorf("starting a push consumer: %w", err)
	}
	e.onClose(sync.OnceValue(c.close))
	return c, nil
}

// consume starts a consumer of everything.
func (e *env) consume() (*inbox, error) {
	in := &inbox{}
	_, err := e.push(subscription{}, in.take)
	return in, err
}

// message is one of the scenario's topic.
func (e *env) message(body string) *message {
	return &message{topic: e.topic, body: body, tag: "TagA", keys: []string{"key-" + body}, queue: -1}
}

// sendMany sends n messages, one after the other.
func (e *env) sendMany(p sender, prefix string, n int) error {
	for i := range n {
		if _, err := p.send(e, e.message(prefix+strconv.Itoa(i))); err != nil {
			return fmt.Errorf("sending %s%d: %w", prefix, i, err)
		}
	}
	return nil
}

// until polls: the other side is a server, so there is nothing to be told by.
func (e *env) until(what string, limit time.Duration, done func() bool) error {
	deadline := time.Now().Add(limit)
	for !done() {
		switch {
		case e.Err() != nil:
			return fmt.Errorf("%s: %w", what, e.Err())
		case time.Now().After(deadline):
			return fmt.Errorf("after %v still not: %s", limit, what)
		}
		time.Sleep(pollEvery)
	}
	return nil
}

// inbox collects what a consumer was given.
type inbox struct {
	mu  sync.Mutex
	all []*message
}

func (in *inbox) take(m *message) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.all = append(in.all, m)
	return true
}

func (in *inbox) messages() []*message {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]*message(nil), in.all...)
}

func (in *inbox) of(prefix string) []*message {
	var out []*message
	for _, m := range in.messages() {
		if strings.HasPrefix(m.body, prefix) {
			out = append(out, m)
		}
	}
	return out
}

// exactly waits for n messages and demands the set prefix0 … prefix(n-1), each once.
func (in *inbox) exactly(e *env, prefix string, n int) error {
	err := e.until(fmt.Sprintf("%d messages of %s", n, prefix), usual, func() bool { return len(in.of(prefix)) >= n })
	if err != nil {
		return fmt.Errorf("%w (have %d)", err, len(in.of(prefix)))
	}
	return once(in.of(prefix), prefix, n)
}

func once(got []*message, prefix string, n int) error {
	seen := map[string]int{}
	for _, m := range got {
		seen[m.body]++
	}
	var wrong []string
	for i := range n {
		body := prefix + strconv.Itoa(i)
		if seen[body] != 1 {
			wrong = append(wrong, fmt.Sprintf("%s x%d", body, seen[body]))
		}
		delete(seen, body)
	}
	if len(wrong) > 0 || len(seen) > 0 {
		return fmt.Errorf("lost or doubled: %v, strangers: %v", wrong, seen)
	}
	return nil
}

// equal compares what a client shows with what it ought to.
func equal[T comparable](what string, want, got T) error {
	if want != got {
		return fmt.Errorf("%s: want %v, got %v", what, want, got)
	}
	return nil
}

// first is the first of some errors that is one.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// refused demands an error that is no time-out.
func refused(what string, err error) error {
	switch {
	case err == nil:
		return fmt.Errorf("%s was taken", what)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s was not refused but timed out: %w", what, err)
	}
	return nil
}
