package history

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"varve/internal/archive"
	"varve/internal/objstore"
	"varve/internal/retention"
)

const (
	locksPrefix = "_varve/locks/"
	lockSuffix  = ".json"
)

const (
	// lockConcurrency bounds the requests under way.
	lockConcurrency = 8
	// unlockAtOnce bounds how many locks are taken off while no hold can be set.
	unlockAtOnce = 500
	// lockAgain is when a lock that was seen is looked for again: somebody else
	// may have taken it off.
	lockAgain = 24 * time.Hour
)

// errNotLocked says that a store took a lock and doesn't show it.
var errNotLocked = errors.New("the store took the change of the lock and doesn't show it")

// locks has the bucket itself lock the files that legal holds cover, where it
// can. Each pass compares what should be locked with what is marked, so what a
// crash left is mended by the next.
//
// Invariants:
//   - A file that this archive locked has a mark, an object of its own beside the
//     holds, which is stored before the lock is set and removed after it was
//     taken off. What is locked without one is somebody else's lock, and stays.
//   - No lock is taken off while it isn't certain that no hold wants it: the
//     holds were read again, and the file's table could be read.
type locks struct {
	archive *archive.Archive
	holds   *Holds
	log     *slog.Logger
	now     func() time.Time

	mu     sync.Mutex
	status LockStatus
	seen   map[string]time.Time // locked files, when that was looked at last
	ours   map[string]bool      // of those, the ones that this process locked
	marked map[string]bool      // files whose lock is to be taken off by us
	idle   int64                // versions of the holds for which nothing is to do
}

// LockState says whether a bucket locks what is held.
type LockState string

// The states.
const (
	LockUnknown LockState = "unknown" // not asked yet, or it could not be asked
	LockNone    LockState = "none"    // it has no object lock
	LockOn      LockState = "on"
)

// LockStatus is how the bucket's own locks of held files stand, as of the last
// pass.
type LockStatus struct {
	State LockState `json:"state"`
	// Locked and Missing count the held files that are locked, and not yet.
	Locked  int       `json:"locked"`
	Missing int       `json:"missing"`
	Error   string    `json:"error,omitempty"`
	At      time.Time `json:"at,omitzero"`
}

func newLocks(n *Node, h *Holds, now func() time.Time, log *slog.Logger) *locks {
	return &locks{
		archive: n.archive, holds: h, log: log, now: now, status: LockStatus{State: LockUnknown},
		seen: map[string]time.Time{}, ours: map[string]bool{}, marked: map[string]bool{}, idle: -1,
	}
}

// lockPass is one comparison.
type lockPass struct {
	l       *locks
	locker  objstore.Locker
	now     time.Time
	holds   []retention.Hold
	version int64
	want    map[string]bool // files, true where they are still in their table
	known   map[string]bool // roots of tables of which it is certain what is held
	marks   map[string]bool

	mu     sync.Mutex
	missed map[string]bool // roots with a file that is not locked yet
	errs   []error
}

// pass locks what is held and not locked, and takes the locks off what isn't held
// any more. all says that tables are all that there are; pending gives the files
// that left a table and whose objects are still there.
func (l *locks) pass(ctx context.Context, tables []*archive.Table, all bool, pending func(context.Context, *archive.Table) ([]DeletedFile, error)) error {
	holds, ok := l.holds.active()
	version := l.holds.ledger.versions()
	if !ok || version == 0 || len(holds) == 0 && l.idle == version {
		return nil
	}
	p := &lockPass{
		l: l, locker: objstore.LockerOf(l.archive.Bucket()), now: l.now(), holds: holds, version: version,
		want: map[string]bool{}, known: map[string]bool{}, missed: map[string]bool{},
	}
	on, err := p.locker.Locks(ctx)
	if err != nil {
		return l.note(LockStatus{State: LockUnknown, Error: err.Error(), At: p.now}, err)
	}
	if !on {
		return l.note(LockStatus{State: LockNone, At: p.now}, nil)
	}
	for _, t := range tables {
		p.look(ctx, t, pending)
	}
	if err := p.list(ctx); err != nil {
		return l.note(LockStatus{State: LockOn, Missing: len(p.want), Error: err.Error(), At: p.now}, err)
	}
	p.lock(ctx)
	p.unlock(ctx, all)
	st := LockStatus{State: LockOn, At: p.now}
	l.mu.Lock()
	for name := range p.want {
		if _, ok := l.seen[name]; ok {
			st.Locked++
		} else {
			st.Missing++
		}
	}
	if len(p.want) == 0 && len(p.marks) == 0 && len(p.errs) == 0 && all {
		l.idle = version
	}
	l.mu.Unlock()
	err = errors.Join(p.errs...)
	if err != nil {
		st.Error = fmt.Sprintf("%v (%d errors in all)", p.errs[0], len(p.errs))
	}
	return l.note(st, err)
}

