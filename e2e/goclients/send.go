package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// scenarios by the names that all clients' programs share.
var scenarios = map[string]func(*env) error{
	"send-sync": sendSync, "send-async": sendAsync, "send-oneway": sendOneway, "send-batch": sendBatch, "send-to-queue": sendToQueue,
	"auto-create": autoCreate, "request-reply": requestReply, "trace": trace,
	"body-largest": bodyLargest, "body-too-large": bodyTooLarge, "body-compressed": bodyCompressed, "properties-many": propertiesMany,
	"push-rebalance": pushRebalance, "push-broadcast": pushBroadcast, "push-resume": pushResume, "push-long-poll": pushLongPoll,
	"push-orderly": pushOrderly, "orderly-rebalance": orderlyRebalance, "orderly-suspend": orderlyRetry,
	"filter-tag": filterTag, "filter-sql92": filterSQL, "pull": pull,
	"retry-then-success": retryThenSuccess, "retry-dlq": retryDLQ, "delay-level": delayLevel, "timed": timed, "timed-recall": recall,
	"simple-ack": simpleAck, "simple-invisible": simpleInvisible, "simple-filter": simpleFilter,
	"transaction": transaction, "transaction-check": transactionCheck, "transaction-orphan": transactionOrphan,
	"acl-allowed": acl, "acl-missing-right": aclDenied, "acl-wrong-secret": aclWrongSecret, "tls-enforced": tlsOnly,
	"history-push": historyPush, "history-simple": historySimple, "history-same-message": historySame,
}

// sendSync sends messages and looks at everything that comes back.
func sendSync(e *env) error {
	p, err := e.ready("")
	if err != nil {
		return err
	}
	sent := map[string]receipt{}
	for i := range 40 {
		m := e.message("s" + strconv.Itoa(i))
		m.keys = append(m.keys, "second")
		m.props = map[string]string{"colour": fmt.Sprint("blue ", i), "häßlich": "漢字"}
		if sent[m.body], err = p.send(e, m); err != nil {
			return err
		}
	}
	in, err := e.consume()
	if err != nil {
		return err
	}
	if err := in.exactly(e, "s", 40); err != nil {
		return err
	}
	for _, m := range in.messages() {
		r, n := sent[m.body], strings.TrimPrefix(m.body, "s")
		err := first(
			equal("topic", e.topic, m.topic), equal("id", r.id, m.id), equal("tag", "TagA", m.tag),
			equal("keys", "key-"+m.body+" second", strings.Join(m.keys, " ")), equal("property", "blue "+n, m.props["colour"]),
			equal("property beyond ASCII", "漢字", m.props["häßlich"]), equal("attempt", 1, m.attempt),
		)
		if r.queue >= 0 {
			err = first(err, equal("queue", r.queue, m.queue), equal("offset", r.offset, m.offset))
		}
		if age := time.Since(m.born); age < -time.Minute || age > 5*time.Minute {
			err = first(err, fmt.Errorf("born %v ago", age))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", m.body, err)
		}
	}
	return nil
}

func sendAsync(e *env) error {
	p, err := e.ready("")
	if err != nil {
		return err
	}
	const n = 300
	done := make(chan error, n)
	for i := range n {
		if err := p.sendAsync(e, e.message("a"+strconv.Itoa(i)), func(_ receipt, err error) { done <- err }); err != nil {
			return err
		}
	}
	for i := range n {
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("a send's callback: %w", err)
			}
		case <-time.After(usual):
			return fmt.Errorf("%d of %d callbacks", i, n)
		}
	}
	in, err := e.consume()
	return first(err, in.exactly(e, "a", n))
}

func sendOneway(e *env) error {
	p, err := e.ready("")
	if err != nil {
		return err
	}
	for i := range 100 {
		if err := p.oneway(e, e.message("o"+strconv.Itoa(i))); err != nil {
			return err
		}
	}
	in, err := e.consume()
	return first(err, in.exactly(e, "o", 100))
}

