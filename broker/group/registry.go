package group

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"varve/internal/mq"
)

// Client is one connected client as its front sees it. Two values are the same
// connection if and only if they are equal, so implementations are pointers.
type Client interface {
	// RemoteAddr is where the client connects from.
	RemoteAddr() netip.AddrPort
	// NotifyMembersChanged tells the client that the members of a consumer
	// group it is in have changed. It must not block.
	NotifyMembersChanged(group string)
}

// Subscription is what a group wants of a topic. The JSON names are
// RocketMQ's.
type Subscription struct {
	Topic       string   `json:"topic"`
	Expression  string   `json:"subString"`
	Type        string   `json:"expressionType"` // TAG (also where empty) or SQL92
	Version     int64    `json:"subVersion"`
	Tags        []string `json:"tagsSet"`
	Codes       []int32  `json:"codeSet"`
	ClassFilter bool     `json:"classFilterMode"`

	// Filter is Expression compiled, nil where it keeps all. BadFilter says
	// why it couldn't be.
	Filter    mq.Filter `json:"-"`
	BadFilter error     `json:"-"`
}

// Beat is what one client says of its membership in one consumer group.
type Beat struct {
	Group         string
	ClientID      string
	Language      string
	Version       int
	ConsumeType   string // CONSUME_PASSIVELY, CONSUME_ACTIVELY, CONSUME_POP
	MessageModel  string // CLUSTERING, BROADCASTING
	ConsumeFrom   string // CONSUME_FROM_LAST_OFFSET, …
	Subscriptions []Subscription
	Fingerprint   int32
	WithoutSub    bool // keep the subscriptions of an earlier beat
	Unit          bool
}

// Member is one client of a group.
type Member struct {
	Client      Client
	ClientID    string
	Language    string
	Version     int
	LastBeat    time.Time
	fingerprint int32
	wish        *wish // nil where its heartbeats never said
}

// Members is a consumer group as it is now.
type Members struct {
	ConsumeType   string
	MessageModel  string
	ConsumeFrom   string
	Members       []Member
	Subscriptions []*Subscription
}

type consumers struct {
	consumeType, messageModel, consumeFrom string
	members                                map[Client]*Member
	subs                                   map[string]*Subscription
	wishes                                 map[string]*wish // what members subscribe to, by its text
}

// Registry is which clients are in which groups.
type Registry struct {
	compile func(typ, expr string) (mq.Filter, error)

	mu        sync.RWMutex
	consumers map[string]*consumers
	producers map[string]map[Client]*Member
	// groups of a client, so that the end of a connection costs no search
	consumerOf map[Client]map[string]struct{}
	producerOf map[Client]map[string]struct{}

	told    map[string]string   // what Changed said last of groups that differ
	toTell  map[string]struct{} // groups for Changed to look at
	telling atomic.Bool         // toTell isn't empty
}

// NewRegistry makes an empty registry. compile turns a subscription's
// expression into a filter, once for each new version.
func NewRegistry(compile func(typ, expr string) (mq.Filter, error)) *Registry {
	return &Registry{
		compile:    compile,
		consumers:  map[string]*consumers{},
		producers:  map[string]map[Client]*Member{},
		consumerOf: map[Client]map[string]struct{}{},
		producerOf: map[Client]map[string]struct{}{},
		told:       map[string]string{},
		toTell:     map[string]struct{}{},
	}
}

// Beat takes one client's heartbeat for one consumer group. notify is the
// members to be told where the group changed. resend is true where the client
// left out subscriptions that the registry doesn't have.
func (r *Registry) Beat(c Client, b *Beat, now time.Time) (notify []Client, resend bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.consumers[b.Group]
	if g == nil {
		g = &consumers{members: map[Client]*Member{}, subs: map[string]*Subscription{}, wishes: map[string]*wish{}}
		r.consumers[b.Group] = g
	}
	g.consumeType, g.messageModel, g.consumeFrom = b.ConsumeType, b.MessageModel, b.ConsumeFrom
	m := g.members[c]
	changed := m == nil
	if m == nil {
		m = &Member{Client: c}
		g.members[c] = m
		link(r.consumerOf, c, b.Group)
	}
	if b.WithoutSub {
		resend = len(g.subs) == 0 || m.fingerprint != b.Fingerprint
	} else {
		changed = r.subscribe(g, b.Subscriptions) || changed
		m.fingerprint = b.Fingerprint
		r.wants(b.Group, g, m, wishOf(b.Subscriptions))
	}
	m.ClientID, m.Language, m.Version, m.LastBeat = b.ClientID, b.Language, b.Version, now
	if changed {
		notify = g.clients()
	}
	return notify, resend
}

// subscribe takes over a member's subscriptions: of two that differ the one
// with the higher version wins, and topics that the newest member doesn't name
// go. It reports whether the set of topics changed or an expression did.
func (r *Registry) subscribe(g *consumers, subs []Subscription) (changed bool) {
	named := make(map[string]struct{}, len(subs))
	for i := range subs {
		s := &subs[i]
		named[s.Topic] = struct{}{}
		old := g.subs[s.Topic]
		if old != nil && s.Version <= old.Version {
			continue
		}
		same := old != nil && old.Type == s.Type && old.Expression == s.Expression && old.ClassFilter == s.ClassFilter
		next := *s
		if same {
			next.Filter, next.BadFilter = old.Filter, old.BadFilter
		} else if !s.ClassFilter {
			next.Filter, next.BadFilter = r.compile(s.Type, s.Expression)
		}
		g.subs[s.Topic] = &next
		changed = changed || !same
	}
	for topic := range g.subs {
		if _, ok := named[topic]; !ok {
			delete(g.subs, topic)
			changed = true
		}
	}
	return changed
}

