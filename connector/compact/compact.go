package compact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
)

// rateBurst is the largest piece that is taken of the bandwidth at a time.
const rateBurst = 1 << 20

// Config sets up a Compactor. Zero fields take the defaults.
type Config struct {
	Broker string // broker group whose files are merged
	Dir    string // for temporary files; emptied at the start
	Rules  Rules
	Every  time.Duration // how often tables are looked at; 5 min
	// BytesPerSecond bounds what is read and written of the bucket; 32 MiB,
	// negative for no bound.
	BytesPerSecond int64
	// CPU is the share of one processor that decoding and checking take, above 0
	// and up to 1; 0.25.
	CPU float64
	// CallTimeout bounds one call of the bucket, without the time that its bytes
	// take; 1 min.
	CallTimeout time.Duration
	// Busy says why nothing may be begun now, "" where it may.
	Busy func() string
	// Together reports whether some queues may share objects: whether retention
	// takes what they have at the same age. nil is always.
	Together func(queues []mq.Queue) bool
	// OnCommit hears of every merge; may be nil.
	OnCommit func(topic string, s archive.Snapshot)
	Now      func() time.Time
	Logger   *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Rules = c.Rules.withDefaults()
	c.Every = cmp.Or(c.Every, 5*time.Minute)
	c.BytesPerSecond = cmp.Or(c.BytesPerSecond, 32<<20)
	if c.CPU <= 0 || c.CPU > 1 {
		c.CPU = 0.25
	}
	c.CallTimeout = cmp.Or(c.CallTimeout, time.Minute)
	if c.Busy == nil {
		c.Busy = func() string { return "" }
	}
	if c.OnCommit == nil {
		c.OnCommit = func(string, archive.Snapshot) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Status is a Compactor's state and figures since its start.
type Status struct {
	Running string `json:"running,omitempty"` // what is being merged now
	Paused  string `json:"paused,omitempty"`  // why nothing is begun

	Merges      int64     `json:"merges"`
	FilesIn     int64     `json:"files_in"`
	BytesIn     int64     `json:"bytes_in"`
	BytesOut    int64     `json:"bytes_out"`
	CopiedRows  int64     `json:"copied_rows"`  // taken over without decoding
	EncodedRows int64     `json:"encoded_rows"` // of small row groups
	Lost        int64     `json:"lost"`         // merges whose files went meanwhile
	Failures    int64     `json:"failures"`
	Error       string    `json:"error,omitempty"` // the last one
	ErrorAt     time.Time `json:"error_at,omitzero"`
	// Left are files that are left alone because they can't be merged, and why.
	Left map[string]string `json:"left,omitempty"`
}

// Compactor merges one broker group's files. Its methods may be called
// concurrently.
type Compactor struct {
	cfg     Config
	archive *archive.Archive
	limit   *rate.Limiter
	turn    chan struct{} // held over a merge

	mu     sync.Mutex
	status Status
	left   map[string]left // files that can't be merged, by name
	// done are the versions of tables, by root, that had nothing to merge, and
	// the period in which that was so.
	done map[string]mark
}

// mark is a table's version, and how many periods were over, to be merged and to
// be shared.
type mark struct{ version, period, shares int64 }

// left is a file that could not be merged.
type left struct {
	root  string // of its table
	why   string
	wait  time.Duration
	until time.Time // is left alone up to then
}

// How long a file that can't be merged is left alone: longer each time.
const (
	firstWait = time.Hour
	lastWait  = 24 * time.Hour
)

// New makes a compactor. Nothing is merged before Run or Compact is called.
func New(cfg Config, a *archive.Archive) (*Compactor, error) {
	cfg = cfg.withDefaults()
	if cfg.Broker == "" || cfg.Dir == "" {
		return nil, errors.New("compaction: it needs a broker group and a directory")
	}
	if cfg.Rules.MaxBytes < cfg.Rules.FullBytes {
		return nil, fmt.Errorf("compaction: the largest file of %d bytes is below a full one of %d", cfg.Rules.MaxBytes, cfg.Rules.FullBytes)
	}
	if err := emptyDir(cfg.Dir); err != nil {
		return nil, err
	}
	c := &Compactor{cfg: cfg, archive: a, turn: make(chan struct{}, 1), left: map[string]left{}, done: map[string]mark{}}
	if cfg.BytesPerSecond > 0 {
		c.limit = rate.NewLimiter(rate.Limit(cfg.BytesPerSecond), rateBurst)
	}
	return c, nil
}

// emptyDir removes what a former process left behind.
func emptyDir(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("empty the compaction's directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the compaction's directory: %w", err)
	}
	return nil
}

// Run merges what is due until ctx ends.
func (c *Compactor) Run(ctx context.Context) error {
	ticker := time.NewTicker(c.cfg.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		c.Look(ctx)
	}
}

// Look makes one pass. That it has to wait is no failure.
func (c *Compactor) Look(ctx context.Context) {
	switch err := c.pass(ctx, "", false); {
	case err == nil:
		c.update(func(s *Status) { s.Paused = "" })
	case ctx.Err() != nil:
	case errors.Is(err, ErrPaused), errors.Is(err, archive.ErrUnavailable):
		c.update(func(s *Status) { s.Paused = err.Error() })
	default:
		c.failed(err)
	}
}

// Compact merges now what could become fewer files: of one topic, of all where
// it is "". It gives what was done.
func (c *Compactor) Compact(ctx context.Context, topic string) (Status, error) {
	before := c.Status()
	err := c.pass(ctx, topic, true)
	after := c.Status()
	after.Merges -= before.Merges
	after.FilesIn -= before.FilesIn
	after.BytesIn -= before.BytesIn
	after.BytesOut -= before.BytesOut
	after.CopiedRows -= before.CopiedRows
	after.EncodedRows -= before.EncodedRows
	after.Lost -= before.Lost
	after.Failures -= before.Failures
	return after, err
}

// Status tells what the compactor does and did.
func (c *Compactor) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.status
	if len(c.left) > 0 {
		st.Left = make(map[string]string, len(c.left))
		for name, l := range c.left {
			st.Left[name] = l.why
		}
	}
	return st
}

