package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"varve/internal/archive"
	"varve/internal/objstore"
	"varve/internal/retention"
)

// Errors of leases.
var (
	// ErrNoLease says that there is no such lease in force.
	ErrNoLease = errors.New("no such lease")
	// ErrLeaseLost says that a lease ended before it was renewed: what it kept may
	// have gone.
	ErrLeaseLost = errors.New("the lease has ended")
)

const leasesPrefix = "_varve/leases/"

// Limits of leases.
const (
	// forgetAfter is how long a lease that has ended is still shown.
	forgetAfter = 7 * 24 * time.Hour
	// nearPercent of its bound, a lease is told of.
	nearPercent = 80
)

// LeaseConfig bounds leases. Zero fields are no bound.
type LeaseConfig struct {
	// MaxBytes is how much one may keep that would go without it.
	MaxBytes int64
	// MaxAge is how long one may last, however often it is renewed.
	MaxAge time.Duration
}

// Leases keep what named readers still need. Like holds they are objects beside
// the tables. A lease of a snapshot is a tag on it as well, by which the archive
// itself keeps the snapshot and its files.
type Leases struct {
	cfg     LeaseConfig
	ledger  ledger[retention.Lease]
	archive *archive.Archive
	now     func() time.Time
	log     *slog.Logger
	// gate has one change of a lease at a time wait for a pass's deletions, as
	// Holds.gate.
	gate sync.RWMutex

	mu    sync.Mutex
	use   map[string]retention.LeaseUse // of the last pass
	alarm map[string]string             // what was last told of a lease
	gone  map[string]bool               // whose snapshot isn't there
}

// NewLeases gives the leases of a node's archive.
func NewLeases(cfg LeaseConfig, n *Node) *Leases {
	return &Leases{
		cfg: cfg, ledger: ledger[retention.Lease]{archive: n.archive, prefix: leasesPrefix}, archive: n.archive,
		now: n.cfg.Now, log: n.cfg.Logger, use: map[string]retention.LeaseUse{}, alarm: map[string]string{}, gone: map[string]bool{},
	}
}

// LeaseStatus is a lease and how it stands.
type LeaseStatus struct {
	retention.Lease
	State retention.LeaseState `json:"state"`
	// Kept is what it keeps that would go without it, as of the last pass, and
	// Lost what its bound let go then.
	Kept     int64 `json:"kept"`
	Lost     int64 `json:"lost,omitempty"`
	MaxBytes int64 `json:"max_bytes,omitempty"`
	// Alarm says that its bound is near or reached, "" where neither is.
	Alarm string `json:"alarm,omitempty"`
}

// Refresh reads what other processes changed.
func (l *Leases) Refresh(ctx context.Context) error {
	if err := l.ledger.refresh(ctx); err != nil {
		return fmt.Errorf("read the leases: %w", err)
	}
	return nil
}

// All gives the leases, with those that ended lately, by name.
func (l *Leases) All(ctx context.Context) ([]LeaseStatus, error) {
	if err := l.Refresh(ctx); err != nil {
		return nil, err
	}
	return l.Known(), nil
}