func link(of map[Client]map[string]struct{}, c Client, group string) {
	if of[c] == nil {
		of[c] = map[string]struct{}{}
	}
	of[c][group] = struct{}{}
}

func unlink(of map[Client]map[string]struct{}, c Client, group string) {
	delete(of[c], group)
	if len(of[c]) == 0 {
		delete(of, c)
	}
}

func (g *consumers) clients() []Client {
	out := make([]Client, 0, len(g.members))
	for c := range g.members {
		out = append(out, c)
	}
	return out
}

// BeatProducer takes one client's heartbeat for one producer group.
func (r *Registry) BeatProducer(c Client, group, clientID, language string, version int, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.producers[group] == nil {
		r.producers[group] = map[Client]*Member{}
	}
	m := r.producers[group][c]
	if m == nil {
		m = &Member{Client: c}
		r.producers[group][c] = m
		link(r.producerOf, c, group)
	}
	m.ClientID, m.Language, m.Version, m.LastBeat = clientID, language, version, now
}

// LeaveConsumers takes a client out of a consumer group. notify is the members
// that remain, nil where the client wasn't in it.
func (r *Registry) LeaveConsumers(c Client, group string) (notify []Client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leave(c, group)
}

func (r *Registry) leave(c Client, group string) (notify []Client) {
	g := r.consumers[group]
	if g == nil || g.members[c] == nil {
		return nil
	}
	r.unwant(group, g, g.members[c])
	delete(g.members, c)
	unlink(r.consumerOf, c, group)
	if len(g.members) == 0 {
		delete(r.consumers, group)
		return nil
	}
	return g.clients()
}

// LeaveProducers takes a client out of a producer group.
func (r *Registry) LeaveProducers(c Client, group string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaveProducers(c, group)
}

func (r *Registry) leaveProducers(c Client, group string) {
	delete(r.producers[group], c)
	if len(r.producers[group]) == 0 {
		delete(r.producers, group)
	}
	unlink(r.producerOf, c, group)
}

// Disconnect takes a client out of all its groups. notify is the members that
// remain, by group.
func (r *Registry) Disconnect(c Client) (notify map[string][]Client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for group := range r.consumerOf[c] {
		if n := r.leave(c, group); n != nil {
			if notify == nil {
				notify = map[string][]Client{}
			}
			notify[group] = n
		}
	}
	for group := range r.producerOf[c] {
		r.leaveProducers(c, group)
	}
	return notify
}

// Expire takes out every member whose last heartbeat was before a time. notify
// is the members that remain, by group.
func (r *Registry) Expire(before time.Time) (notify map[string][]Client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	notify = map[string][]Client{}
	for name, g := range r.consumers {
		for c, m := range g.members {
			if m.LastBeat.Before(before) {
				if n := r.leave(c, name); n != nil {
					notify[name] = n
				} else {
					delete(notify, name)
				}
			}
		}
	}
	for name, members := range r.producers {
		for c, m := range members {
			if m.LastBeat.Before(before) {
				r.leaveProducers(c, name)
			}
		}
	}
	return notify
}

// ClientIDs gives the ids of a consumer group's members, sorted, each once.
func (r *Registry) ClientIDs(group string) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	g := r.consumers[group]
	if g == nil {
		return nil
	}
	ids := make([]string, 0, len(g.members))
	for _, m := range g.members {
		ids = append(ids, m.ClientID)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Subscription finds what a group wants of a topic, nil where it doesn't, and
// how it consumes. known is false where the group has no member.
func (r *Registry) Subscription(group, topic string) (sub *Subscription, model string, known bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	g := r.consumers[group]
	if g == nil {
		return nil, "", false
	}
	return g.subs[topic], g.messageModel, true
}

// Find gives the connection of a consumer group's member.
func (r *Registry) Find(group, clientID string) (Client, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var found *Member
	if g := r.consumers[group]; g != nil {
		for _, m := range g.members {
			if m.ClientID == clientID && (found == nil || m.LastBeat.After(found.LastBeat)) {
				found = m
			}
		}
	}
	if found == nil {
		return nil, false
	}
	return found.Client, true
}

// Consumers gives a consumer group as it is now; ok is false where it has no
// member.
func (r *Registry) Consumers(group string) (out Members, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	g := r.consumers[group]
	if g == nil {
		return Members{}, false
	}
	out = Members{ConsumeType: g.consumeType, MessageModel: g.messageModel, ConsumeFrom: g.consumeFrom, Members: sorted(g.members)}
	for _, s := range g.subs {
		out.Subscriptions = append(out.Subscriptions, s)
	}
	slices.SortFunc(out.Subscriptions, func(a, b *Subscription) int { return strings.Compare(a.Topic, b.Topic) })
	return out, true
}

// Producers gives the members of a producer group.
func (r *Registry) Producers(group string) []Member {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return sorted(r.producers[group])
}

// ProducerGroups gives the names of the producer groups with members, sorted.
func (r *Registry) ProducerGroups() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]string, 0, len(r.producers))
	for g := range r.producers {
		out = append(out, g)
	}
	slices.Sort(out)
	return out
}

// SubscribedBy gives the consumer groups with members that want a topic,
// sorted.
func (r *Registry) SubscribedBy(topic string) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []string
	for name, g := range r.consumers {
		if g.subs[topic] != nil {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func sorted(members map[Client]*Member) []Member {
	out := make([]Member, 0, len(members))
	for _, m := range members {
		out = append(out, *m)
	}
	slices.SortFunc(out, func(a, b Member) int { return strings.Compare(a.ClientID, b.ClientID) })
	return out
}
