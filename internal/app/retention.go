package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"varve/history"
	"varve/hot"
	"varve/internal/admin"
	"varve/internal/archive"
	"varve/internal/config"
	"varve/internal/meta"
	"varve/internal/mq"
	"varve/internal/retention"
)

// rules is the retention policy in force, kept in the state store.
type rules struct {
	table meta.Table

	mu     sync.Mutex
	policy retention.Policy
}

// policyKey is the policy's key in its table; it is one value, so that a
// change is whole or not at all.
const policyKey = "policy"

func loadRules(m *meta.Store) (*rules, error) {
	r := &rules{table: m.Table("retention")}
	if _, err := r.table.Get(policyKey, &r.policy); err != nil {
		return nil, fmt.Errorf("read the retention rules: %w", err)
	}
	return r, nil
}

// Policy is the policy of now; its Rules are never changed in place.
func (r *rules) Policy() retention.Policy {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.policy
}

// change replaces the rules by what f makes of a copy of them.
func (r *rules) change(f func([]retention.Rule) ([]retention.Rule, error)) error {
	return r.changePolicy(func(p *retention.Policy) (err error) {
		p.Rules, err = f(p.Rules)
		return err
	})
}

// changePolicy replaces the policy by what f makes of a copy of it.
func (r *rules) changePolicy(f func(*retention.Policy) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := retention.Policy{Rules: slices.Clone(r.policy.Rules), Quotas: slices.Clone(r.policy.Quotas)}
	if err := f(&p); err != nil {
		return err
	}
	if err := p.Validate(); err != nil {
		return admin.BadRequest("%v", err)
	}
	if err := r.table.Put(policyKey, p); err != nil {
		return coldError(fmt.Errorf("store the retention rules: %w", err))
	}
	r.policy = p
	return nil
}

// openRetention makes what applies the rules to the archive.
func (n *Node) openRetention(context.Context) error {
	var err error
	if n.rules, err = loadRules(n.meta); err != nil {
		return err
	}
	if !n.cfg.Has(config.RoleHistory) {
		return nil
	}
	grace := n.cfg.Retention.Grace
	if grace == 0 {
		grace = -1 // none: what is zero there is a default
	}
	n.retainer = history.NewRetainer(history.RetainConfig{
		Policy: n.rules.Policy, Every: n.cfg.Retention.Interval, Grace: grace, Sweep: n.cfg.Retention.Sweep,
		Holds: n.holds, Leases: history.LeaseConfig{MaxBytes: int64(n.cfg.Retention.LeaseBytes), MaxAge: n.cfg.Retention.LeaseAge},
		Key: n.proofKey, Now: n.clock.Now, Logger: n.log,
	}, n.history)
	n.onRun("retention", n.retainer.Run)
	n.onRun("replay leases", n.leaseReplays)
	return nil
}

// hideRemoved has the hot log show no more than the archive: what retention
// removed there may still be hot.
func (n *Node) hideRemoved(below map[mq.Queue]int64) {
	if n.store == nil {
		return
	}
	if err := n.store.SetRemoved(below); err != nil && !errors.Is(err, hot.ErrClosed) {
		n.log.Error("what retention removed is shown until the hot log is trimmed", slog.Any("err", err))
	}
}

// trimPolicy joins the settings with the rules that speak of the hot log: for
// the topics that a rule covers, the rule wins over the settings.
func (n *Node) trimPolicy() hot.TrimPolicy {
	h := n.cfg.Hot
	policy := n.rules.Policy()
	r := policy.HotTrim()
	p := hot.TrimPolicy{KeepFor: min(h.KeepFor, r.KeepFor), KeepBytes: int64(h.KeepBytes), DropUnarchived: h.DropUnarchived || r.DropUnarchived}
	if p.DropUnarchived && n.holds != nil && n.holds.MayCover(n.store.Topics()) {
		p.DropUnarchived = false // a legal hold is above it
	}
	if r.KeepBytes > 0 {
		p.KeepBytes = r.KeepBytes
	}
	p.MinAge = func(topic string) time.Duration {
		if d := policy.MatchHot(topic); d.Age > 0 {
			return time.Duration(d.Age)
		}
		return h.KeepFor
	}
	return p
}

// retentionAPI implements admin.Retention.
type retentionAPI struct{ n *Node }

func (a retentionAPI) Rules(context.Context) ([]retention.Rule, error) {
	return append([]retention.Rule{}, a.n.rules.Policy().Rules...), nil
}

func (a retentionAPI) SetRule(_ context.Context, rule retention.Rule) error {
	return a.n.rules.change(func(list []retention.Rule) ([]retention.Rule, error) {
		for i := range list {
			if list[i].Name == rule.Name {
				list[i] = rule
				return list, nil
			}
		}
		return append(list, rule), nil
	})
}

func (a retentionAPI) DeleteRule(_ context.Context, name string) error {
	return a.n.rules.change(func(list []retention.Rule) ([]retention.Rule, error) {
		for i := range list {
			if list[i].Name == name {
				return slices.Delete(list, i, i+1), nil
			}
		}
		return nil, admin.NotFound("no rule %q", name)
	})
}

