package route

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// Limits of a Table.
const (
	defaultAlive  = 120 * time.Second // a member's heartbeat timeout unless it names one
	maxAlive      = time.Hour
	sweepInterval = 5 * time.Second
	// MaxMembers bounds the members of a Table.
	MaxMembers = 10_000
)

// Permission bits of a topic.
const (
	permWrite = 2
	permRead  = 4
)

// Bits of a topic's system flag.
const (
	sysFlagUnit    = 1
	sysFlagUnitSub = 2
)

// Topic is what a route needs to know of a topic of one broker group.
type Topic struct {
	Name        string
	ReadQueues  int32
	WriteQueues int32
	Perm        int32
	SysFlag     int32
}

// Topics is a source of topics in this process. Its methods may be called
// concurrently and must be quick.
type Topics interface {
	Topic(name string) (Topic, bool)
	All() []Topic
}

// Member is one server of a broker group.
type Member struct {
	Cluster string
	Broker  string // name of the broker group
	ID      int64  // 0 is the leader
	Addr    string // host and port as clients dial it
	HAAddr  string
	Zone    string
	// ActingMaster lets 5.x clients use the lowest follower for what doesn't
	// need a leader.
	ActingMaster bool
}

// KV keeps the name server's key-value configuration. meta.Table is one.
type KV interface {
	Get(key string, into any) (bool, error)
	Put(key string, v any) error
	Delete(key string) error
	Scan(prefix string, fn func(key string, raw []byte) error) error
}

// Config sets up a Table.
type Config struct {
	KV     KV // nil refuses codes 100 and 102 and finds nothing
	Now    func() time.Time
	Logger *slog.Logger
}

// Table is the routes of one name server. Its methods may be called
// concurrently.
type Table struct {
	cfg Config

	mu      sync.RWMutex
	members map[memberKey]*member
	wiped   map[string]bool // broker groups without write permission
}

type memberKey struct {
	broker string
	id     int64
}

// member is an entry of the table. All but seen, which Table.mu guards, is
// never changed.
type member struct {
	Member
	topics  Topics        // nil if it brings none
	local   bool          // joined in this process: never expires
	alive   time.Duration // heartbeat timeout
	seen    time.Time
	via     any    // connection of the last registration
	version []byte // data version as the member sent it
}

// New is an empty table.
func New(cfg Config) *Table {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Table{cfg: cfg, members: make(map[memberKey]*member), wiped: make(map[string]bool)}
}

// Join adds a server of this process; topics is nil for one that has none of
// its own. It stays until leave is called.
func (t *Table) Join(m Member, topics Topics) (leave func()) {
	e := &member{Member: m, topics: topics, local: true}
	key := memberKey{m.Broker, m.ID}
	t.mu.Lock()
	t.members[key] = e
	t.mu.Unlock()
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.members[key] == e {
			delete(t.members, key)
		}
	}
}

// register adds or refreshes a server that announced itself over the network.
// It is refused, false, where the table is full or a server of this process
// has its place.
func (t *Table) register(e *member) bool {
	key := memberKey{e.Broker, e.ID}
	e.seen = t.cfg.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.members[key]
	if old != nil && old.local || old == nil && len(t.members) >= MaxMembers {
		return false
	}
	if old == nil || old.Addr != e.Addr {
		t.cfg.Logger.Info("member registered", slog.String("broker", e.Broker), slog.Int64("id", e.ID),
			slog.String("addr", e.Addr))
	}
	t.members[key] = e
	return true
}

// unregister forgets a server that said goodbye.
func (t *Table) unregister(m Member) {
	t.forget("member unregistered", func(e *member) bool {
		return e.Broker == m.Broker && e.ID == m.ID && e.Addr == m.Addr
	})
}

// touch keeps a server alive that sends heartbeats between registrations.
func (t *Table) touch(broker, addr string) bool {
	now := t.cfg.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	found := false
	for _, e := range t.members {
		if e.Broker == broker && e.Addr == addr {
			e.seen, found = now, true
		}
	}
	return found
}

// Expire forgets the servers that have been silent for too long.
func (t *Table) Expire() {
	now := t.cfg.Now()
	t.forget("member silent", func(e *member) bool { return now.Sub(e.seen) > e.alive })
}

// connectionEnded forgets the servers that registered over a connection.
func (t *Table) connectionEnded(via any) {
	t.forget("member's connection ended", func(e *member) bool { return e.via == via })
}

func (t *Table) forget(why string, gone func(*member) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.members, func(_ memberKey, e *member) bool {
		if e.local || !gone(e) {
			return false
		}
		t.cfg.Logger.Info(why, slog.String("broker", e.Broker), slog.Int64("id", e.ID), slog.String("addr", e.Addr))
		return true
	})
}

