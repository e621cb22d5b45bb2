package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"varve/internal/archive"
	"varve/internal/mq"
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
	return &Retainer{cfg: cfg, archive: n.archive, pinned: n.Pinned, note: n.note, began: cfg.Now(), tables: map[string]*tableState{}}
}

// Run applies the policy until ctx ends.
func (r *Retainer) Run(ctx context.Context) error {
	every(ctx, r.cfg.Every, func(ctx context.Context) {
		if _, err := r.Apply(ctx); err != nil && ctx.Err() == nil {
			r.cfg.Logger.Warn("retention", slog.Any("err", err))
		}
	})
	return nil
}

// Report is what one pass did.
type Report struct {
	Deletions []Deletion `json:"deletions"`
	Objects   int        `json:"objects"` // removed from the bucket
}

// Apply makes one pass: takes the files that the policy lets go out of the
// tables, and removes the objects whose grace is over. It goes on with the
// other tables where one fails.
func (r *Retainer) Apply(ctx context.Context) (Report, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var rep Report
	policy, now := r.cfg.Policy(), r.cfg.Now()
	errs := r.eachTable(ctx, func(t *archive.Table) error {
		st := r.tables[t.Root()]
		if st == nil {
			st = &tableState{fullAt: r.began.Add(r.cfg.Sweep), unneeded: map[string]time.Time{}}
			r.tables[t.Root()] = st
		}
		d, err := r.cut(ctx, t, st, policy, now)
		if d != nil {
			rep.Deletions = append(rep.Deletions, *d)
		}
		if err != nil {
			return err
		}
		n, err := r.sweep(ctx, t, st, now)
		rep.Objects += n
		return err
	})
	return rep, errs
}

// TableError is why a pass could not do its work on one topic's table. Those of
// several topics are joined; the others' work is done.
type TableError struct {
	Topic string
	Err   error
}

func (e *TableError) Error() string { return fmt.Sprintf("retention of topic %s: %v", e.Topic, e.Err) }

func (e *TableError) Unwrap() error { return e.Err }

func (r *Retainer) eachTable(ctx context.Context, f func(*archive.Table) error) error {
	topics, err := r.archive.Topics(ctx)
	if err != nil {
		return fmt.Errorf("list the archive's topics: %w", err)
	}
	var errs []error
	for _, topic := range topics {
		t, err := r.archive.Table(ctx, topic)
		r.note(topic, err)
		if errors.Is(err, archive.ErrNoTable) {
			continue
		}
		if err == nil {
			err = f(t)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			errs = append(errs, &TableError{topic, err})
		}
	}
	return errors.Join(errs...)
}

// Explain is a dry run: what is decided about each archived queue of a topic
// (of all where it is ""), and what would go now. Beside joined TableErrors it
// gives what there is to say of the others.
func (r *Retainer) Explain(ctx context.Context, topic string) ([]retention.Explanation, error) {
	return r.ExplainPolicy(ctx, topic, r.cfg.Policy())
}

// ExplainPolicy is Explain for a policy that is not in force.
func (r *Retainer) ExplainPolicy(ctx context.Context, topic string, p retention.Policy) ([]retention.Explanation, error) {
	out := []retention.Explanation{}
	now := r.cfg.Now()
	explain := func(t *archive.Table) error {
		for _, q := range t.Index().Queues() {
			out = append(out, p.Explain(q, filesOf(t, q), now))
		}
		return nil
	}
	if topic == "" {
		return out, r.eachTable(ctx, explain)
	}
	t, err := r.archive.Table(ctx, topic)
	if err != nil {
		return nil, err
	}
	return out, explain(t)
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
			LastStoreMillis: f.LastStoreMillis, Rows: f.Rows, Bytes: f.Bytes,
		}
	}
	return out
}

// plan collects what the policy lets go of a table, as far as it is known.
func (r *Retainer) plan(t *archive.Table, p retention.Policy, now time.Time) *Deletion {
	d := newDeletion(t, now, now.Add(r.cfg.Grace))
	for _, q := range t.Index().Queues() {
		for _, rm := range p.Cut(q, filesOf(t, q), now) {
			d.add(q, rm)
		}
	}
	return d
}

// cut takes what the policy lets go out of a table. The record is stored
// first, so that nothing can go without one.
func (r *Retainer) cut(ctx context.Context, t *archive.Table, st *tableState, p retention.Policy, now time.Time) (*Deletion, error) {
	d := r.plan(t, p, now)
	if len(d.Files) > 0 || !now.Before(st.refreshAt) {
		if _, err := t.Refresh(ctx); err != nil {
			return nil, err
		}
		st.refreshAt = now.Add(refreshIn(t, now))
		d = r.plan(t, p, now)
	}
	if len(d.Files) == 0 {
		return nil, nil
	}
	st.wait(d.RemoveAfter)
	if err := r.archive.Check(ctx); err != nil {
		return nil, err
	}
	bucket := r.archive.Bucket()
	if err := d.put(ctx, bucket); err != nil {
		return nil, fmt.Errorf("store the record of a deletion: %w", err)
	}
	names := make([]string, len(d.Files))
	for i, f := range d.Files {
		names[i] = f.Name
	}
	if _, err := t.Delete(ctx, names, d.reason()); err != nil {
		return nil, fmt.Errorf("delete %d files: %w", len(names), err)
	}
	r.cfg.Logger.Info("retention deleted files", slog.String("topic", d.Topic), slog.Int("files", len(d.Files)),
		slog.Int64("rows", d.Rows), slog.Int64("bytes", d.Bytes), slog.String("reason", d.reason()))
	r.cfg.OnDelete(*d)
	return d, nil
}
