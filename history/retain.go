package history

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"varve/internal/archive"
	"varve/internal/objstore"
	"varve/internal/retention"
)

// RetainConfig sets up a Retainer. Zero fields take the defaults.
type RetainConfig struct {
	// Policy gives the policy of now.
	Policy func() retention.Policy
	// Every is how often the policy is applied; 1 min, negative for only when
	// Apply is called.
	Every time.Duration
	// Grace is how long objects stay after their files left the table, for
	// readers that planned before; 15 min, negative for none.
	Grace time.Duration
	// Sweep is how often a table that changed is looked through for snapshots,
	// files and metadata that nobody needs any more; 1 h.
	Sweep time.Duration
	// Orphans is the age at which uploads that were never committed are
	// removed; 24 h.
	Orphans time.Duration
	// Holds are the archive's; the retainer's own where nil.
	Holds *Holds
	// Leases bounds leases.
	Leases LeaseConfig
	// Key signs the records of deletions; nil leaves them unsigned.
	Key ed25519.PrivateKey
	// OnDelete hears of every deletion that was committed; may be nil.
	OnDelete func(Deletion)
	Now      func() time.Time
	Logger   *slog.Logger
}

// Retainer applies a retention policy to the tables of an archive.
type Retainer struct {
	cfg     RetainConfig
	archive *archive.Archive
	pinned  func(name string) bool
	note    func(topic string, err error) // of its table

	mu     sync.Mutex // one pass at a time
	began  time.Time
	tables map[string]*tableState
	swept  sweepCounts

	holds  *Holds
	leases *Leases
	locks  *locks
	kicked chan struct{} // holds have changed

	tenantsMu sync.Mutex
	tenants   []retention.TenantUse
}

// NewRetainer makes a retainer for a node's archive.
func NewRetainer(cfg RetainConfig, n *Node) *Retainer {
	cfg.Every = cmp.Or(cfg.Every, time.Minute)
	cfg.Grace = cmp.Or(cfg.Grace, 15*time.Minute)
	cfg.Sweep = cmp.Or(cfg.Sweep, time.Hour)
	cfg.Orphans = cmp.Or(cfg.Orphans, 24*time.Hour)
	cfg.Grace = max(cfg.Grace, 0)
	if cfg.Policy == nil {
		cfg.Policy = func() retention.Policy { return retention.Policy{} }
	}
	if cfg.OnDelete == nil {
		cfg.OnDelete = func(Deletion) {}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	holds, leases := cfg.Holds, NewLeases(cfg.Leases, n)
	if holds == nil {
		holds = NewHolds(n)
		holds.now = cfg.Now
	}
	leases.now = cfg.Now
	return &Retainer{
		cfg: cfg, archive: n.archive, pinned: n.Pinned, note: n.note, began: cfg.Now(), tables: map[string]*tableState{},
		holds: holds, leases: leases, locks: newLocks(n, holds, cfg.Now, cfg.Logger), kicked: make(chan struct{}, 1),
	}
}

// Run applies the policy until ctx ends.
func (r *Retainer) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { r.lockPromptly(ctx) })
	every(ctx, r.cfg.Every, func(ctx context.Context) {
		if _, err := r.Apply(ctx); err != nil && ctx.Err() == nil {
			r.cfg.Logger.Warn("retention", slog.Any("err", err))
		}
	})
	wg.Wait()
	return nil
}

// lockPromptly has the bucket lock and unlock files when holds have changed.
func (r *Retainer) lockPromptly(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.kicked:
		}
		_ = r.LockHeld(ctx) // it is told, and the next pass tries again
	}
}

// HoldsChanged says that a hold was set or released: a running Retainer has the
// bucket lock or unlock its files at once, not with the next pass.
func (r *Retainer) HoldsChanged() {
	select {
	case r.kicked <- struct{}{}:
	default:
	}
}

// LockHeld has the bucket itself lock the files that holds cover, where it can,
// and unlock those that none covers any more.
func (r *Retainer) LockHeld(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.holds.Refresh(ctx); err != nil {
		return err
	}
	tables, err := r.openTables(ctx)
	if tables == nil && err != nil {
		return err
	}
	return errors.Join(err, r.locks.pass(ctx, tables, err == nil, r.leaving))
}

// leaving gives the files of deletions whose objects are not all removed.
func (r *Retainer) leaving(ctx context.Context, t *archive.Table) (out []DeletedFile, err error) {
	if st := r.stateOf(t); st.read && st.sweepAt.IsZero() {
		return nil, nil
	}
	records, err := deletions(ctx, r.archive.Bucket(), t.Root(), false)
	for i := range records {
		out = append(out, records[i].Files...)
	}
	return out, err
}

// Locks tells how the bucket's own locks of held files stand.
func (r *Retainer) Locks() LockStatus { return r.locks.Status() }

// BucketLocks reports whether the bucket keeps locks at all.
func (r *Retainer) BucketLocks(ctx context.Context) (bool, error) {
	return objstore.LockerOf(r.archive.Bucket()).Locks(ctx)
}

// LocksFile reports whether the bucket itself keeps a file, as of the last pass.
func (r *Retainer) LocksFile(name string) bool { return r.locks.has(name) }

// Report is what one pass did.
type Report struct {
	Deletions []Deletion `json:"deletions"`
	Objects   int        `json:"objects"` // removed from the bucket
}