// Run expires silent members until ctx ends.
func (t *Table) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.Expire()
		case <-ctx.Done():
			return nil
		}
	}
}

// group is one broker group: its members by id, the first one first.
type group struct {
	broker  string
	members []*member
	wiped   bool
}

// topics is the source of the group's topics, nil if none.
func (g *group) topics() Topics {
	for _, m := range g.members {
		if m.topics != nil {
			return m.topics
		}
	}
	return nil
}

// groups gives every broker group by name.
func (t *Table) groups() []group {
	t.mu.RLock()
	by := make(map[string]*group)
	for _, e := range t.members {
		g := by[e.Broker]
		if g == nil {
			g = &group{broker: e.Broker, wiped: t.wiped[e.Broker]}
			by[e.Broker] = g
		}
		g.members = append(g.members, e)
	}
	t.mu.RUnlock()
	out := make([]group, 0, len(by))
	for _, g := range by {
		slices.SortFunc(g.members, func(a, b *member) int { return cmp.Compare(a.ID, b.ID) })
		out = append(out, *g)
	}
	slices.SortFunc(out, func(a, b group) int { return cmp.Compare(a.broker, b.broker) })
	return out
}

// Route is who serves a topic.
type Route struct {
	Queues  []QueueSet
	Brokers []BrokerAddrs
}

// QueueSet is the queues of a topic in one broker group.
type QueueSet struct {
	Broker string
	Topic
}

// BrokerAddrs is the members of one broker group.
type BrokerAddrs struct {
	Cluster      string
	Broker       string
	Zone         string
	ActingMaster bool
	Addrs        []IDAddr // by id
}

// IDAddr is where one member is.
type IDAddr struct {
	ID   int64
	Addr string
}

// Route finds a topic; ok is false where no broker group has it.
func (t *Table) Route(topic string) (r Route, ok bool) {
	for _, g := range t.groups() {
		src := g.topics()
		if src == nil {
			continue
		}
		tp, has := src.Topic(topic)
		if !has {
			continue
		}
		if g.wiped {
			tp.Perm &^= permWrite
		}
		r.Queues = append(r.Queues, QueueSet{Broker: g.broker, Topic: tp})
		r.Brokers = append(r.Brokers, g.addrs())
	}
	return r, len(r.Queues) > 0
}

// Brokers gives every broker group by name.
func (t *Table) Brokers() []BrokerAddrs {
	groups := t.groups()
	out := make([]BrokerAddrs, len(groups))
	for i := range groups {
		out[i] = groups[i].addrs()
	}
	return out
}

func (g *group) addrs() BrokerAddrs {
	first := g.members[0]
	b := BrokerAddrs{Cluster: first.Cluster, Broker: g.broker, Zone: first.Zone}
	for _, m := range g.members {
		b.ActingMaster = b.ActingMaster || m.ActingMaster
		b.Addrs = append(b.Addrs, IDAddr{m.ID, m.Addr})
	}
	return b
}

// names gives the topics that keep accepts, sorted.
func (t *Table) names(keep func(g *group, tp Topic) bool) []string {
	set := make(map[string]struct{})
	for _, g := range t.groups() {
		src := g.topics()
		if src == nil {
			continue
		}
		for _, tp := range src.All() {
			if keep(&g, tp) {
				set[tp.Name] = struct{}{}
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// setWiped takes write permission from a broker group or gives it back, and
// counts the topics concerned.
func (t *Table) setWiped(broker string, wiped bool) int {
	n := 0
	for _, g := range t.groups() {
		if src := g.topics(); g.broker == broker && src != nil {
			n += len(src.All())
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if wiped {
		t.wiped[broker] = true
	} else {
		delete(t.wiped, broker)
	}
	return n
}

// dropTopic forgets a topic of brokers that registered over the network, in
// one cluster or, with cluster "", in all. Brokers of this process are asked
// anew at every query, so for them the topic ends with its deletion there.
func (t *Table) dropTopic(topic, cluster string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, e := range t.members {
		if set, ok := e.topics.(topicSet); ok && !e.local && (cluster == "" || e.Cluster == cluster) {
			next := *e
			left := maps.Clone(set)
			delete(left, topic)
			next.topics = left
			t.members[key] = &next
		}
	}
}

// topicSet is the topics that a registration brought. It is never changed.
type topicSet map[string]Topic

func (s topicSet) Topic(name string) (Topic, bool) {
	tp, ok := s[name]
	return tp, ok
}

func (s topicSet) All() []Topic { return slices.Collect(maps.Values(s)) }