func (c *Compactor) update(f func(*Status)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.status)
}

func (c *Compactor) failed(err error) {
	c.cfg.Logger.Warn("compaction", slog.String("broker", c.cfg.Broker), slog.Any("err", err))
	c.update(func(s *Status) {
		s.Failures++
		s.Error, s.ErrorAt = err.Error(), c.cfg.Now()
	})
}

// ErrPaused says why nothing may be merged now.
var ErrPaused = errors.New("compaction waits")

// pass looks at all tables, or at one topic's.
func (c *Compactor) pass(ctx context.Context, topic string, force bool) error {
	topics := []string{topic}
	if topic == "" {
		var err error
		if topics, err = c.archive.Topics(ctx); err != nil {
			return fmt.Errorf("list the archive's topics: %w", err)
		}
	}
	if force {
		c.again() // whoever asks may have mended something
	}
	var errs []error
	roots := map[string]bool{}
	for _, name := range topics {
		t, err := c.archive.Table(ctx, name)
		switch {
		case errors.Is(err, archive.ErrNoTable) && topic == "", archive.Unreadable(err) && topic == "":
			continue // dropped meanwhile; the connector tells of damage
		case err != nil:
			return fmt.Errorf("compact topic %s: %w", name, err)
		}
		roots[t.Root()] = true
		err = c.table(ctx, t, force)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrPaused), errors.Is(err, archive.ErrUnavailable):
			return err
		case err != nil:
			errs = append(errs, err)
		}
	}
	if topic == "" {
		c.forget(roots)
	}
	return errors.Join(errs...)
}

// forget lets go of what is known of tables other than those of some roots.
func (c *Compactor) forget(roots map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.left, func(_ string, l left) bool { return !roots[l.root] })
	maps.DeleteFunc(c.done, func(root string, _ mark) bool { return !roots[root] })
}

// table merges what is due of a table, until nothing more is.
func (c *Compactor) table(ctx context.Context, t *archive.Table, force bool) error {
	for {
		settled, span := c.cfg.Now().Add(-c.cfg.Rules.Settle), c.cfg.Rules.Span.Milliseconds()
		at := mark{t.Snapshot().Version, settled.UnixMilli() / span, settled.Add(-c.cfg.Rules.ShareAfter).UnixMilli() / span}
		if c.idle(t, at) && !force {
			return nil
		}
		due := c.plan(t, force)
		if len(due.Merges)+len(due.Shares) == 0 {
			// What has not settled yet is looked at again.
			if t.Snapshot().TimeMillis < settled.UnixMilli() {
				c.mu.Lock()
				c.done[t.Root()] = at
				c.mu.Unlock()
			}
			return nil
		}
		for _, files := range due.Merges {
			first, last := files[0], files[len(files)-1]
			what := fmt.Sprintf("%d files of %v, offsets %d to %d", len(files), first.Queue, first.Offsets.From, last.Offsets.To-1)
			if err := c.one(ctx, t, what, files, func(local *folder) (made, error) { return c.write(ctx, t, files, local) }); err != nil {
				return err
			}
		}
		for _, s := range due.Shares {
			files := s.files()
			what := fmt.Sprintf("%d files into %d shared objects, from %v to %v", len(archive.Objects(files)), len(s), files[0].Queue, files[len(files)-1].Queue)
			if err := c.one(ctx, t, what, files, func(local *folder) (made, error) { return c.shareAll(ctx, t, s, local) }); err != nil {
				return err
			}
		}
	}
}

