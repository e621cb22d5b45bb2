package history

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/retention"
)

// guards reads the holds and leases, and gives what they keep of some tables.
func (r *Retainer) guards(ctx context.Context, tables []*archive.Table, now time.Time) (retention.Guards, error) {
	if err := errors.Join(r.holds.Refresh(ctx), r.leases.Refresh(ctx)); err != nil {
		return retention.Guards{}, err
	}
	byTopic := map[string]*archive.Table{}
	for _, t := range tables {
		byTopic[t.Topic()] = t
	}
	held := func(q mq.Queue, f retention.File) string {
		df, ok := byTopic[q.Topic].Index().FileOf(archive.FileID{Name: f.Name, Row: f.Row})
		if !ok {
			return "" // replaced meanwhile: the deletion will be refused
		}
		if names := r.holds.Covering(ctx, df); len(names) > 0 {
			return names[0]
		}
		return ""
	}
	return retention.Guards{Held: held, Leases: r.leases.pins(now)}, nil
}

// queuesOf gives the queues of tables and their files in the policy's terms.
func queuesOf(tables []*archive.Table) (out []retention.QueueFiles) {
	for _, t := range tables {
		for _, q := range t.Index().Queues() {
			out = append(out, retention.QueueFiles{Queue: q, Files: filesOf(t, q)})
		}
	}
	return out
}

// filesOf gives a queue's files in the policy's terms.
func filesOf(t *archive.Table, q mq.Queue) []retention.File {
	x := t.Index()
	r, ok := x.Range(q)
	if !ok || r.Empty() {
		return nil
	}
	files := x.Files(q, r)
	out := make([]retention.File, len(files))
	for i, f := range files {
		out[i] = retention.File{
			Name: f.Name, Offsets: f.Offsets, FirstStoreMillis: f.FirstStoreMillis,
			LastStoreMillis: f.LastStoreMillis, Rows: f.Rows, Bytes: f.Bytes, Row: f.Section.Row, Sharing: f.Section.Count,
		}
	}
	return out
}

// passing is one pass over all tables.
type passing struct {
	r      *Retainer
	policy retention.Policy
	now    time.Time
	tables []*archive.Table
	failed map[string]bool // topics whose table is left alone
	errs   []error
}

func (p *passing) fail(topic string, err error) {
	p.failed[topic] = true
	p.errs = append(p.errs, &TableError{topic, err})
}

// plan decides over all tables. Those of which something would go are read anew
// first, and so are those that are due; then it decides once more.
func (p *passing) plan(ctx context.Context) (map[string]*Deletion, retention.Plan, error) {
	g, err := p.r.guards(ctx, p.tables, p.now)
	if err != nil {
		return nil, retention.Plan{}, err
	}
	plan := p.policy.Plan(queuesOf(p.tables), g, p.now)
	touched, again := map[string]bool{}, false
	for _, q := range plan.Queues {
		touched[q.Queue.Topic] = touched[q.Queue.Topic] || len(q.Removals) > 0
	}
	for _, t := range p.tables {
		st := p.r.stateOf(t)
		if !touched[t.Topic()] && p.now.Before(st.refreshAt) {
			continue
		}
		changed, err := t.Refresh(ctx)
		if ctx.Err() != nil {
			return nil, plan, ctx.Err()
		}
		if err != nil {
			p.fail(t.Topic(), err)
			continue
		}
		st.refreshAt = p.now.Add(refreshIn(t, p.now))
		again = again || changed
	}
	if again {
		plan = p.policy.Plan(queuesOf(p.tables), g, p.now)
	}
	out := map[string]*Deletion{}
	for _, t := range p.tables {
		out[t.Topic()] = newDeletion(t, p.now, p.now.Add(p.r.cfg.Grace))
	}
	for _, q := range plan.Queues {
		for _, rm := range q.Removals {
			out[q.Queue.Topic].add(q.Queue, rm)
		}
	}
	return out, plan, nil
}

// cut takes what the plan lets go out of a table. The record is stored first, so
// that nothing can go without one, and the holds and leases are asked again, so
// that nothing goes that one of them has come to keep.
func (r *Retainer) cut(ctx context.Context, t *archive.Table, d *Deletion) error {
	r.stateOf(t).wait(d.RemoveAfter)
	if err := r.archive.Check(ctx); err != nil {
		return err
	}
	r.holds.gate.RLock()
	defer r.holds.gate.RUnlock()
	r.leases.gate.RLock()
	defer r.leases.gate.RUnlock()
	before := r.guarded()
	if err := errors.Join(r.holds.Refresh(ctx), r.leases.Refresh(ctx)); err != nil {
		return err
	}
	if r.guarded() != before {
		return errGuardsChanged
	}
	d.seal()
	d.state(t.Heads())
	if err := d.put(ctx, r.archive.Bucket(), r.cfg.Key); err != nil {
		return fmt.Errorf("store the record of a deletion: %w", err)
	}
	names := d.objects()
	if _, err := t.Delete(ctx, names, d.reason()); err != nil {
		return fmt.Errorf("delete %d objects: %w", len(names), err)
	}
	r.cfg.Logger.Info("retention deleted files", slog.String("topic", d.Topic), slog.Int("files", len(d.Files)),
		slog.Int64("rows", d.Rows), slog.Int64("bytes", d.Bytes), slog.String("reason", d.reason()))
	r.cfg.OnDelete(*d)
	return nil
}

// errGuardsChanged says that holds or leases changed since the plan was made.
var errGuardsChanged = errors.New("holds or leases changed meanwhile; the next pass decides anew")

// guarded counts the versions of all holds and leases.
func (r *Retainer) guarded() int64 {
	return r.holds.ledger.versions() + r.leases.ledger.versions()
}

func (r *Retainer) stateOf(t *archive.Table) *tableState {
	st := r.tables[t.Root()]
	if st == nil {
		st = &tableState{fullAt: r.began.Add(r.cfg.Sweep), unneeded: map[string]time.Time{}}
		r.tables[t.Root()] = st
	}
	return st
}
