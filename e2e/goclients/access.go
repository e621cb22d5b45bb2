package main

import (
	"fmt"
	"strconv"
	"strings"
)

// roundTrip sends to a broker's topic and consumes there.
func roundTrip(e *env, at place, topic string) error {
	p, err := e.lib.producer(at, topic)
	if err != nil {
		return fmt.Errorf("starting a producer: %w", err)
	}
	e.onClose(p.close)
	in := &inbox{}
	c, err := e.lib.push(at, subscription{topic: topic, group: e.group}, in.take)
	if err != nil {
		return fmt.Errorf("starting a consumer: %w", err)
	}
	e.onClose(c.close)
	prefix := e.topic + "-"
	for i := range 20 {
		m := e.message(prefix + strconv.Itoa(i))
		m.topic = topic
		if _, err := p.send(e, m); err != nil {
			return fmt.Errorf("sending: %w", err)
		}
	}
	return in.exactly(e, prefix, 20)
}

// acl: with the right secret all is as without access control.
func acl(e *env) error { return roundTrip(e, e.plan.Access, e.plan.Topic) }

// turnedAway demands that a user can't send.
func turnedAway(e *env, at place, topic, what string) error {
	p, err := e.lib.producer(at, topic)
	if err == nil {
		e.onClose(p.close)
		m := e.message("never")
		m.topic = topic
		_, err = p.send(e, m)
	}
	if err := refused(what, err); err != nil {
		return err
	}
	e.note = strings.ReplaceAll(err.Error(), "\n", " ")
	if len(e.note) > maxReason {
		e.note = e.note[:maxReason] + "…"
	}
	return nil
}

func aclDenied(e *env) error {
	return turnedAway(e, e.plan.Access, e.plan.Closed, "a send to a topic that the user may not use")
}

// aclWrongSecret: neither a send nor a consumer.
func aclWrongSecret(e *env) error {
	at := e.plan.Access
	at.Secret += "x"
	if err := turnedAway(e, at, e.plan.Topic, "a send with a wrong secret"); err != nil {
		return err
	}
	in := &inbox{}
	c, err := e.lib.push(at, subscription{topic: e.plan.Topic, group: e.group}, in.take)
	if err != nil {
		return nil // turned away already
	}
	e.onClose(c.close)
	e.group += "_right" // which gets all that the other one ought not to
	if err := roundTrip(e, e.plan.Access, e.plan.Topic); err != nil {
		return err
	}
	return equal("messages read with a wrong secret", 0, len(in.messages()))
}

func tlsOnly(e *env) error {
	if !e.lib.hasTLS() {
		return lacks("TLS")
	}
	return roundTrip(e, e.plan.TLS, e.plan.Topic)
}
