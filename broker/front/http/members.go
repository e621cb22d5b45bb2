package http

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"varve/broker"
)

// Limits of members.
const (
	// memberSilence is how long a consumer counts as online after it last asked.
	memberSilence = time.Minute
	// beatEvery is how often one that goes on asking is told to the core.
	beatEvery  = 20 * time.Second
	maxMembers = 10_000
)

// members are the consumers as clients of the core. The protocol has neither
// heartbeats nor client ids: the consumers of one address in one group are one
// member, for as long as they ask.
type members struct {
	broker *broker.Broker
	now    func() time.Time

	mu sync.Mutex
	m  map[memberKey]*member
}

type memberKey struct {
	group string
	ip    netip.Addr
}

func newMembers(b *broker.Broker, now func() time.Time) *members {
	return &members{broker: b, now: now, m: map[memberKey]*member{}}
}

// member is a consumer group's consumers at one address.
type member struct {
	memberKey

	mu     sync.Mutex
	addr   netip.AddrPort // of who asked last
	seen   time.Time      // when
	asks   int            // requests that wait
	beaten time.Time      // when the core was told last
	topics map[string]want
}

// want is what a member asked of a topic last.
type want struct {
	expression string
	since      int64 // the subscription's version
	seen       time.Time
}

// RemoteAddr is where the consumer asked from last.
func (m *member) RemoteAddr() netip.AddrPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.addr
}

// NotifyMembersChanged does nothing: consumers of this protocol divide no queues
// among themselves.
func (m *member) NotifyMembersChanged(string) {}

// join makes who asks a member of its group until leave, and for a while after.
// A missing topic has no members.
func (t *members) join(c *call, group string) (leave func(), err error) {
	if _, ok := t.broker.Topic(c.topic); !ok {
		return func() {}, nil
	}
	m, err := t.open(memberKey{group, c.from.Addr()}, c.from)
	if err != nil {
		return nil, err
	}
	if hb := m.ask(c.topic, c.query.Get("tag"), t.now()); hb != nil {
		hb.Connection = c.conn()
		if _, err := t.broker.Heartbeat(m, hb); err != nil {
			m.unbeaten()
			m.leave(t.now())
			return nil, err
		}
	}
	return func() { m.leave(t.now()) }, nil
}

func (t *members) open(k memberKey, from netip.AddrPort) (*member, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.m[k]
	if m == nil {
		if len(t.m) >= maxMembers {
			return nil, refused(throttled, "%d consumers ask for messages already", len(t.m))
		}
		m = &member{memberKey: k, topics: map[string]want{}}
		t.m[k] = m
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.addr, m.seen = from, t.now()
	m.asks++
	return m, nil
}

// ask notes what a member wants of a topic, and gives the heartbeat to be sent,
// nil where the core knows already.
func (m *member) ask(topic, expression string, now time.Time) *broker.Heartbeat {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, known := m.topics[topic]
	next := want{expression, old.since, now}
	if !known || old.expression != expression {
		next.since = max(old.since+1, now.UnixMilli())
	}
	m.topics[topic] = next
	if next.since == old.since && now.Sub(m.beaten) < beatEvery {
		return nil
	}
	m.beaten = now
	maps.DeleteFunc(m.topics, func(_ string, w want) bool { return now.Sub(w.seen) > memberSilence })
	b := broker.ConsumerBeat{
		Group: m.group, ConsumeType: "CONSUME_ACTIVELY", MessageModel: "CLUSTERING", ConsumeFrom: "CONSUME_FROM_LAST_OFFSET",
	}
	for _, name := range slices.Sorted(maps.Keys(m.topics)) {
		w := m.topics[name]
		if strings.TrimSpace(w.expression) == "" {
			w.expression = "*"
		}
		b.Subscriptions = append(b.Subscriptions, broker.Subscription{Topic: name, Expression: w.expression, Type: "TAG", Version: w.since})
	}
	return &broker.Heartbeat{
		ClientID: "HTTP@" + m.ip.String(), Language: "HTTP", Version: versionOfClients, Consumers: []broker.ConsumerBeat{b},
	}
}

// unbeaten has the next ask tell the core again.
func (m *member) unbeaten() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.beaten = time.Time{}
}

func (m *member) leave(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asks--
	m.seen = now
}

// silent reports whether nobody has asked for long.
func (m *member) silent(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asks == 0 && now.Sub(m.seen) > memberSilence
}

// forgetSilent takes the consumers that have stopped asking out of their groups.
func (t *members) forgetSilent() {
	now := t.now()
	var gone []*member
	t.mu.Lock()
	for k, m := range t.m {
		if m.silent(now) {
			delete(t.m, k)
			gone = append(gone, m)
		}
	}
	t.mu.Unlock()
	for _, m := range gone {
		t.broker.Disconnect(m)
	}
}
