package retention

import (
	"container/heap"
	"fmt"
	"maps"
	"slices"
	"strings"

	"varve/internal/mq"
)

// Quota bounds what a tenant's topics take in the archive together. The tenant
// "*" is each one without a quota of its own.
type Quota struct {
	Tenant string `json:"tenant"`
	Bytes  Bytes  `json:"bytes"`
}

// quotaOf finds a tenant's quota.
func (p Policy) quotaOf(tenant string) (Quota, bool) {
	for _, name := range []string{tenant, "*"} {
		if i := slices.IndexFunc(p.Quotas, func(q Quota) bool { return q.Tenant == name }); i >= 0 {
			return p.Quotas[i], true
		}
	}
	return Quota{}, false
}

func (p Policy) validateQuotas() []error {
	var errs []error
	seen := map[string]bool{}
	for i, q := range p.Quotas {
		bad := func(field, reason string) {
			errs = append(errs, fmt.Errorf("retention quota %d (%q): %s: %s", i+1, q.Tenant, field, reason))
		}
		switch {
		case q.Tenant == "":
			bad("tenant", "is empty; \"*\" is each one without a quota of its own")
		case seen[q.Tenant]:
			bad("tenant", "has a quota already")
		case q.Tenant != "*" && strings.ContainsAny(q.Tenant, "*?%"):
			bad("tenant", "want one tenant's name, or \"*\"")
		}
		if q.Bytes <= 0 {
			bad("bytes", "want more than nothing")
		}
		seen[q.Tenant] = true
	}
	return errs
}

// quotas takes the oldest files of each tenant that is above its quota, over all
// of its queues, until it is not or nothing more may go. A queue of which a
// guard keeps a file is left alone, as is one that its rule keeps for ever, and
// the newest file of each.
func (pl *planner) quotas() []TenantUse {
	if len(pl.policy.Quotas) == 0 {
		return nil
	}
	byTenant := map[string][]*QueuePlan{}
	for _, q := range pl.queues {
		tenant, _ := mq.SplitTenant(q.Queue.Topic)
		byTenant[tenant] = append(byTenant[tenant], q)
	}
	var out []TenantUse
	for _, tenant := range slices.Sorted(maps.Keys(byTenant)) {
		if quota, ok := pl.policy.quotaOf(tenant); ok {
			out = append(out, pl.quota(TenantUse{Tenant: tenant, Limit: quota.Bytes}, byTenant[tenant]))
		}
	}
	return out
}

func (pl *planner) quota(u TenantUse, queues []*QueuePlan) TenantUse {
	var next oldest
	for _, q := range queues {
		u.Used += totalBytes(q.Files)
		for _, r := range q.Removals {
			u.After -= r.File.Bytes
		}
		if q.mayLose() {
			next = append(next, q)
		}
	}
	u.After += u.Used
	heap.Init(&next)
	for u.After > int64(u.Limit) && len(next) > 0 {
		q := next[0]
		f := q.Files[len(q.Removals)]
		switch taken := pl.take(&u, q); {
		case taken && f.Sharing > 0:
			pl.whole(&u, f.Name) // of other queues
			next = slices.DeleteFunc(next, func(q *QueuePlan) bool { return !q.mayLose() })
			heap.Init(&next)
		case q.mayLose():
			heap.Fix(&next, 0)
		default:
			heap.Pop(&next)
		}
	}
	u.Over = max(0, u.After-int64(u.Limit))
	return u
}

// mayLose reports whether a quota may take the queue's oldest file that is left.
func (q *QueuePlan) mayLose() bool {
	forEver := q.Archive.Rule != "" && q.Archive.unbounded()
	return !forEver && q.Kept == nil && len(q.Removals) < len(q.Files)-1
}

// take lets the queue's oldest file go that is left, unless a guard keeps it.
func (pl *planner) take(u *TenantUse, q *QueuePlan) bool {
	f := q.Files[len(q.Removals)]
	q.Removals = append(q.Removals, Removal{File: f, Rule: "quota of " + u.Tenant, Cause: ByQuota})
	if by, name := pl.keeps(q.Queue, f); name != "" {
		q.keep(len(q.Removals)-1, by, name)
		return false
	}
	u.After -= f.Bytes
	return true
}

func (pl *planner) keeps(q mq.Queue, f File) (Keeper, string) {
	if why := pl.stuck[f.Name]; why != "" {
		return ByObject, why
	}
	if pl.guards.Held != nil {
		if name := pl.guards.Held(q, f); name != "" {
			return ByHold, name
		}
	}
	return ByLease, pl.leased(q, f)
}

// oldest is a heap of queues by the age of the file that goes next.
type oldest []*QueuePlan

func (o oldest) Len() int { return len(o) }

func (o oldest) Less(i, j int) bool {
	a, b := o[i], o[j]
	return compareAge(a.Queue, a.Files[len(a.Removals)], b.Queue, b.Files[len(b.Removals)]) < 0
}

func (o oldest) Swap(i, j int) { o[i], o[j] = o[j], o[i] }

// Push implements heap.Interface.
func (o *oldest) Push(x any) { *o = append(*o, x.(*QueuePlan)) }

// Pop implements heap.Interface.
func (o *oldest) Pop() any {
	last := (*o)[len(*o)-1]
	*o = (*o)[:len(*o)-1]
	return last
}
