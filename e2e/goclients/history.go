package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// forget has the topic archived and leaves the hot log without it.
func (e *env) forget() error { return e.h.call("archive-and-trim", e.name+" "+e.topic) }

const coldMessages = 1000

// coldReady fills a topic, lets the hot log forget it, and gives the group the
// first offset: a new one of a gRPC client begins at the end.
func coldReady(e *env) (sender, error) {
	p, err := e.ready("")
	if err != nil {
		return nil, err
	}
	if err := first(e.sendMany(p, "cold", coldMessages), e.forget()); err != nil {
		return nil, err
	}
	if !e.lib.remoting() {
		if err := e.h.call("reset", e.group+" "+e.topic); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// historyPush reads the archive with an ordinary consumer, and goes over to
// what is sent meanwhile.
func historyPush(e *env) error {
	p, err := coldReady(e)
	if err != nil {
		return err
	}
	in, err := e.consume()
	if err != nil {
		return err
	}
	e.note = fmt.Sprintf("%d cold, 100 hot", coldMessages)
	return first(e.sendMany(p, "hot", 100), in.exactly(e, "cold", coldMessages), in.exactly(e, "hot", 100))
}

func historySimple(e *env) error {
	if e.lib.remoting() {
		_, err := e.simpleReady(subscription{})
		return err
	}
	if _, err := coldReady(e); err != nil {
		return err
	}
	c, err := e.simple(subscription{})
	if err != nil {
		return err
	}
	got, err := receiveAll(e, c, coldMessages)
	return first(err, once(got, "cold", coldMessages))
}

// view is what two deliveries of a message have in common.
func view(m *message) string {
	var props []string
	for _, k := range slices.Sorted(maps.Keys(m.props)) {
		if k == "CONSUME_START_TIME" || k == "MAX_OFFSET" || k == "MIN_OFFSET" { // of the delivery
			continue
		}
		props = append(props, k+"="+m.props[k])
	}
	return fmt.Sprintf("%s|%s|%s|%s|%v|%s|%d|%d|%d|%s", m.topic, m.id, m.tag, strings.Join(m.keys, " "), m.props["n"],
		strings.Join(props, ","), m.offset, m.queue, m.born.UnixMilli(), m.body)
}

// historySame: a cold read gives what the hot one gave.
func historySame(e *env) error {
	p, err := e.ready("")
	if err != nil {
		return err
	}
	for i := range 30 {
		m := e.message(fmt.Sprint("same", i))
		m.props = map[string]string{"n": fmt.Sprint(i)}
		if i%7 == 0 {
			m.body += strings.Repeat(" and the same again", 1500)
		}
		if _, err := p.send(e, m); err != nil {
			return err
		}
	}
	read := func(group string) (map[string]string, error) {
		in := &inbox{}
		c, err := e.push(subscription{group: group}, in.take)
		if err != nil {
			return nil, err
		}
		if err := e.until("30 messages", usual, func() bool { return len(in.messages()) >= 30 }); err != nil {
			return nil, err
		}
		go func() { _ = c.close() }() // may wait for a poll to end
		out := map[string]string{}
		for _, m := range in.messages() {
			out[m.id] = view(m)
		}
		return out, equal("messages", 30, len(out))
	}
	hot, err := read(e.group)
	if err := first(err, e.forget()); err != nil {
		return err
	}
	cold := e.group + "_cold"
	if !e.lib.remoting() {
		if err := e.h.call("reset", cold+" "+e.topic); err != nil {
			return err
		}
	}
	start := time.Now()
	again, err := read(cold)
	if err != nil {
		return err
	}
	e.note = fmt.Sprintf("30 cold messages after %d ms", time.Since(start).Milliseconds())
	for id, want := range hot {
		if err := equal("message "+id, want, again[id]); err != nil {
			return err
		}
	}
	return nil
}