// Apply makes one pass: takes the files that the policy lets go out of the
// tables, and removes the objects whose grace is over. It goes on with the
// other tables where one fails. Where the holds or leases can't be read it does
// nothing.
func (r *Retainer) Apply(ctx context.Context) (Report, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var rep Report
	p := &passing{r: r, policy: r.cfg.Policy(), now: r.cfg.Now(), failed: map[string]bool{}}
	var err error
	if p.tables, err = r.openTables(ctx); err != nil {
		if p.tables == nil {
			return rep, err
		}
		p.errs = append(p.errs, err.(interface{ Unwrap() []error }).Unwrap()...)
	}
	deletions, plan, err := p.plan(ctx)
	if err != nil {
		return rep, errors.Join(append(p.errs, err)...)
	}
	if err := r.leases.retag(ctx, p.tables, p.now); err != nil { // before anything is expired
		p.errs = append(p.errs, fmt.Errorf("leases: %w", err))
	}
	_ = r.locks.pass(ctx, p.tables, len(p.errs) == 0, r.leaving) // it is told, and hinders nothing here
	for _, t := range p.tables {
		if p.failed[t.Topic()] {
			continue
		}
		if d := deletions[t.Topic()]; len(d.Files) > 0 {
			if err := r.cut(ctx, t, d); err != nil {
				p.fail(t.Topic(), err)
				continue
			}
			rep.Deletions = append(rep.Deletions, *d)
		}
		n, err := r.sweep(ctx, t, r.stateOf(t), p.now)
		rep.Objects += n
		if err != nil {
			p.fail(t.Topic(), err)
		}
	}
	if err := r.leases.tend(ctx, p.tables, p.now); err != nil {
		p.errs = append(p.errs, fmt.Errorf("leases: %w", err))
	}
	r.leases.note(plan.Leases)
	r.noteTenants(plan.Tenants)
	return rep, errors.Join(p.errs...)
}

// noteTenants keeps how the tenants stand against their quotas, and tells once
// of each that stays above it.
func (r *Retainer) noteTenants(now []retention.TenantUse) {
	r.tenantsMu.Lock()
	defer r.tenantsMu.Unlock()
	was := map[string]bool{}
	for _, u := range r.tenants {
		was[u.Tenant] = u.Over > 0
	}
	for _, u := range now {
		if u.Over > 0 && !was[u.Tenant] {
			r.cfg.Logger.Warn("a tenant stays above its quota: the rest is held, leased, kept for ever or the newest of its queue",
				slog.String("tenant", u.Tenant), slog.Int64("bytes", u.After), slog.Int64("limit", int64(u.Limit)))
		}
	}
	r.tenants = now
}

// Tenants gives how the tenants stood against their quotas at the last pass.
func (r *Retainer) Tenants() []retention.TenantUse {
	r.tenantsMu.Lock()
	defer r.tenantsMu.Unlock()
	return slices.Clone(r.tenants)
}

// Holds are the legal holds of the archive.
func (r *Retainer) Holds() *Holds { return r.holds }

// Leases are the leases of the archive.
func (r *Retainer) Leases() *Leases { return r.leases }

// TableError is why a pass could not do its work on one topic's table. Those of
// several topics are joined; the others' work is done.
type TableError struct {
	Topic string
	Err   error
}

func (e *TableError) Error() string { return fmt.Sprintf("retention of topic %s: %v", e.Topic, e.Err) }

func (e *TableError) Unwrap() error { return e.Err }

// openTables gives the tables of all topics. Beside joined TableErrors it gives
// those that can be read.
func (r *Retainer) openTables(ctx context.Context) (tables []*archive.Table, err error) {
	topics, err := r.archive.Topics(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the archive's topics: %w", err)
	}
	var errs []error
	for _, topic := range topics {
		t, err := r.archive.Table(ctx, topic)
		r.note(topic, err)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, archive.ErrNoTable):
		case err != nil:
			errs = append(errs, &TableError{topic, err})
		default:
			tables = append(tables, t)
		}
	}
	return tables, errors.Join(errs...)
}

// Dry is what a pass would do.
type Dry struct {
	Explanations []retention.Explanation `json:"explanations"`
	Tenants      []retention.TenantUse   `json:"tenants,omitempty"`
}

// Explain is a dry run: what is decided about each archived queue of a topic
// (of all where it is ""), and what would go now. Beside joined TableErrors it
// gives what there is to say of the others.
func (r *Retainer) Explain(ctx context.Context, topic string) ([]retention.Explanation, error) {
	d, err := r.ExplainPolicy(ctx, topic, r.cfg.Policy())
	return d.Explanations, err
}

// ExplainPolicy is Explain for a policy that is not in force. It asks and
// changes nothing but what a pass would ask: the decision is the same code's.
func (r *Retainer) ExplainPolicy(ctx context.Context, topic string, p retention.Policy) (Dry, error) {
	d := Dry{Explanations: []retention.Explanation{}}
	if topic != "" { // a quota speaks of all topics of a tenant, but that there is this one is asked first
		if _, err := r.archive.Table(ctx, topic); err != nil {
			return d, err
		}
	}
	tables, err := r.openTables(ctx)
	if tables == nil && err != nil {
		return d, err
	}
	if topic != "" && len(p.Quotas) == 0 {
		tables = slices.DeleteFunc(tables, func(t *archive.Table) bool { return t.Topic() != topic })
	}
	now := r.cfg.Now()
	g, gerr := r.guards(ctx, tables, now)
	if gerr != nil {
		return d, gerr
	}
	plan := p.Plan(queuesOf(tables), g, now)
	d.Tenants = plan.Tenants
	for _, q := range plan.Queues {
		if topic == "" || q.Queue.Topic == topic {
			d.Explanations = append(d.Explanations, p.Explain(q))
		}
	}
	if topic != "" {
		err = nil // of others
	}
	return d, err
}
