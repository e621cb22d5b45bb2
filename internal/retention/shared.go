package retention

import (
	"fmt"
	"maps"
	"slices"

	"varve/internal/mq"
)

// place is a file of a queue.
type place struct {
	q *QueuePlan
	i int
}

// goes reports whether it would go.
func (p place) goes() bool { return len(p.q.Removals) > p.i }

// together decides by the tenants' quotas and sees to it that an object which
// several queues share goes as a whole or stays: where one queue's part of it
// stays, so do the others', and what comes after them in their queues. A quota
// that has begun with an object takes the rest of it.
//
// What stays for that reason is found out by trying: the quotas then decide
// anew, without it.
func (pl *planner) together() []TenantUse {
	pl.objects, pl.stuck = map[string][]place{}, map[string]string{}
	for _, q := range pl.queues {
		for i, f := range q.Files {
			if f.Sharing > 0 {
				pl.objects[f.Name] = append(pl.objects[f.Name], place{q, i})
			}
		}
	}
	before := make([]QueuePlan, len(pl.queues))
	for i, q := range pl.queues {
		before[i] = *q
	}
	pins := slices.Clone(pl.pins)
	for {
		pl.keepStuck()
		tenants := pl.quotas()
		if !pl.findStuck() {
			return tenants
		}
		for i, q := range pl.queues {
			*q = before[i]
			q.Removals = q.Removals[:len(q.Removals):len(q.Removals)]
		}
		pl.pins = slices.Clone(pins)
	}
}

// keepStuck ends what goes of each queue at the first file whose object stays.
func (pl *planner) keepStuck() {
	if len(pl.stuck) == 0 {
		return
	}
	for _, q := range pl.queues {
		for i, r := range q.Removals {
			if why := pl.stuck[r.File.Name]; why != "" {
				q.keep(i, ByObject, why)
				break
			}
		}
	}
}

// findStuck looks for objects of which a part would go and a part would not.
func (pl *planner) findStuck() (found bool) {
	for _, name := range slices.Sorted(maps.Keys(pl.objects)) {
		parts := pl.objects[name]
		if pl.stuck[name] != "" || !slices.ContainsFunc(parts, place.goes) {
			continue
		}
		if i := slices.IndexFunc(parts, func(p place) bool { return !p.goes() }); i >= 0 {
			pl.stuck[name] = fmt.Sprintf("shared with queue %d of %s", parts[i].q.Queue.ID, parts[i].q.Queue.Broker)
			found = true
		} else if int64(len(parts)) < parts[0].q.Files[parts[0].i].Sharing {
			pl.stuck[name] = "shared with queues that are not asked about"
			found = true
		}
	}
	return found
}

// Together reports whether queues lose what they have at the same age, if at all:
// only such should share objects, for otherwise one that is silent may keep what
// the others have for ever.
func (p Policy) Together(queues []mq.Queue) bool {
	var age Duration
	for i, q := range queues {
		d := p.Match(q)
		if d.Bytes > 0 || d.Messages > 0 || i > 0 && d.Age != age {
			return false
		}
		age = d.Age
	}
	return true
}

// whole takes the rest of an object that a quota has begun with, as far as it may,
// of a queue that fell silent its newest file too: if it may not, the object stays.
func (pl *planner) whole(u *TenantUse, name string) {
	for _, p := range pl.objects[name] {
		forEver := p.q.Archive.Rule != "" && p.q.Archive.unbounded()
		for !p.goes() && !forEver && p.q.Kept == nil {
			if !pl.take(u, p.q) {
				break
			}
		}
	}
}
