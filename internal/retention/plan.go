package retention

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"varve/internal/mq"
)

// QueueFiles is one queue's archive, its files in offset order.
type QueueFiles struct {
	Queue mq.Queue
	Files []File
}

// Guards stand above rules and quotas.
type Guards struct {
	// Held names the hold that keeps a file, "" where none does; nil holds
	// nothing. It is asked only of files that something would let go.
	Held func(mq.Queue, File) string
	// Leases are those in force.
	Leases []Pin
}

// Pin is what a lease keeps: in each queue the files that hold its position or
// come after it.
type Pin struct {
	Lease     string
	Positions map[mq.Queue]int64
	// MaxBytes bounds what it keeps of what would go without it; 0 is no bound.
	// Above it the oldest files go.
	MaxBytes int64
}

// Keeper is a kind of guard.
type Keeper string

// The kinds.
const (
	ByHold   Keeper = "hold"
	ByLease  Keeper = "lease"
	ByObject Keeper = "object" // it shares one with a file that stays
)

// Kept is the first file of a queue that a rule or quota would let go and a
// guard keeps. What comes after it stays with it.
type Kept struct {
	File  File   `json:"file"`
	Rule  string `json:"rule"`
	Cause Cause  `json:"cause"`
	By    Keeper `json:"by"`
	Name  string `json:"name"` // of the hold or lease, or who shares the object
}

// QueuePlan is what is decided about one queue.
type QueuePlan struct {
	Queue    mq.Queue
	Archive  Decision
	Files    []File    // before
	Removals []Removal // a prefix of Files
	Kept     *Kept
}

// TenantUse is how a tenant stands against its quota.
type TenantUse struct {
	Tenant string `json:"tenant"`
	Limit  Bytes  `json:"limit"`
	Used   int64  `json:"used"`
	// After is what is used once the plan is carried out.
	After int64 `json:"after"`
	// Over is what is left above the limit although all went that may: the rest is
	// held, leased, kept for ever by its rule, or the newest file of its queue.
	Over int64 `json:"over,omitempty"`
}

// LeaseUse is what a lease keeps that would go without it.
type LeaseUse struct {
	Lease string `json:"lease"`
	Bytes int64  `json:"bytes"`
	// Lost is what it doesn't keep any more, for its bound is reached.
	Lost int64 `json:"lost,omitempty"`
}

// Plan is what goes now, of every queue that was asked about.
type Plan struct {
	Queues  []QueuePlan
	Tenants []TenantUse
	Leases  []LeaseUse
}

// Plan decides what goes of all the queues together: first by their rules, then
// by the tenants' quotas, and never what a guard keeps.
func (p Policy) Plan(in []QueueFiles, g Guards, now time.Time) Plan {
	pl := &planner{policy: p, guards: g, pins: make([]LeaseUse, len(g.Leases))}
	for i, l := range g.Leases {
		pl.pins[i].Lease = l.Lease
	}
	for _, q := range in {
		d := p.Match(q.Queue)
		pl.queues = append(pl.queues, &QueuePlan{Queue: q.Queue, Archive: d, Files: q.Files, Removals: cut(d, q.Files, now)})
	}
	for _, q := range pl.queues {
		pl.hold(q)
	}
	for i := range g.Leases {
		pl.lease(i)
	}
	tenants := pl.together()
	out := Plan{Tenants: tenants, Leases: pl.pins}
	for _, q := range pl.queues {
		out.Queues = append(out.Queues, *q)
	}
	return out
}

// planner is a Plan in the making.
type planner struct {
	policy Policy
	guards Guards
	queues []*QueuePlan
	pins   []LeaseUse

	objects map[string][]place // those that several queues share
	stuck   map[string]string  // of those that stay, why
}

// hold ends what goes of a queue at the first file that is held.
func (pl *planner) hold(q *QueuePlan) {
	if pl.guards.Held == nil {
		return
	}
	for i, r := range q.Removals {
		if name := pl.guards.Held(q.Queue, r.File); name != "" {
			q.keep(i, ByHold, name)
			return
		}
	}
}

func (q *QueuePlan) keep(i int, by Keeper, name string) {
	r := q.Removals[i]
	q.Kept = &Kept{File: r.File, Rule: r.Rule, Cause: r.Cause, By: by, Name: name}
	q.Removals = q.Removals[:i:i]
}

// lease ends what goes of each queue at the first file that a lease keeps: of
// all that it wants, the newest up to its bound.
func (pl *planner) lease(i int) {
	pin, use := pl.guards.Leases[i], &pl.pins[i]
	type wanted struct {
		q *QueuePlan
		i int
		f File
	}
	var all []wanted
	for _, q := range pl.queues {
		at, ok := pin.Positions[q.Queue]
		if !ok {
			continue
		}
		for i, r := range q.Removals {
			if r.File.Offsets.To > at {
				all = append(all, wanted{q, i, r.File})
				use.Bytes += r.File.Bytes
			}
		}
	}
	slices.SortStableFunc(all, func(a, b wanted) int { return compareAge(a.q.Queue, a.f, b.q.Queue, b.f) })
	for pin.MaxBytes > 0 && use.Bytes > pin.MaxBytes {
		use.Bytes -= all[0].f.Bytes
		use.Lost += all[0].f.Bytes
		all = all[1:]
	}
	for _, w := range all {
		if w.i < len(w.q.Removals) {
			w.q.keep(w.i, ByLease, pin.Lease)
		}
	}
}

// compareAge orders files by the store time of their last message, the oldest
// first.
func compareAge(aq mq.Queue, a File, bq mq.Queue, b File) int {
	return cmp.Or(
		cmp.Compare(a.LastStoreMillis, b.LastStoreMillis),
		strings.Compare(aq.Topic, bq.Topic), strings.Compare(aq.Broker, bq.Broker), cmp.Compare(aq.ID, bq.ID),
		cmp.Compare(a.Offsets.From, b.Offsets.From),
	)
}

// leased names the lease that keeps a file from a quota, and counts the file.
func (pl *planner) leased(q mq.Queue, f File) string {
	for i, pin := range pl.guards.Leases {
		at, ok := pin.Positions[q]
		if !ok || f.Offsets.To <= at {
			continue
		}
		use := &pl.pins[i]
		if pin.MaxBytes > 0 && use.Bytes+f.Bytes > pin.MaxBytes {
			use.Lost += f.Bytes
			continue
		}
		use.Bytes += f.Bytes
		return pin.Lease
	}
	return ""
}