func sendBatch(e *env) error {
	p, err := e.ready("")
	if err != nil {
		return err
	}
	var ms []*message
	for i := range 64 {
		m := e.message("b" + strconv.Itoa(i))
		m.queue = 1
		ms = append(ms, m)
	}
	if err := p.batch(e, ms); err != nil {
		return err
	}
	in, err := e.consume()
	if err := first(err, in.exactly(e, "b", 64)); err != nil {
		return err
	}
	for _, m := range in.messages() {
		if err := equal("key", "key-"+m.body, strings.Join(m.keys, " ")); err != nil {
			return fmt.Errorf("%s: %w", m.body, err)
		}
	}
	return nil
}

func sendToQueue(e *env) error {
	p, err := e.ready("")
	if err != nil {
		return err
	}
	for i := range 30 {
		m := e.message("q" + strconv.Itoa(i))
		m.queue = 2
		r, err := p.send(e, m)
		if err := first(err, equal("queue", 2, r.queue), equal("offset", int64(i), r.offset)); err != nil {
			return err
		}
	}
	in, err := e.consume()
	if err := first(err, in.exactly(e, "q", 30)); err != nil {
		return err
	}
	for _, m := range in.messages() {
		if err := first(equal("queue", 2, m.queue), equal("offset", "q"+strconv.FormatInt(m.offset, 10), m.body)); err != nil {
			return err
		}
	}
	return nil
}

// autoCreate sends to a topic that isn't there.
func autoCreate(e *env) error {
	if !e.lib.remoting() {
		return lacks("way to a topic that isn't there: it asks for its route first")
	}
	p, err := e.producer()
	if err != nil {
		return err
	}
	if err := e.sendMany(p, "n", 16); err != nil {
		return err
	}
	in, err := e.consume()
	return first(err, in.exactly(e, "n", 16))
}

// requestReply asks a consumer and gets its answer.
func requestReply(e *env) error {
	p, err := e.ready("")
	if err != nil {
		return err
	}
	if !e.lib.remoting() {
		_, err := p.request(e, e.message("hello?"), time.Second)
		return err
	}
	// The client tells the broker of itself at once only where it asks a topic that isn't there yet.
	early := e.message("anybody?")
	early.topic += "_new"
	_, _ = p.request(e, early, time.Second)
	var once sync.Once
	failed := make(chan error, 1)
	_, err = e.push(subscription{}, func(m *message) bool {
		if err := p.reply(e, m, m.body+" heard"); err != nil {
			once.Do(func() { failed <- err })
		}
		return true
	})
	if err != nil {
		return err
	}
	for i := range 5 {
		body := "hello" + strconv.Itoa(i)
		got, err := p.request(e, e.message(body), 20*time.Second)
		if err := first(err, equal("reply", body+" heard", got)); err != nil {
			select {
			case why := <-failed:
				return fmt.Errorf("%w; the reply: %w", err, why)
			default:
				return err
			}
		}
	}
	return nil
}

const traceTopic = "RMQ_SYS_TRACE_TOPIC"

// trace looks into the trace topic for what the client says of a message.
func trace(e *env) error {
	if err := first(e.prepare(""), e.h.call("topic", traceTopic)); err != nil {
		return err
	}
	p, err := e.lib.traced(e.plan.Plain, e.topic)
	if err != nil {
		return err
	}
	e.onClose(p.close)
	r, err := p.send(e, e.message("traced"))
	if err != nil {
		return err
	}
	in := &inbox{}
	if _, err := e.push(subscription{topic: traceTopic}, in.take); err != nil {
		return err
	}
	return e.until("the trace of "+r.id, usual, func() bool {
		for _, m := range in.messages() {
			if strings.Contains(m.body, r.id) && strings.Contains(m.body, e.topic) {
				return true
			}
		}
		return false
	})
}
