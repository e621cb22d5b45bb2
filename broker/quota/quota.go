package quota

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"varve/internal/meta"
	"varve/internal/mq"
)

// ErrOver says that a tenant has used up what it may.
var ErrOver = errors.New("over the tenant's quota")

// Everyone is the tenant whose limits count for all without their own.
const Everyone = "*"

// Limits are what one tenant may. 0 is no limit.
type Limits struct {
	Tenant       string `json:"tenant"`
	SendMessages int64  `json:"send_messages,omitempty"` // a second
	SendBytes    int64  `json:"send_bytes,omitempty"`
	ReadMessages int64  `json:"read_messages,omitempty"`
	ReadBytes    int64  `json:"read_bytes,omitempty"`
	Connections  int64  `json:"connections,omitempty"` // at once
}

func (l *Limits) check() error {
	if l.Tenant == "" || len(l.Tenant) > 127 || strings.ContainsRune(l.Tenant, '%') {
		return fmt.Errorf("tenant %q is not a namespace", l.Tenant)
	}
	for _, v := range []struct {
		key string
		n   int64
	}{
		{"send_messages", l.SendMessages},
		{"send_bytes", l.SendBytes},
		{"read_messages", l.ReadMessages},
		{"read_bytes", l.ReadBytes},
		{"connections", l.Connections},
	} {
		if v.n < 0 {
			return fmt.Errorf("quota of tenant %q: %s: %d is less than 0; 0 is no limit", l.Tenant, v.key, v.n)
		}
	}
	return nil
}

// Table is the limits of all tenants and what they use.
type Table struct {
	limits *meta.Settings[Limits]
	now    func() time.Time
	on     atomic.Bool

	mu      sync.Mutex
	refused map[refusal]int64
	uses    map[string]*use
	conns   map[any][]string // tenants of each
	joined  map[string]int64 // connections of a tenant
}

// refusal is what a tenant was refused.
type refusal struct{ tenant, what string }

// What Refusal.What says.
const (
	OfSends   = "send"
	OfReads   = "read"
	OfClients = "connect"
)

// Refusal is how often a tenant was refused something, since the start.
type Refusal struct {
	Tenant string // Everyone for those that came when maxCounted had been, or aren't text
	What   string
	Times  int64
}

// maxCounted bounds the tenants whose refusals are told apart.
const maxCounted = 1000

// use is what a tenant uses.
type use struct {
	send, read [2]bucket // messages, bytes
}

// bucket has what is left of a second.
type bucket struct {
	left float64
	at   time.Time
}

const (
	// maxTenants bounds the tenants that are kept in mind.
	maxTenants = 100_000
	// maxJoined bounds the tenants with a limit that one connection is used for.
	maxJoined = 64
)

// Load reads the limits of a meta store.
func Load(m *meta.Store, now func() time.Time) (*Table, error) {
	t := &Table{now: now, uses: map[string]*use{}, conns: map[any][]string{}, joined: map[string]int64{}, refused: map[refusal]int64{}}
	var err error
	t.limits, err = meta.LoadSettings(m, meta.SettingsOf[Limits]{
		What:  "quota",
		Name:  func(l *Limits) string { return l.Tenant },
		New:   func(tenant string) Limits { return Limits{Tenant: tenant} },
		Check: (*Limits).check,
		Clone: func(l *Limits) *Limits { c := *l; c.Tenant = strings.Clone(l.Tenant); return &c },
		Equal: func(a, b *Limits) bool { return *a == *b },
	})
	if err != nil {
		return nil, err
	}
	t.on.Store(t.limits.Len() > 0)
	return t, nil
}

// On reports whether anybody has a limit.
func (t *Table) On() bool { return t.on.Load() }

// Put sets a tenant's limits.
func (t *Table) Put(l Limits) error {
	_, err := t.limits.Put(l)
	t.on.Store(t.limits.Len() > 0)
	return err
}

// Delete removes a tenant's limits; had is false where there were none.
func (t *Table) Delete(tenant string) (had bool, err error) {
	had, err = t.limits.Delete(tenant)
	t.on.Store(t.limits.Len() > 0)
	return had, err
}

// All gives every tenant's limits.
func (t *Table) All() []Limits {
	out := []Limits{}
	for _, l := range t.limits.All() {
		out = append(out, *l)
	}
	return out
}

// Refused gives how often tenants were over their quota.
func (t *Table) Refused() []Refusal {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Refusal, 0, len(t.refused))
	for r, n := range t.refused {
		out = append(out, Refusal{Tenant: r.tenant, What: r.what, Times: n})
	}
	return out
}

