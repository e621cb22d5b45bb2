package main

import (
	"fmt"
	"strings"
	"time"
)

// retryThenSuccess refuses each message once.
func retryThenSuccess(e *env) error {
	if err := e.retries(4, false); err != nil {
		return err
	}
	p, err := e.ready("")
	if err != nil {
		return err
	}
	in := &inbox{}
	_, err = e.push(subscription{tags: "TagA"}, func(m *message) bool { return m.attempt > 1 && in.take(m) })
	if err := first(err, e.sendMany(p, "again", 10), in.exactly(e, "again", 10)); err != nil {
		return err
	}
	for _, m := range in.messages() {
		if err := first(equal("attempt", 2, m.attempt), equal("topic", e.topic, m.topic), equal("key", "key-"+m.body, strings.Join(m.keys, " "))); err != nil {
			return err
		}
	}
	return nil
}

// retryDLQ refuses a message until it is a dead letter, and reads that.
func retryDLQ(e *env) error {
	if err := e.retries(2, false); err != nil {
		return err
	}
	p, err := e.ready("")
	if err != nil {
		return err
	}
	in := &inbox{}
	if _, err := e.push(subscription{attempts: 2}, func(m *message) bool { in.take(m); return false }); err != nil {
		return err
	}
	r, err := p.send(e, e.message("dead"))
	if err != nil {
		return err
	}
	if err := e.h.call("dead-letter", e.group); err != nil {
		return err
	}
	var dead *message
	if e.lib.remoting() {
		dead, err = pullDead(e)
	} else {
		dead, err = receiveDead(e)
	}
	if err != nil {
		return err
	}
	got := in.messages()
	if err := equal("deliveries", 2, len(got)); err != nil {
		return err
	}
	return first(equal("first attempt", 1, got[0].attempt), equal("second attempt", 2, got[1].attempt), equal("id", r.id, got[1].id),
		equal("dead body", "dead", dead.body), equal("dead id", r.id, dead.id), equal("dead key", "key-dead", strings.Join(dead.keys, " ")))
}

func pullDead(e *env) (*message, error) {
	c, err := e.lib.puller(e.plan.Plain, e.group+"_dead", "%DLQ%"+e.group)
	if err != nil {
		return nil, err
	}
	e.onClose(c.close)
	got, err := c.pull(e, "%DLQ%"+e.group, 0, 0, 8)
	if err := first(err, equal("dead letters", 1, len(got))); err != nil {
		return nil, err
	}
	return got[0], nil
}

func receiveDead(e *env) (*message, error) {
	c, err := e.lib.simple(e.plan.Plain, subscription{group: e.group + "_dead", topic: "%DLQ%" + e.group})
	if err != nil {
		return nil, err
	}
	e.onClose(c.close)
	got, err := receiveAll(e, c, 1)
	if err != nil {
		return nil, err
	}
	return got[0], nil
}

// onTime sends a message that is to come after so long and looks when it does.
func onTime(e *env, p sender, in *inbox, m *message, after time.Duration) error {
	start := time.Now()
	if _, err := p.send(e, m); err != nil {
		return err
	}
	if err := e.until("the message", usual, func() bool { return len(in.of(m.body)) == 1 }); err != nil {
		return err
	}
	took := time.Since(start)
	e.note = fmt.Sprintf("%v came after %v", after.Round(time.Millisecond), took.Round(time.Millisecond))
	if took < after-100*time.Millisecond || took > after+10*time.Second {
		return fmt.Errorf("%s", e.note)
	}
	return nil
}

func timedReady(e *env) (sender, *inbox, error) {
	p, err := e.ready("")
	if err != nil {
		return nil, nil, err
	}
	in, err := e.consume()
	if err := first(err, e.sendMany(p, "warm", 1), in.exactly(e, "warm", 1)); err != nil {
		return nil, nil, err
	}
	return p, in, nil
}

func delayLevel(e *env) error {
	p, in, err := timedReady(e)
	if err != nil {
		return err
	}
	m := e.message("later")
	m.level = 2
	return onTime(e, p, in, m, 5*time.Second)
}

// timed sends to a time, and one to a time years ahead, which the broker takes.
func timed(e *env) error {
	p, in, err := timedReady(e)
	if err != nil {
		return err
	}
	far := e.message("far")
	far.due = time.Now().AddDate(3, 0, 0)
	if _, err := p.send(e, far); err != nil {
		return fmt.Errorf("three years ahead: %w", err)
	}
	m := e.message("later")
	const after = 3700 * time.Millisecond
	m.due = time.Now().Add(after)
	return first(onTime(e, p, in, m, after), equal("messages of three years ahead", 0, len(in.of("far"))))
}

// recall is in neither client.
func recall(*env) error { return lacks("recall") }
