package grpc

import (
	"context"
	"net/netip"
	"sync"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"varve/broker"
)

// Limits of clients.
const (
	maxClients = 100_000
	sweepEvery = 5 * time.Second
	// clientSilence is how long a client without a telemetry stream may say
	// nothing. Heartbeats come every 10 s.
	clientSilence = 30 * time.Second
	// versionOfClients is the remoting version that stands for clients of this
	// protocol in the tools' lists: 5.0.0.
	versionOfClients = 413
)

// client is one client as the core's broker.Client, whatever connections it
// has.
type client struct {
	id       string
	addr     netip.AddrPort // of its first call
	language string
	life     context.Context // ends when the client has left
	end      context.CancelFunc

	mu       sync.Mutex
	settings *v2.Settings // as the client sent them; never changed
	since    int64        // of settings, in milliseconds: the subscriptions' version
	stream   *telemetry   // the newest; nil where there is none
	seen     time.Time    // last sign of life
	gone     bool
	renewals map[string]*renewal                    // by the handle that the client knows
	asked    map[string]chan<- *v2.TelemetryCommand // questions without an answer, by nonce
	nonces   uint64
}

// RemoteAddr is where the client connects from.
func (c *client) RemoteAddr() netip.AddrPort { return c.addr }

// NotifyMembersChanged does nothing: clients of this protocol divide no queues
// among themselves.
func (c *client) NotifyMembersChanged(string) {}

// clients are the clients by id.
type clients struct {
	mu sync.RWMutex
	m  map[string]*client
}

func newClients() *clients { return &clients{m: map[string]*client{}} }

func (t *clients) get(id string) *client {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.m[id]
}

// getOrMake finds a client, or makes it where there is room.
func (t *clients) getOrMake(who caller, language string, now time.Time) (*client, error) {
	if c := t.get(who.id); c != nil {
		return c, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.m[who.id]; c != nil {
		return c, nil
	}
	if len(t.m) >= maxClients {
		return nil, refused(v2.Code_TOO_MANY_REQUESTS, "%d clients are connected", len(t.m))
	}
	c := &client{id: who.id, addr: who.addr, language: language, seen: now, renewals: map[string]*renewal{}}
	c.life, c.end = context.WithCancel(context.Background())
	t.m[c.id] = c
	return c, nil
}

func (t *clients) remove(c *client) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m[c.id] == c {
		delete(t.m, c.id)
	}
}

func (t *clients) all() []*client {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]*client, 0, len(t.m))
	for _, c := range t.m {
		out = append(out, c)
	}
	return out
}

// Stats is the front's figures.
type Stats struct {
	Clients     int // known
	Connections int
	Renewals    int   // handles that are renewed
	InLine      int   // sends that wait for their connection's turn
	Arriving    int64 // bytes of calls that aren't whole, without those that large messages were let come
	Shed        int64 // calls ended because they had too much arriving, or took too long; since the start
}

// Stats gives the front's figures.
func (f *Front) Stats() Stats {
	all := f.clients.all()
	s := Stats{Clients: len(all), Connections: f.conns.Open(), InLine: int(f.lined.sends.Load()), Arriving: f.doors.small.Load(), Shed: f.doors.shed.Load()}
	for _, c := range all {
		c.mu.Lock()
		s.Renewals += len(c.renewals)
		c.mu.Unlock()
	}
	return s
}

// current is what a client last said of itself, nil where nothing is known.
func (c *client) current() *v2.Settings {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.settings
}

// set takes a client's settings over.
func (c *client) set(s *v2.Settings, now time.Time) (before *v2.Settings) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before = c.settings
	c.settings, c.seen = s, now
	c.since = max(c.since+1, now.UnixMilli())
	return before
}

// alive notes a sign of life.
func (c *client) alive(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = now
}

// silent reports whether a client is to be given up.
func (c *client) silent(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stream == nil && now.Sub(c.seen) > clientSilence
}

// attach makes a stream the one over which the client is spoken to.
func (c *client) attach(t *telemetry, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stream, c.seen = t, now
}

func (c *client) detach(t *telemetry, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stream == t {
		c.stream, c.seen = nil, now
	}
}

// beat tells the core which groups a client is in.
func (f *Front) beat(ctx context.Context, c *client) error {
	c.mu.Lock()
	s, since := c.settings, c.since
	c.mu.Unlock()
	hb := broker.Heartbeat{ClientID: c.id, Language: c.language, Version: versionOfClients}
	if conn := connectionOf(ctx); conn != nil {
		hb.Connection = conn
	}
	switch {
	case s.GetPublishing() != nil:
		for _, t := range s.GetPublishing().GetTopics() {
			// A producer has no group in this protocol: its topic stands for it.
			hb.Producers = append(hb.Producers, nameOf(t))
		}
	case s.GetSubscription() != nil:
		sub := s.GetSubscription()
		b := broker.ConsumerBeat{
			Group: nameOf(sub.GetGroup()), ConsumeType: consumeTypes[s.GetClientType()],
			MessageModel: "CLUSTERING", ConsumeFrom: "CONSUME_FROM_LAST_OFFSET",
		}
		for _, e := range sub.GetSubscriptions() {
			b.Subscriptions = append(b.Subscriptions, broker.Subscription{
				Topic: nameOf(e.GetTopic()), Expression: e.GetExpression().GetExpression(),
				Type: expressionType(e.GetExpression()), Version: since,
			})
		}
		hb.Consumers = []broker.ConsumerBeat{b}
	}
	_, err := f.broker.Heartbeat(c, &hb)
	return err
}

var consumeTypes = map[v2.ClientType]string{
	v2.ClientType_PUSH_CONSUMER:   "CONSUME_PASSIVELY",
	v2.ClientType_SIMPLE_CONSUMER: "CONSUME_ACTIVELY",
	v2.ClientType_PULL_CONSUMER:   "CONSUME_ACTIVELY",
}

// expressionType is a filter's type as the core names it.
func expressionType(e *v2.FilterExpression) string {
	if e.GetType() == v2.FilterType_SQL {
		return "SQL92"
	}
	return "TAG"
}

// present is ctx, which ends with the client's goodbye too.
func (c *client) present(ctx context.Context) (context.Context, context.CancelFunc) {
	if c == nil {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	forget := context.AfterFunc(c.life, func() { cancel(broker.ErrMemberLeft) })
	return ctx, func() {
		forget()
		cancel(nil)
	}
}

// leave takes a client out of its groups, ends its receives and lets go of what
// it held.
func (f *Front) leave(c *client) {
	f.clients.remove(c)
	c.mu.Lock()
	c.gone, c.stream = true, nil
	held := c.renewals
	c.renewals = nil
	c.mu.Unlock()
	c.end()
	f.broker.Disconnect(c)
	f.letGo(held)
}

// expireClients gives up the silent clients and renews for the others.
func (f *Front) expireClients() {
	now := f.cfg.Now()
	for _, c := range f.clients.all() {
		if c.silent(now) {
			f.leave(c)
			continue
		}
		f.renew(c, now)
	}
}