// note keeps how it stands, and tells of it where that is another than before.
func (l *locks) note(st LockStatus, err error) error {
	l.mu.Lock()
	was := l.status
	l.status = st
	l.mu.Unlock()
	switch {
	case st.State == LockNone && was.State != LockNone:
		l.log.Warn("the bucket has no object lock: legal holds bind this archive, not who may delete from the bucket",
			slog.String("bucket", l.archive.Bucket().URL()))
	case st.Error != "" && was.Error == "":
		l.log.Warn("held files can't be locked in the bucket, or unlocked", slog.Int("files", st.Missing), slog.Any("err", err))
	case st.State == LockOn && st.Missing == 0 && st.Error == "" && (was.Missing > 0 || was.Locked != st.Locked || was.Error != ""):
		l.log.Info("held files are locked in the bucket", slog.Int("files", st.Locked))
	}
	if err != nil {
		return fmt.Errorf("lock what is held: %w", err)
	}
	return nil
}

// Status gives how the locks stood after the last pass.
func (l *locks) Status() LockStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

// has reports whether a file was seen locked.
func (l *locks) has(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.seen[name]
	return ok
}

// keeps reports whether an object must stay because its lock is still to be
// taken off: deleted, it would only be hidden.
func (l *locks) keeps(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.marked[name]
}

// look finds what of a table is held. What other processes committed counts.
func (p *lockPass) look(ctx context.Context, t *archive.Table, pending func(context.Context, *archive.Table) ([]DeletedFile, error)) {
	if !slices.ContainsFunc(p.holds, func(x retention.Hold) bool { return x.CoversTopic(t.Topic()) }) {
		p.known[t.Root()] = true
		return
	}
	_, err := t.Refresh(ctx)
	var gone []DeletedFile
	if err == nil {
		gone, err = pending(ctx, t)
	}
	if err != nil {
		p.fail(t.Root(), &TableError{t.Topic(), err})
	}
	for _, f := range gone {
		if p.l.holds.coversDeleted(f) {
			p.want[f.Name] = false
		}
	}
	for _, f := range t.Index().All() {
		if len(p.l.holds.Covering(ctx, f)) > 0 {
			p.want[f.Name] = true
		}
	}
	p.known[t.Root()] = err == nil
}

// fail notes an error; that others were given up for one is none.
func (p *lockPass) fail(root string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.missed[root] = true
	if len(p.errs) == 0 || !errors.Is(err, context.Canceled) {
		p.errs = append(p.errs, err)
	}
}

// list reads the marks.
func (p *lockPass) list(ctx context.Context) error {
	p.marks = map[string]bool{}
	for o, err := range p.l.archive.Bucket().List(ctx, locksPrefix) {
		if err != nil {
			return fmt.Errorf("list %s: %w", locksPrefix, err)
		}
		if name, ok := strings.CutSuffix(strings.TrimPrefix(o.Name, locksPrefix), lockSuffix); ok {
			p.marks[name] = true
		}
	}
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	clear(p.l.marked)
	for name := range p.marks {
		p.l.marked[name] = true
	}
	for name := range p.l.seen {
		if _, wanted := p.want[name]; !wanted {
			delete(p.l.seen, name)
			delete(p.l.ours, name)
		}
	}
	return nil
}

// lock locks what is wanted and not locked.
func (p *lockPass) lock(ctx context.Context) {
	p.each(ctx, p.want, func(ctx context.Context, name string, inTable bool) error {
		p.l.mu.Lock()
		at, seen := p.l.seen[name]
		ours := p.l.ours[name]
		p.l.mu.Unlock()
		if seen && p.now.Sub(at) < lockAgain && p.marks[name] == ours {
			return nil
		}
		locked, err := p.lockOne(ctx, name, ours)
		if errors.Is(err, objstore.ErrNotFound) && !inTable {
			return nil // its object went before the hold came
		}
		p.l.mu.Lock()
		defer p.l.mu.Unlock()
		if err != nil {
			delete(p.l.seen, name)
			return err
		}
		p.l.seen[name], p.l.ours[name], p.l.marked[name] = p.now, locked, locked
		return nil
	})
}

