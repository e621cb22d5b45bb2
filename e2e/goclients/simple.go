package main

import (
	"fmt"
	"strings"
	"time"
)

const invisible = 30 * time.Second

func (e *env) simple(s subscription) (simple, error) {
	s.topic, s.group = e.topic, e.group
	c, err := e.lib.simple(e.plan.Plain, s)
	if err != nil {
		return nil, err
	}
	e.onClose(c.close)
	return c, nil
}

// receiveAll receives and acks until there are n.
func receiveAll(e *env, c simple, n int) ([]*message, error) {
	var all []*message
	for deadline := time.Now().Add(usual); len(all) < n; {
		got, err := c.receive(e, 16, invisible)
		if err != nil {
			return nil, fmt.Errorf("receiving: %w", err)
		}
		for _, m := range got {
			if err := c.ack(e, m); err != nil {
				return nil, fmt.Errorf("acking %s: %w", m.body, err)
			}
		}
		all = append(all, got...)
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%d of %d messages after %v", len(all), n, usual)
		}
	}
	return all, nil
}

// nothing demands that a receive finds nothing.
func nothing(e *env, c simple) error {
	got, err := c.receive(e, 16, invisible)
	return first(err, equal("messages that come again", 0, len(got)))
}

// simpleAck: what is acked is gone.
func simpleAck(e *env) error {
	c, err := e.simpleReady(subscription{})
	if err != nil {
		return err
	}
	p, err := e.producer()
	if err := first(err, e.sendMany(p, "s", 50)); err != nil {
		return err
	}
	got, err := receiveAll(e, c, 50)
	return first(err, once(got, "s", 50), nothing(e, c))
}

// simpleReady makes the topic first: the client asks for its route.
func (e *env) simpleReady(s subscription) (simple, error) {
	if e.lib.remoting() {
		return e.lib.simple(e.plan.Plain, s)
	}
	if err := e.prepare(""); err != nil {
		return nil, err
	}
	return e.simple(s)
}

// simpleInvisible: a message comes again when its time is over, at once where
// the consumer says so, and not while it says later.
func simpleInvisible(e *env) error {
	c, err := e.simpleReady(subscription{})
	if err != nil {
		return err
	}
	p, err := e.producer()
	if err := first(err, e.sendMany(p, "i", 1)); err != nil {
		return err
	}
	one := func(attempt int) (*message, error) {
		var got []*message
		err := e.until(fmt.Sprint("attempt ", attempt), usual, func() bool {
			got, err = c.receive(e, 16, 10*time.Second)
			return err != nil || len(got) > 0
		})
		if err := first(err, equal("messages", 1, len(got))); err != nil {
			return nil, err
		}
		return got[0], first(equal("attempt", attempt, got[0].attempt), equal("body", "i0", got[0].body))
	}
	m, err := one(1)
	if err != nil {
		return err
	}
	if err := c.postpone(m, 2*time.Second); err != nil {
		return fmt.Errorf("changing the invisible time: %w", err)
	}
	start := time.Now()
	if _, err = one(2); err != nil {
		return err
	}
	if took := time.Since(start); took < 1900*time.Millisecond || took > 9*time.Second {
		return fmt.Errorf("came again after %v, 2 s were asked for", took)
	}
	if m, err = one(3); err != nil { // after its 10 s
		return err
	}
	if took := time.Since(start); took < 11*time.Second {
		return fmt.Errorf("came again after %v, before its time was over", took)
	}
	return first(c.ack(e, m), nothing(e, c))
}

func simpleFilter(e *env) error {
	c, err := e.simpleReady(subscription{sql: someSQL})
	if err != nil {
		return err
	}
	p, err := e.producer()
	if err := first(err, sendPriced(e, p)); err != nil {
		return err
	}
	got, err := receiveAll(e, c, 15)
	if err := first(err, priced(got)); err != nil {
		return err
	}
	for _, m := range got {
		if !strings.HasPrefix(m.body, "sql") {
			return fmt.Errorf("%q came", m.body)
		}
	}
	return nothing(e, c)
}
