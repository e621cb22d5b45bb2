package main

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// pushRebalance: two members share, exactly once; when one leaves the other has all.
func pushRebalance(e *env) error {
	p, err := e.ready("")
	if err != nil {
		return err
	}
	var one, two inbox
	if _, err := e.push(subscription{}, one.take); err != nil {
		return err
	}
	b, err := e.push(subscription{}, two.take)
	if err != nil {
		return err
	}
	// Remoting members change over to two queues each, in which time a message may come twice; so these aren't counted.
	warm := 0
	err = e.until("messages at both", usual, func() bool {
		if _, err := p.send(e, e.message("w"+strconv.Itoa(warm))); err == nil {
			warm++
		}
		return len(one.of("w")) > 0 && len(two.of("w")) > 0
	})
	if err != nil {
		return err
	}
	if err := e.sendMany(p, "x", 200); err != nil {
		return err
	}
	err = e.until("200 messages at two", usual, func() bool { return len(one.of("x"))+len(two.of("x")) >= 200 })
	if err := first(err, once(append(one.of("x"), two.of("x")...), "x", 200)); err != nil {
		return err
	}
	if len(one.of("x")) == 0 || len(two.of("x")) == 0 {
		return fmt.Errorf("not shared: %d and %d", len(one.of("x")), len(two.of("x")))
	}
	e.note = fmt.Sprintf("%d and %d messages", len(one.of("x")), len(two.of("x")))
	if err := b.close(); err != nil {
		return fmt.Errorf("leaving: %w", err)
	}
	if err := e.sendMany(p, "y", 100); err != nil {
		return err
	}
	return one.exactly(e, "y", 100)
}

func pushBroadcast(e *env) error {
	p, err := e.ready("")
	if err != nil {
		return err
	}
	var all [2]inbox
	for i := range all {
		if _, err := e.push(subscription{broadcast: true}, all[i].take); err != nil {
			return err
		}
	}
	if err := e.sendMany(p, "bc", 60); err != nil {
		return err
	}
	return first(all[0].exactly(e, "bc", 60), all[1].exactly(e, "bc", 60))
}

// pushResume stops and starts: it goes on where it was.
func pushResume(e *env) error {
	p, err := e.ready("")
	if err != nil {
		return err
	}
	if err := e.sendMany(p, "first", 50); err != nil {
		return err
	}
	var before, after inbox
	c, err := e.push(subscription{}, before.take)
	if err := first(err, before.exactly(e, "first", 50)); err != nil {
		return err
	}
	if err := c.close(); err != nil {
		return fmt.Errorf("closing: %w", err)
	}
	if err := e.sendMany(p, "second", 50); err != nil {
		return err
	}
	if _, err := e.push(subscription{}, after.take); err != nil {
		return err
	}
	return first(after.exactly(e, "second", 50), equal("messages after the restart", 50, len(after.messages())))
}

// pushLongPoll: what arrives while a poll is held is there at once.
func pushLongPoll(e *env) error {
	p, err := e.ready("")
	if err != nil {
		return err
	}
	in, err := e.consume()
	if err := first(err, e.sendMany(p, "warm", 1), in.exactly(e, "warm", 1)); err != nil {
		return err
	}
	var worst time.Duration
	for i := range 10 {
		start, body := time.Now(), fmt.Sprintf("late%dx", i)
		if _, err := p.send(e, e.message(body)); err != nil {
			return err
		}
		if err := e.until(body, usual, func() bool { return len(in.of(body)) == 1 }); err != nil {
			return err
		}
		worst = max(worst, time.Since(start))
	}
	e.note = fmt.Sprintf("worst send to receive %d ms", worst.Milliseconds())
	if worst > 3*time.Second {
		return fmt.Errorf("%s", e.note)
	}
	return nil
}

// order checks that each group's messages come one after the other; a
// redelivery of one that was seen is counted, a skip is wrong.
type order struct {
	mu    sync.Mutex
	last  map[string]int
	again int
	wrong []string
}

func newOrder() *order { return &order{last: map[string]int{}} }

func (o *order) take(m *message) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	group, number, _ := strings.Cut(m.body, "/")
	n, err := strconv.Atoi(number)
	last := o.last[group]
	switch {
	case err != nil || n > last+1:
		o.wrong = append(o.wrong, fmt.Sprintf("%s after %d", m.body, last))
	case n <= last:
		o.again++
	default:
		o.last[group] = n
	}
	return true
}

// done waits for n messages of each group.
func (o *order) done(e *env, groups, n int) error {
	err := e.until(fmt.Sprintf("%d messages of each group", n), usual, func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return len(o.wrong) > 0 || o.sum() >= groups*n
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.wrong) > 0 {
		return fmt.Errorf("out of order: %v", o.wrong)
	}
	if err != nil {
		return fmt.Errorf("%w: %v", err, o.last)
	}
	return nil
}

func (o *order) sum() (n int) {
	for v := range maps.Values(o.last) {
		n += v
	}
	return n
}

// sendOrdered sends from..to of each group, group by group in turn.
func sendOrdered(e *env, p sender, groups, from, to int) error {
	for i := from; i <= to; i++ {
		for g := range groups {
			m := e.message(fmt.Sprintf("g%d/%d", g, i))
			m.group = fmt.Sprint("g", g)
			if _, err := p.send(e, m); err != nil {
				return fmt.Errorf("sending %s: %w", m.body, err)
			}
		}
	}
	return nil
}

const orderGroups = 6

func orderlyReady(e *env) (sender, error) {
	if err := e.retries(16, true); err != nil {
		return nil, err
	}
	return e.ready("FIFO")
}