// idle reports whether a table was looked at as it is, and forgets files that
// are not in it any more.
func (c *Compactor) idle(t *archive.Table, at mark) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	idle := c.done[t.Root()] == at
	for name, l := range c.left {
		if l.root != t.Root() {
			continue
		}
		if _, ok := t.Index().File(name); !ok {
			delete(c.left, name)
		} else if !c.cfg.Now().Before(l.until) {
			idle = false
		}
	}
	return idle
}

// plan gives what is due of a table's queues of this broker group.
func (c *Compactor) plan(t *archive.Table, force bool) Plans {
	skip := func(name string) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		l, ok := c.left[name]
		return ok && c.cfg.Now().Before(l.until)
	}
	var queues [][]archive.DataFile
	var ids []mq.Queue
	for _, q := range t.Index().Queues() {
		if q.Broker == c.cfg.Broker {
			queues, ids = append(queues, queueFiles(t.Index(), q)), append(ids, q)
		}
	}
	rules := c.cfg.Rules
	if c.cfg.Together != nil && !c.cfg.Together(ids) {
		rules.SmallBytes = -1
	}
	return rules.PlanTable(queues, c.cfg.Now(), skip, force)
}

// one makes a merge when it is its turn. That its files went meanwhile, or
// can't be merged, is no error.
func (c *Compactor) one(ctx context.Context, t *archive.Table, what string, files []archive.DataFile, write func(*folder) (made, error)) error {
	if why := c.cfg.Busy(); why != "" {
		return fmt.Errorf("%w: %s", ErrPaused, why)
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	c.update(func(s *Status) { s.Running, s.Paused = what, "" })
	defer c.update(func(s *Status) { s.Running = "" })
	m, err := c.merge(ctx, t, files, write)
	switch {
	case err == nil:
	case errors.Is(err, archive.ErrReplaced), errors.Is(err, archive.ErrNoTable), errors.Is(err, objstore.ErrNotFound) && gone(ctx, t, files):
		c.update(func(s *Status) { s.Lost++ })
		c.cfg.Logger.Debug("compaction lost a race", slog.String("topic", t.Topic()), slog.Any("err", err))
		return nil
	case errors.Is(err, archive.ErrUnmergeable), errors.Is(err, archive.ErrDamaged), errors.Is(err, objstore.ErrNotFound):
		c.leave(t, files, err)
		return nil
	default:
		return fmt.Errorf("compact %s: %w", what, err)
	}
	var in int64
	for _, f := range files {
		in += f.Bytes
	}
	c.update(func(s *Status) {
		s.Merges++
		s.FilesIn += int64(len(archive.Objects(files)))
		s.BytesIn, s.BytesOut = s.BytesIn+in, s.BytesOut+m.bytes()
		s.CopiedRows, s.EncodedRows = s.CopiedRows+m.stats.CopiedRows, s.EncodedRows+m.stats.EncodedRows
	})
	c.cfg.Logger.Info("compacted", slog.String("topic", t.Topic()), slog.Any("queue", files[0].Queue), slog.Int("queues", len(m.files)), slog.Int("files", len(archive.Objects(files))), slog.Int("objects", len(archive.Objects(m.files))),
		slog.Int64("bytes", m.bytes()), slog.Int64("encoded_rows", m.stats.EncodedRows), slog.Int64("copied_rows", m.stats.CopiedRows))
	return nil
}

// gone reports whether others took files out of the table.
func gone(ctx context.Context, t *archive.Table, files []archive.DataFile) bool {
	if _, err := t.Refresh(ctx); err != nil {
		return false
	}
	for _, f := range files {
		if _, ok := t.Index().File(f.Name); !ok {
			return true
		}
	}
	return false
}

// leave notes that files can't be merged now. Where it is known of which one
// that is, that one alone is left out for a while.
func (c *Compactor) leave(t *archive.Table, files []archive.DataFile, err error) {
	bad := files
	if which := (*archive.ObjectError)(nil); errors.As(err, &which) {
		if i := slices.IndexFunc(files, func(f archive.DataFile) bool { return f.Name == which.Name }); i >= 0 {
			bad = files[i : i+1]
		}
	}
	c.cfg.Logger.Warn("files are left as they are", slog.String("topic", t.Topic()), slog.Int("files", len(bad)), slog.Any("err", err))
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range bad {
		wait := min(max(firstWait, 2*c.left[f.Name].wait), lastWait)
		c.left[f.Name] = left{root: t.Root(), why: err.Error(), wait: wait, until: c.cfg.Now().Add(wait)}
	}
}

// again has files that were left alone tried again: all of them.
func (c *Compactor) again() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, l := range c.left {
		l.until = time.Time{}
		c.left[name] = l
	}
}