// Known is All as of the last look.
func (l *Leases) Known() []LeaseStatus {
	known, _ := l.ledger.newest()
	out := make([]LeaseStatus, 0, len(known))
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, e := range known {
		s := LeaseStatus{Lease: e.value, State: e.value.State(now, l.cfg.MaxAge), MaxBytes: l.cfg.MaxBytes}
		if s.State == retention.LeaseHolds {
			s.Kept, s.Lost = l.use[name].Bytes, l.use[name].Lost
		}
		s.Alarm = l.alarming(s, now)
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b LeaseStatus) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// alarming says what is wrong with a lease, "" for nothing.
func (l *Leases) alarming(s LeaseStatus, now time.Time) string {
	age := now.Sub(s.Since)
	switch {
	case s.State == retention.LeaseTooOld:
		return fmt.Sprintf("held for longer than the %v that a lease may last: it keeps nothing any more", l.cfg.MaxAge)
	case s.State != retention.LeaseHolds:
		return ""
	case l.gone[s.Name]:
		return "its snapshot has gone, taken by somebody else's hand or before the lease was whole: it keeps nothing"
	case s.Lost > 0:
		return fmt.Sprintf("lost %d bytes that it wanted, for the %d that a lease may keep were reached", s.Lost, l.cfg.MaxBytes)
	case l.cfg.MaxBytes > 0 && s.Kept >= l.cfg.MaxBytes/100*nearPercent:
		return fmt.Sprintf("keeps %d of the %d bytes that a lease may keep", s.Kept, l.cfg.MaxBytes)
	case l.cfg.MaxAge > 0 && age >= l.cfg.MaxAge/100*nearPercent:
		return fmt.Sprintf("held for %v of the %v that a lease may last", age.Round(time.Second), l.cfg.MaxAge)
	}
	return ""
}

// Set makes a lease or changes the one of the name, for ttl from now on. A lease
// that has ended is made anew.
func (l *Leases) Set(ctx context.Context, x retention.Lease, ttl time.Duration) (retention.Lease, error) {
	if err := errors.Join(checkRecordName(x.Name), invalid(x.Validate())); err != nil {
		return x, err
	}
	if ttl <= 0 {
		return x, fmt.Errorf("lease %q: %w: it must last for some time", x.Name, ErrInvalid)
	}
	l.gate.Lock()
	defer l.gate.Unlock()
	if err := l.Refresh(ctx); err != nil {
		return x, err
	}
	now := l.now().UTC()
	x.Since, x.Renewed, x.Released = now, now, time.Time{}
	old := l.ledger.get(x.Name)
	if old.seq > 0 && old.value.State(now, l.cfg.MaxAge) == retention.LeaseHolds {
		x.Since = old.value.Since
	}
	x.Expires = l.until(x.Since, now.Add(ttl))
	l.mu.Lock()
	delete(l.use, x.Name) // what was lost is told until the lease is set anew
	l.mu.Unlock()
	if err := l.store(ctx, x); err != nil {
		return x, err
	}
	// What the lease kept before goes last, so that it keeps something throughout;
	// on the same table the tag has moved.
	if old.seq > 0 && old.value.Snapshot != 0 && (x.Snapshot == 0 || old.value.Topic != x.Topic) {
		return x, l.untag(ctx, old.value)
	}
	return x, nil
}

// until is when a lease ends: no later than any may last.
func (l *Leases) until(since, asked time.Time) time.Time {
	if most := since.Add(l.cfg.MaxAge); l.cfg.MaxAge > 0 && most.Before(asked) {
		return most
	}
	return asked
}

// store makes a lease's next version. The tag comes first: what is answered is
// kept.
func (l *Leases) store(ctx context.Context, x retention.Lease) error {
	if x.Snapshot != 0 {
		t, err := l.archive.Table(ctx, x.Topic)
		if err == nil {
			err = t.Tag(ctx, x.Name, x.Snapshot)
		}
		if err != nil {
			return fmt.Errorf("lease %q: %w", x.Name, err)
		}
	}
	if err := l.ledger.put(ctx, x.Name, x); err != nil {
		return fmt.Errorf("lease %q: %w", x.Name, err)
	}
	l.mu.Lock()
	delete(l.gone, x.Name)
	l.mu.Unlock()
	return l.ledger.prune(ctx, x.Name)
}

// Renew has a lease last for ttl from now on, and moves its positions where some
// are given. ErrLeaseLost where it has ended, ErrNoLease where none was known.
func (l *Leases) Renew(ctx context.Context, name string, ttl time.Duration, to []retention.Position) (retention.Lease, error) {
	l.gate.Lock()
	defer l.gate.Unlock()
	if err := l.Refresh(ctx); err != nil {
		return retention.Lease{}, err
	}
	e := l.ledger.get(name)
	x, now := e.value, l.now().UTC()
	switch {
	case e.seq == 0:
		return x, fmt.Errorf("lease %q: %w", name, ErrNoLease)
	case ttl <= 0:
		return x, fmt.Errorf("lease %q: %w: it must last for some time", name, ErrInvalid)
	}
	if st := x.State(now, l.cfg.MaxAge); st != retention.LeaseHolds {
		return x, fmt.Errorf("lease %q: %w: %s", name, ErrLeaseLost, st)
	}
	x.Renewed, x.Expires = now, l.until(x.Since, now.Add(ttl))
	if len(to) > 0 {
		x.Positions = to
	}
	if err := invalid(x.Validate()); err != nil {
		return x, err
	}
	return x, l.store(ctx, x)
}

// Release ends a lease.
func (l *Leases) Release(ctx context.Context, name string) (retention.Lease, error) {
	if err := l.Refresh(ctx); err != nil {
		return retention.Lease{}, err
	}
	e := l.ledger.get(name)
	if e.seq == 0 || !e.value.Released.IsZero() {
		return e.value, fmt.Errorf("lease %q: %w", name, ErrNoLease)
	}
	x := e.value
	x.Released = l.now().UTC()
	if err := l.ledger.put(ctx, name, x); err != nil {
		return x, fmt.Errorf("lease %q: %w", name, err)
	}
	return x, errors.Join(l.untag(ctx, x), l.ledger.prune(ctx, name))
}

func (l *Leases) untag(ctx context.Context, x retention.Lease) error {
	if x.Snapshot == 0 {
		return nil
	}
	t, err := l.archive.Table(ctx, x.Topic)
	if errors.Is(err, archive.ErrNoTable) {
		return nil
	}
	if err == nil {
		err = t.Untag(ctx, x.Name)
	}
	if err != nil {
		return fmt.Errorf("lease %q: %w", x.Name, err)
	}
	return nil
}

// pins gives what the leases in force keep by position.
func (l *Leases) pins(now time.Time) (out []retention.Pin) {
	known, _ := l.ledger.newest()
	for _, e := range known {
		if e.value.State(now, l.cfg.MaxAge) == retention.LeaseHolds && len(e.value.Positions) > 0 {
			out = append(out, e.value.Pin(l.cfg.MaxBytes))
		}
	}
	slices.SortFunc(out, func(a, b retention.Pin) int { return cmp.Compare(a.Lease, b.Lease) })
	return out
}

// tend takes away the tags of leases that have ended or are over their bound,
// and forgets leases that ended long ago.
func (l *Leases) tend(ctx context.Context, tables []*archive.Table, now time.Time) error {
	var errs []error
	for _, t := range tables {
		for name, id := range t.Tags() {
			e := l.ledger.get(name)
			keep := e.seq > 0 && e.value.Topic == t.Topic() && e.value.Snapshot == id && e.value.State(now, l.cfg.MaxAge) == retention.LeaseHolds
			if keep {
				var err error
				if keep, err = l.affordable(ctx, t, name, id); err != nil {
					errs = append(errs, err)
					continue
				}
			}
			if !keep {
				errs = append(errs, t.Untag(ctx, name))
			}
		}
	}
	known, _ := l.ledger.newest()
	for name, e := range known {
		if st := e.value.State(now, l.cfg.MaxAge); st != retention.LeaseHolds && now.Sub(e.value.Renewed) > forgetAfter && now.Sub(e.value.Expires) > forgetAfter {
			if err := l.ledger.forget(ctx, name); err != nil && !errors.Is(err, objstore.ErrNotFound) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// retag gives the leases in force their tags back that somebody took away, or that
// a process didn't come to set. A snapshot that has gone meanwhile is told.
func (l *Leases) retag(ctx context.Context, tables []*archive.Table, now time.Time) error {
	known, _ := l.ledger.newest()
	var errs []error
	for name, e := range known {
		x := e.value
		i := slices.IndexFunc(tables, func(t *archive.Table) bool { return t.Topic() == x.Topic })
		if x.Snapshot == 0 || i < 0 || x.State(now, l.cfg.MaxAge) != retention.LeaseHolds || tables[i].Tags()[name] == x.Snapshot || l.given(name) {
			continue
		}
		err := tables[i].Tag(ctx, name, x.Snapshot)
		l.mu.Lock()
		if l.gone[name] = errors.Is(err, archive.ErrNoSnapshot); l.gone[name] {
			err = nil
		}
		l.mu.Unlock()
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// given reports whether a leased snapshot was let go for its bound.
func (l *Leases) given(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.use[name].Lost > 0
}

// affordable notes what a leased snapshot costs, and reports whether that is
// within the bound.
func (l *Leases) affordable(ctx context.Context, t *archive.Table, name string, snapshot int64) (bool, error) {
	n, err := t.KeptBytes(ctx, snapshot)
	if err != nil {
		return true, err
	}
	use := retention.LeaseUse{Lease: name, Bytes: n}
	over := l.cfg.MaxBytes > 0 && n > l.cfg.MaxBytes
	if over {
		use.Bytes, use.Lost = 0, n
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.use[name] = use
	return !over, nil
}

// note takes over what a pass found, and tells of leases that are near their
// bound or have reached it, when that changes.
func (l *Leases) note(uses []retention.LeaseUse) {
	l.mu.Lock()
	for _, u := range uses {
		u.Lost = max(u.Lost, l.use[u.Lease].Lost) // what has gone is gone at the next pass too
		l.use[u.Lease] = u
	}
	l.mu.Unlock()
	for _, s := range l.Known() {
		kind, _, _ := strings.Cut(s.Alarm, " ")
		l.mu.Lock()
		told := l.alarm[s.Name] == kind
		l.alarm[s.Name] = kind
		l.mu.Unlock()
		if kind != "" && !told {
			l.log.Warn("lease alarm", slog.String("lease", s.Name), slog.String("topic", s.Topic), slog.String("reason", s.Alarm))
		}
	}
}