// lockOne locks a file, and reports whether the lock is ours.
func (p *lockPass) lockOne(ctx context.Context, name string, ours bool) (bool, error) {
	on, err := p.locker.Locked(ctx, name)
	if err != nil {
		return false, err
	}
	ours = ours || p.marks[name] || !on
	if ours && !p.marks[name] {
		if err := p.mark(ctx, name); err != nil {
			return false, err
		}
	}
	if on {
		return ours, nil
	}
	return ours, p.set(ctx, name, true)
}

func (p *lockPass) set(ctx context.Context, name string, want bool) error {
	if err := p.locker.SetLock(ctx, name, want); err != nil {
		return err
	}
	on, err := p.locker.Locked(ctx, name)
	if err == nil && on != want {
		err = fmt.Errorf("%s: %w", name, errNotLocked)
	}
	return err
}

// mark notes that a lock is ours.
func (p *lockPass) mark(ctx context.Context, name string) error {
	data, err := json.Marshal(struct {
		Version int       `json:"version"`
		At      time.Time `json:"at"`
	}{1, p.now.UTC()})
	if err != nil {
		return err
	}
	object := locksPrefix + name + lockSuffix
	if err := p.l.archive.Check(ctx); err != nil {
		return err
	}
	b := p.l.archive.Bucket()
	if err := b.Put(ctx, object, bytes.NewReader(data), int64(len(data)), objstore.IfAbsent); err != nil && !errors.Is(err, objstore.ErrExists) {
		return fmt.Errorf("note a lock: %w", err)
	}
	if _, err := b.Head(ctx, object); err != nil {
		return fmt.Errorf("note a lock: %w", errors.Join(archive.ErrNotStored, err))
	}
	return nil
}

// unlock takes our locks off what no hold covers any more.
func (p *lockPass) unlock(ctx context.Context, all bool) {
	due := map[string]bool{}
	for name := range p.marks {
		root, _, _ := strings.Cut(name, "/data/")
		known, opened := p.known[root]
		if _, wanted := p.want[name]; !wanted && !p.missed[root] && (known || !opened && all) {
			due[name] = true
		}
	}
	for len(due) > 0 && p.unlockSome(ctx, due) {
	}
}

// unlockSome takes some of the locks off, and reports whether to go on. No hold
// can be set by this process meanwhile, and none was since the pass began.
func (p *lockPass) unlockSome(ctx context.Context, due map[string]bool) bool {
	some := map[string]bool{}
	for name := range due {
		if len(some) == unlockAtOnce {
			break
		}
		some[name] = true
		delete(due, name)
	}
	p.l.holds.gate.RLock()
	defer p.l.holds.gate.RUnlock()
	if err := p.l.holds.Refresh(ctx); err != nil {
		p.fail("", err)
		return false
	}
	if p.l.holds.ledger.versions() != p.version {
		return false // the next pass decides anew
	}
	return p.each(ctx, some, func(ctx context.Context, name string, _ bool) error {
		if err := p.set(ctx, name, false); err != nil && !errors.Is(err, objstore.ErrNotFound) {
			return err
		}
		if err := p.l.archive.Bucket().Delete(ctx, locksPrefix+name+lockSuffix); err != nil {
			return fmt.Errorf("note that a lock is off: %w", err)
		}
		p.l.mu.Lock()
		delete(p.l.marked, name)
		p.l.mu.Unlock()
		p.mu.Lock()
		delete(p.marks, name)
		p.mu.Unlock()
		return nil
	})
}

// each does something with each file, some at a time, and reports whether the
// store lets it: one file that fails hinders no other, unless the store refuses,
// for it would refuse them all.
func (p *lockPass) each(ctx context.Context, files map[string]bool, do func(context.Context, string, bool) error) bool {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(lockConcurrency)
	for name, flag := range files {
		g.Go(func() error {
			err := gctx.Err()
			if err == nil {
				err = do(gctx, name, flag)
			}
			if err == nil {
				return nil
			}
			root, _, _ := strings.Cut(name, "/data/")
			p.fail(root, err)
			if errors.Is(err, objstore.ErrDenied) {
				return err
			}
			return nil
		})
	}
	return g.Wait() == nil && ctx.Err() == nil
}