func pushOrderly(e *env) error {
	p, err := orderlyReady(e)
	if err != nil {
		return err
	}
	o := newOrder()
	if _, err := e.push(subscription{orderly: true}, o.take); err != nil {
		return err
	}
	if err := first(sendOrdered(e, p, orderGroups, 1, 40), o.done(e, orderGroups, 40)); err != nil {
		return err
	}
	return equal("messages that came twice", 0, o.again)
}

// orderlyRetry refuses a message twice: those behind it wait.
func orderlyRetry(e *env) error {
	if !e.lib.remoting() {
		return lacks("order while it retries: it goes on with the next message meanwhile")
	}
	p, err := orderlyReady(e)
	if err != nil {
		return err
	}
	o := newOrder()
	var refusals atomic.Int32
	_, err = e.push(subscription{orderly: true, attempts: 16}, func(m *message) bool {
		if m.body == "g1/5" && refusals.Add(1) <= 2 {
			return false
		}
		return o.take(m)
	})
	if err := first(err, sendOrdered(e, p, 3, 1, 12), o.done(e, 3, 12)); err != nil {
		return err
	}
	return first(equal("deliveries of the refused one", int32(3), refusals.Load()), equal("messages that came twice", 0, o.again))
}

// orderlyRebalance: members come and go while messages of each group are sent.
func orderlyRebalance(e *env) error {
	p, err := orderlyReady(e)
	if err != nil {
		return err
	}
	o := newOrder()
	var two atomic.Int32
	if _, err := e.push(subscription{orderly: true}, o.take); err != nil {
		return err
	}
	if err := sendOrdered(e, p, orderGroups, 1, 20); err != nil {
		return err
	}
	b, err := e.push(subscription{orderly: true}, func(m *message) bool { two.Add(1); return o.take(m) })
	if err != nil {
		return err
	}
	// The remoting client leaves its locks to run out, after a minute.
	n, next := 20, time.Now()
	err = e.until("messages at the second one", 2*time.Minute, func() bool {
		if time.Now().Before(next) {
			return two.Load() > 0
		}
		n, next = n+1, time.Now().Add(500*time.Millisecond)
		return sendOrdered(e, p, orderGroups, n, n) != nil
	})
	if err := first(err, sendOrdered(e, p, orderGroups, n+1, n+20)); err != nil {
		return err
	}
	gone := make(chan error, 1)
	go func() { gone <- b.close() }()
	if err := first(sendOrdered(e, p, orderGroups, n+21, n+40), <-gone, o.done(e, orderGroups, n+40)); err != nil {
		return err
	}
	e.note = fmt.Sprintf("%d messages, %d of them at the one that came and went, %d twice", orderGroups*(n+40), two.Load(), o.again)
	return nil
}

func sendTagged(e *env, p sender) error {
	for i := range 80 {
		m := e.message(fmt.Sprintf("%c-%d", "ABCD"[i%4], i))
		if m.tag = m.body[:1]; m.tag == "D" {
			m.tag = ""
		}
		if _, err := p.send(e, m); err != nil {
			return err
		}
	}
	return nil
}

func tagged(got []*message) error {
	count := map[string]int{}
	for _, m := range got {
		count[m.tag]++
	}
	return equal("by tag", "map[A:20 B:20]", fmt.Sprint(count))
}

func filterTag(e *env) error {
	p, err := e.ready("")
	if err != nil {
		return err
	}
	in := &inbox{}
	if _, err := e.push(subscription{tags: "A || B"}, in.take); err != nil {
		return err
	}
	if err := sendTagged(e, p); err != nil {
		return err
	}
	return first(e.until("40 messages", usual, func() bool { return len(in.messages()) >= 40 }), tagged(in.messages()))
}

const someSQL = "price BETWEEN 10 AND 39 AND region = 'north' AND TAGS = 'TagA'"

func sendPriced(e *env, p sender) error {
	for i := range 60 {
		m := e.message("sql" + strconv.Itoa(i))
		m.props = map[string]string{"price": strconv.Itoa(i)}
		if i%2 == 0 {
			m.props["region"] = "north"
		}
		if _, err := p.send(e, m); err != nil {
			return err
		}
	}
	return nil
}

func priced(got []*message) error {
	for _, m := range got {
		if n, err := strconv.Atoi(m.props["price"]); err != nil || n < 10 || n > 39 || n%2 != 0 {
			return fmt.Errorf("%s with price %s came", m.body, m.props["price"])
		}
	}
	return equal("messages", 15, len(got))
}

func filterSQL(e *env) error {
	p, err := e.ready("")
	if err != nil {
		return err
	}
	in := &inbox{}
	if _, err := e.push(subscription{sql: someSQL}, in.take); err != nil {
		return err
	}
	if err := sendPriced(e, p); err != nil {
		return err
	}
	return first(e.until("15 messages", usual, func() bool { return len(in.messages()) >= 15 }), priced(in.messages()))
}

// pull reads a queue by offset, from its middle too.
func pull(e *env) error {
	p, err := e.ready("")
	if err != nil {
		return err
	}
	c, err := e.lib.puller(e.plan.Plain, e.group, e.topic)
	if err != nil {
		return err
	}
	e.onClose(c.close)
	for i := range 20 {
		m := e.message("p" + strconv.Itoa(i))
		m.queue = 3
		if _, err := p.send(e, m); err != nil {
			return err
		}
	}
	for _, from := range []int64{0, 7} {
		got, err := c.pull(e, e.topic, 3, from, 5)
		if err := first(err, equal("messages", 5, len(got))); err != nil {
			return err
		}
		for i, m := range got {
			if err := first(equal("offset", from+int64(i), m.offset), equal("body", fmt.Sprint("p", m.offset), m.body)); err != nil {
				return err
			}
		}
	}
	return nil
}