func (a retentionAPI) Explain(ctx context.Context, topic string) ([]retention.Explanation, error) {
	list, err := a.n.retainer.Explain(ctx, topic)
	failed, err := failedTables(err)
	for _, f := range failed {
		list = append(list, retention.Explanation{Queue: mq.Queue{Topic: f.Topic}, Error: f.Err.Error()})
	}
	return list, tableError(err, topic)
}

// failedTables takes an error apart into the tables that it is about, and what is
// about more than that.
func failedTables(err error) (failed []*history.TableError, rest error) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil, err
	}
	for _, e := range joined.Unwrap() {
		var one *history.TableError
		if !errors.As(e, &one) {
			return nil, err
		}
		failed = append(failed, one)
	}
	return failed, nil
}

func (a retentionAPI) Apply(ctx context.Context) ([]admin.Removal, error) {
	rep, err := a.n.retainer.Apply(ctx)
	failed, err := failedTables(err)
	out := removals(rep.Deletions)
	for _, f := range failed {
		out = append(out, admin.Removal{Topic: f.Topic, Error: f.Err.Error()})
	}
	return out, coldError(err)
}

func (a retentionAPI) Removals(ctx context.Context, topic string) ([]admin.Removal, error) {
	if topic != "" {
		list, err := a.n.retainer.Deletions(ctx, topic)
		return removals(list), tableError(err, topic)
	}
	topics, err := a.n.archive.Topics(ctx)
	if err != nil {
		return nil, coldError(fmt.Errorf("list the archive's topics: %w", err))
	}
	out, unread := []admin.Removal{}, []admin.Removal{}
	for _, t := range topics {
		list, err := a.n.retainer.Deletions(ctx, t)
		switch {
		case errors.Is(err, archive.ErrNoTable):
			continue
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			unread = append(unread, admin.Removal{Topic: t, Error: err.Error()})
			continue
		}
		out = append(out, removals(list)...)
	}
	return append(out, unread...), nil
}

// DryRun implements admin.Retention.
func (a retentionAPI) DryRun(ctx context.Context, d admin.DryRun) (admin.DryResult, error) {
	p := a.n.rules.Policy()
	if d.Policy != nil {
		p = *d.Policy
	}
	dry, err := a.n.retainer.ExplainPolicy(ctx, d.Topic, p)
	failed, err := failedTables(err)
	for _, f := range failed {
		dry.Explanations = append(dry.Explanations, retention.Explanation{Queue: mq.Queue{Topic: f.Topic}, Error: f.Err.Error()})
	}
	return admin.DryResult(dry), tableError(err, d.Topic)
}

// StorageQuotas implements admin.Retention.
func (a retentionAPI) StorageQuotas(context.Context) ([]admin.TenantQuota, error) {
	p := a.n.rules.Policy()
	out := []admin.TenantQuota{}
	for _, q := range p.Quotas {
		out = append(out, admin.TenantQuota{Quota: q})
	}
	for _, u := range a.n.retainer.Tenants() {
		i := slices.IndexFunc(p.Quotas, func(q retention.Quota) bool { return q.Tenant == u.Tenant })
		if i < 0 {
			i = slices.IndexFunc(p.Quotas, func(q retention.Quota) bool { return q.Tenant == "*" })
		}
		if i >= 0 {
			out[i].Use = append(out[i].Use, u)
		}
	}
	return out, nil
}

// SetStorageQuota implements admin.Retention.
func (a retentionAPI) SetStorageQuota(_ context.Context, q retention.Quota) error {
	return a.n.rules.changePolicy(func(p *retention.Policy) error {
		if i := slices.IndexFunc(p.Quotas, func(x retention.Quota) bool { return x.Tenant == q.Tenant }); i >= 0 {
			p.Quotas[i] = q
			return nil
		}
		p.Quotas = append(p.Quotas, q)
		return nil
	})
}

// DeleteStorageQuota implements admin.Retention.
func (a retentionAPI) DeleteStorageQuota(_ context.Context, tenant string) error {
	return a.n.rules.changePolicy(func(p *retention.Policy) error {
		i := slices.IndexFunc(p.Quotas, func(x retention.Quota) bool { return x.Tenant == tenant })
		if i < 0 {
			return admin.NotFound("tenant %q has no storage quota", tenant)
		}
		p.Quotas = slices.Delete(p.Quotas, i, i+1)
		return nil
	})
}

func tableError(err error, topic string) error {
	if errors.Is(err, archive.ErrNoTable) {
		return admin.NotFound("topic %q has nothing in the archive", topic)
	}
	return coldError(err)
}

// removals sums up deletions by queue and rule.
func removals(list []history.Deletion) []admin.Removal {
	type key struct {
		q    mq.Queue
		rule string
	}
	out := []admin.Removal{}
	for _, d := range list {
		if d.Removed != nil && d.Removed.Abandoned {
			continue
		}
		at := map[key]int{}
		for _, f := range d.Files {
			k := key{f.Queue, f.Rule}
			i, ok := at[k]
			if !ok {
				i = len(out)
				at[k] = i
				out = append(out, admin.Removal{
					At: d.At, Topic: d.Topic, Broker: f.Queue.Broker, Queue: f.Queue.ID, Rule: f.Rule,
					Cause: string(f.Cause), From: f.Offsets.From,
				})
			}
			r := &out[i]
			r.To, r.Files, r.Messages, r.Bytes = f.Offsets.To, r.Files+1, r.Messages+f.Rows, r.Bytes+f.Bytes
		}
	}
	return out
}