// of finds the limits of a name's tenant and what it uses; nil where it has
// none. mu is held.
func (t *Table) of(name string) (*Limits, *use) {
	tenant, _ := mq.SplitTenant(name)
	l, ok := t.limits.Get(tenant)
	if !ok {
		if l, ok = t.limits.Get(Everyone); !ok {
			return nil, nil
		}
	}
	u := t.uses[tenant]
	if u == nil {
		if len(t.uses) >= maxTenants {
			t.forgetIdle()
		}
		u = &use{}
		t.uses[strings.Clone(tenant)] = u
	}
	return l, u
}

// Send takes messages and bytes for a topic, or says that they are too many:
// ErrOver.
func (t *Table) Send(topic string, messages int, bytes int64) error {
	if !t.on.Load() {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l, u := t.of(topic)
	if l == nil {
		return nil
	}
	if err := t.left(topic, &u.send, OfSends, l.SendMessages, l.SendBytes); err != nil {
		return err
	}
	u.send[0].left -= float64(messages)
	u.send[1].left -= float64(bytes)
	return nil
}

// MayRead says whether a topic may be read now: ErrOver where it may not.
func (t *Table) MayRead(topic string) error {
	if !t.on.Load() {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l, u := t.of(topic)
	if l == nil {
		return nil
	}
	return t.left(topic, &u.read, OfReads, l.ReadMessages, l.ReadBytes)
}

// left says whether anything is left of both rates. mu is held.
func (t *Table) left(topic string, b *[2]bucket, what string, messages, bytes int64) error {
	now, done := t.now(), ""
	if what == OfReads {
		done = " read"
	}
	if !b[0].has(now, messages) {
		return t.refuse(topic, what, "%d messages"+done+" a second", messages)
	}
	if !b[1].has(now, bytes) {
		return t.refuse(topic, what, "%d bytes"+done+" a second", bytes)
	}
	return nil
}

// Read notes what was read of a topic.
func (t *Table) Read(topic string, messages int, bytes int64) {
	if !t.on.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if l, u := t.of(topic); l != nil {
		u.read[0].left -= float64(messages)
		u.read[1].left -= float64(bytes)
	}
}

// Join counts a connection of a group's or topic's tenant, once: ErrOver where
// there are too many. One that is used for several tenants counts for each.
func (t *Table) Join(conn any, name string) error {
	if !t.on.Load() {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	tenant, _ := mq.SplitTenant(name)
	of := t.conns[conn]
	if slices.Contains(of, tenant) {
		return nil
	}
	l, _ := t.of(name)
	if l == nil || l.Connections == 0 {
		return nil
	}
	if t.joined[tenant] >= l.Connections || len(of) >= maxJoined {
		return t.refuse(name, OfClients, "%d connections", l.Connections)
	}
	tenant = strings.Clone(tenant)
	t.conns[conn] = append(of, tenant)
	t.joined[tenant]++
	return nil
}

// Leave forgets a connection.
func (t *Table) Leave(conn any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, tenant := range t.conns[conn] {
		if t.joined[tenant]--; t.joined[tenant] <= 0 {
			delete(t.joined, tenant)
		}
	}
	delete(t.conns, conn)
}

// forgetIdle makes room in uses: who has used nothing for a second has all of
// the next one anyway. mu is held.
func (t *Table) forgetIdle() {
	now := t.now()
	maps.DeleteFunc(t.uses, func(_ string, u *use) bool {
		for _, b := range [...]*bucket{&u.send[0], &u.send[1], &u.read[0], &u.read[1]} {
			if !b.at.IsZero() && (b.left < 0 || now.Sub(b.at) < time.Second) {
				return false
			}
		}
		return true
	})
	if len(t.uses) >= maxTenants {
		clear(t.uses) // they begin a new second
	}
}

// refuse counts a refusal. mu is held.
func (t *Table) refuse(name, what, format string, limit int64) error {
	tenant, _ := mq.SplitTenant(name)
	r := refusal{tenant, what}
	if _, counted := t.refused[r]; !counted {
		if len(t.refused) >= maxCounted || !utf8.ValidString(tenant) {
			r.tenant = Everyone
		}
		r.tenant = strings.Clone(r.tenant)
	}
	t.refused[r]++
	return fmt.Errorf("%w: tenant %q may have "+format, ErrOver, tenant, limit)
}

// has fills the bucket and reports whether anything is in it.
func (b *bucket) has(now time.Time, rate int64) bool {
	if rate == 0 {
		b.left = 0
		return true
	}
	if b.at.IsZero() {
		b.left = float64(rate)
	} else {
		b.left = min(float64(rate), b.left+now.Sub(b.at).Seconds()*float64(rate))
	}
	b.at = now
	return b.left > 0
}
