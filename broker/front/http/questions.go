package http

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"varve/broker"
)

// Limits of questions.
const (
	// deskSilence is how long a producer counts as online after it last looked.
	deskSilence = time.Minute
	sweepEvery  = 10 * time.Second
	maxDesks    = 10_000
	maxAsked    = 256 // questions that wait at one desk
	// versionOfClients is the remoting version that stands for clients of this
	// protocol in the tools' lists: 4.9.4.
	versionOfClients = 401
)

// questions are the desks at which producers look for half messages that they
// are asked about. The protocol has no connection to ask over.
type questions struct {
	broker *broker.Broker
	now    func() time.Time

	mu    sync.Mutex
	desks map[deskKey]*desk
}

type deskKey struct{ topic, group string }

func newQuestions(b *broker.Broker, now func() time.Time) *questions {
	return &questions{broker: b, now: now, desks: map[deskKey]*desk{}}
}

// desk is the producers of one topic and group, as one client of the core.
type desk struct {
	deskKey
	now func() time.Time

	mu    sync.Mutex
	addr  netip.AddrPort // of who looked last
	seen  time.Time      // when
	looks int            // requests that wait
	asked []question
	wake  chan struct{} // closed when there is a question
}

// question is a half message that a producer is to look up. half is filled in
// when somebody does.
type question struct {
	physical int64
	checks   int
	asked    time.Time
	half     broker.HalfMessage
}

var _ broker.TransactionChecker = (*desk)(nil)

// RemoteAddr is where the producer looked from last.
func (d *desk) RemoteAddr() netip.AddrPort {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.addr
}

// NotifyMembersChanged does nothing: a producer shares nothing with others.
func (d *desk) NotifyMembersChanged(string) {}

// CheckTransaction lays a question down until a producer looks for it. Where
// nobody has looked for long, it is somebody else's.
func (d *desk) CheckTransaction(_ context.Context, h *broker.HalfMessage) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case h.Topic != d.topic:
		return fmt.Errorf("producer %q looks for topic %q, not %q", d.group, d.topic, h.Topic)
	case d.looks == 0 && d.now().Sub(d.seen) > deskSilence:
		return fmt.Errorf("producer %q of topic %q hasn't looked since %s", d.group, d.topic, d.seen.Format(time.TimeOnly))
	}
	q := question{physical: h.Physical, checks: h.Checks, asked: d.now()}
	for i := range d.asked {
		if d.asked[i].physical == q.physical {
			d.asked[i] = q
			return nil
		}
	}
	if len(d.asked) >= maxAsked {
		return fmt.Errorf("producer %q of topic %q has %d questions to look for", d.group, d.topic, len(d.asked))
	}
	d.asked = append(d.asked, q)
	close(d.wake)
	d.wake = make(chan struct{})
	return nil
}

// take gives at most n questions, and what tells of the next one.
func (d *desk) take(n int) ([]question, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n = min(n, len(d.asked))
	out := append([]question(nil), d.asked[:n]...)
	d.asked = append(d.asked[:0], d.asked[n:]...)
	return out, d.wake
}

// ask gives at most n questions about a topic's half messages, and waits for
// one.
func (t *questions) ask(ctx context.Context, c *call, group string, n int, wait time.Duration) ([]question, error) {
	d, err := t.open(deskKey{c.topic, group}, c.from)
	if err != nil {
		return nil, err
	}
	defer d.leave()
	producers := []string{d.topic} // which is the group of those that were posted
	if group != d.topic {
		producers = append(producers, group)
	}
	_, err = t.broker.Heartbeat(d, &broker.Heartbeat{
		ClientID: "HTTP@" + d.topic + "@" + group, Language: "HTTP", Version: versionOfClients, Producers: producers,
		Connection: c.conn(),
	})
	if err != nil {
		return nil, err
	}
	over := time.NewTimer(wait)
	defer over.Stop()
	for {
		asked, wake := d.take(n)
		if found := t.load(ctx, asked); len(found) > 0 {
			return found, nil
		}
		if len(asked) > 0 {
			continue // all of them have ended meanwhile
		}
		select {
		case <-wake:
		case <-over.C:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// load finds the half messages of questions, but for those that have ended.
func (t *questions) load(ctx context.Context, asked []question) []question {
	found := asked[:0]
	for _, q := range asked {
		h, err := t.broker.FindTransaction(ctx, q.physical)
		if err != nil || h.GivenUp {
			continue
		}
		q.half = h
		found = append(found, q)
	}
	return found
}

// open gives a desk to somebody who looks, until leave.
func (t *questions) open(k deskKey, from netip.AddrPort) (*desk, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.desks[k]
	if d == nil {
		if len(t.desks) >= maxDesks {
			return nil, refused(throttled, "%d producers look for half messages already", len(t.desks))
		}
		d = &desk{deskKey: k, now: t.now, wake: make(chan struct{})}
		t.desks[k] = d
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addr, d.seen = from, t.now()
	d.looks++
	return d, nil
}

func (d *desk) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.looks--
	d.seen = d.now()
}

// silent reports whether nobody has looked for long.
func (d *desk) silent(now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.looks == 0 && now.Sub(d.seen) > deskSilence
}

// waiting is the number of questions that nobody has looked for yet.
func (t *questions) waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, d := range t.desks {
		d.mu.Lock()
		n += len(d.asked)
		d.mu.Unlock()
	}
	return n
}

// forgetSilent takes the producers that have stopped looking out of their groups.
func (t *questions) forgetSilent() {
	now := t.now()
	var gone []*desk
	t.mu.Lock()
	for k, d := range t.desks {
		if d.silent(now) {
			delete(t.desks, k)
			gone = append(gone, d)
		}
	}
	t.mu.Unlock()
	for _, d := range gone {
		t.broker.Disconnect(d)
	}
}
