package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"varve/internal/archive"
	"varve/internal/config"
	"varve/internal/objstore"
	"varve/internal/objstore/fs"
)

// Limits of opening the archive.
const (
	// reachAtStart is how long the start waits for the bucket; what it hasn't
	// answered by then is waited for while the log is served.
	reachAtStart = 2 * time.Second
	// reachWithin is how long a later attempt may take.
	reachWithin = 20 * time.Second
	// reachMin and reachMax bound the pause between attempts, doubled each time.
	reachMin = 250 * time.Millisecond
	reachMax = 10 * time.Second
)

// reach opens the archive, at the start or later. The zero value has nothing
// to open.
type reach struct {
	archive *archive.Archive
	key     string // the setting that says where the archive is
	dir     string // the data directory
	log     *slog.Logger
	open    chan struct{} // closed when the archive is open

	mu      sync.Mutex
	since   time.Time // when it was first out of reach
	reason  string    // why it still is; "" where it isn't
	advised string    // the advice that was logged last
}

// openArchive opens the bucket and checks that it is safe to commit to. What
// only a person can mend ends the start; a bucket that is away does not: the
// hot log is served, nothing is trimmed, and the archive opens when it is back.
func (n *Node) openArchive(ctx context.Context) error {
	n.reach = &reach{dir: n.dir.root, log: n.log, open: make(chan struct{})}
	if !n.cfg.Has(config.RoleConnector) && !n.cfg.Has(config.RoleHistory) {
		return nil
	}
	key, err := n.openBucket()
	if err != nil {
		return err
	}
	if err := n.abandonArchive(); err != nil {
		return err
	}
	known, want, err := n.expectedArchive()
	if err != nil {
		return err
	}
	if n.proofKey, err = loadProofKey(n.cfg.Proof.KeyFile); err != nil {
		return err
	}
	if n.proofKey == nil && n.cfg.Has(config.RoleConnector) {
		n.log.Info("the archive's heads are not signed: proof.key-file names no key (varve archive keygen makes one)")
	}
	n.archive = archive.New(n.bucket, archive.Options{
		ProofKey: n.proofKey,
		Identity: want, Timeout: n.cfg.Archive.Timeout, Logger: n.log, OnOpen: func(id string) error { return n.rememberArchive(known, id) },
		OnRemoved: n.hideRemoved,
	})
	n.reach.archive, n.reach.key = n.archive, key
	n.health.Watch("archive", n.archiveTrouble)
	n.onRun("archive watch", func(ctx context.Context) error {
		if n.reach.wait(ctx) {
			n.archive.Watch(ctx)
		}
		return nil
	})
	first, cancel := within(ctx, reachAtStart)
	defer cancel()
	err = n.archive.Connect(first)
	switch {
	case err == nil:
		close(n.reach.open)
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case endsStart(err, known == ""):
		if dir, ok := n.bucket.(*fs.Bucket); ok {
			dir.Unmake()
		}
		return &config.Error{Key: key, Reason: n.reach.describe(err)}
	}
	n.reach.failed(err)
	n.onRun("archive", n.reach.run)
	return nil
}

// within bounds what is asked of the bucket; who is cut off learns that it was
// silent.
func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("%w within %s", objstore.ErrNoAnswer, d))
}

// endsStart tells what stands against opening the archive for as long as a
// person does nothing. A process that never had an archive also takes a missing
// bucket and refused credentials for a mistake in its settings.
func endsStart(err error, never bool) bool {
	ends := []error{objstore.ErrUnsafe, objstore.ErrBadName, archive.ErrIdentity, archive.ErrFormat, archive.ErrDamaged}
	if never {
		ends = append(ends, objstore.ErrNoBucket, objstore.ErrDenied)
	}
	for _, e := range ends {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// advice says what is to be done about an error of opening the archive.
func (r *reach) advice(err error) string {
	switch {
	case errors.Is(err, objstore.ErrNoBucket):
		return "the bucket does not exist; make it, or name another"
	case errors.Is(err, objstore.ErrDenied):
		return "the store refuses these credentials or what they may do; reading, writing, listing and deleting objects are needed"
	case errors.Is(err, objstore.ErrUnsafe):
		return "the store cannot hold an archive: it must support create-only writes (If-None-Match)"
	case errors.Is(err, archive.ErrIdentity):
		return fmt.Sprintf("%s is not the archive that the data directory %s belongs to; "+
			"messages that this process archived are in that one only: mount it, or name its place", r.archive.Bucket().URL(), r.dir)
	case errors.Is(err, archive.ErrFormat):
		return "the archive was written by a newer Varve"
	}
	return "the archive cannot be opened"
}

func (r *reach) describe(err error) string { return fmt.Sprintf("%s (%v)", r.advice(err), err) }

// run tries until the archive is open. An error that would have ended the start
// ends nothing here: who consumes and sends needs no archive, and mounting the
// right one is enough.
func (r *reach) run(ctx context.Context) error {
	wait := reachMin
	for {
		t := time.NewTimer(wait/2 + rand.N(wait/2+1))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
		wait = min(2*wait, reachMax)
		try, cancel := within(ctx, reachWithin)
		err := r.archive.Connect(try)
		cancel()
		switch {
		case err == nil:
			r.opened()
			return nil
		case ctx.Err() != nil:
			return nil
		}
		r.failed(err)
	}
}

// failed notes why the archive is not open; what was said already is not said
// loudly again.
func (r *reach) failed(err error) {
	advice := r.advice(err)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since.IsZero() {
		r.since = time.Now()
	}
	level := slog.LevelError
	if advice == r.advised {
		level = slog.LevelDebug
	}
	r.log.Log(context.Background(), level, "archive is out of reach: the hot log is served, nothing of it is trimmed, and it is tried again",
		slog.String("key", r.key), slog.String("bucket", r.archive.Bucket().URL()), slog.String("reason", advice), slog.Any("err", err))
	r.advised, r.reason = advice, r.describe(err)
}

func (r *reach) opened() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log.Info("archive is open", slog.String("bucket", r.archive.Bucket().URL()), slog.Duration("after", time.Since(r.since)))
	r.reason = ""
	close(r.open)
}

// wait waits until the archive is open; false where ctx ends first.
func (r *reach) wait(ctx context.Context) bool {
	select {
	case <-r.open:
		return true
	case <-ctx.Done():
		return false
	}
}

// trouble is why the archive is not open, "" where it is or isn't wanted.
func (r *reach) trouble() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reason == "" {
		if r.archive == nil {
			return ""
		}
		if foreign := r.archive.Foreign(); foreign != nil {
			return fmt.Sprintf("archive unavailable: %s; nothing is read from it or written to it, what is hot is served, and it is looked at again every second", r.describe(foreign))
		}
		if _, away := r.archive.Away(); away != nil {
			return fmt.Sprintf("%v; what is hot is served, and it is asked again every second", away)
		}
		return ""
	}
	return fmt.Sprintf("archive unavailable: %s, its bucket, is out of reach since %s: %s; what is hot is served, and it is tried again",
		r.archive.Bucket().URL(), r.since.UTC().Format(time.RFC3339), r.reason)
}

// awayForShort says that nothing but a bucket that stopped answering a short
// while ago is the trouble.
func (r *reach) awayForShort(now time.Time) bool {
	if r.archive == nil || r.archive.Foreign() != nil {
		return false
	}
	since, away := r.archive.Away()
	return away != nil && now.Sub(since) < failingLong
}

// archiveTrouble is why the archive needs somebody's help.
func (n *Node) archiveTrouble() string {
	if why := n.reach.trouble(); why != "" && !n.reach.awayForShort(time.Now()) {
		return why
	}
	if n.connector != nil {
		return trouble(n.connector.Status(), time.Now())
	}
	return ""
}

// archiveKey is where the state keeps which archive this process belongs to.
const archiveKey = "identity"

// archiveIdentity is its value.
type archiveIdentity struct {
	ID string `json:"id"`
}

// expectedArchive is the archive that this process had last, and the one that
// it must find, "" for any: a broker that has nothing in an archive may change
// to another.
func (n *Node) expectedArchive() (known, want string, err error) {
	var have archiveIdentity
	if _, err := n.meta.Table("archive").Get(archiveKey, &have); err != nil {
		return "", "", fmt.Errorf("read which archive this is: %w", err)
	}
	if n.store == nil {
		return have.ID, have.ID, nil
	}
	for _, q := range n.store.Queues() {
		if n.store.Archived(q) > 0 {
			return have.ID, have.ID, nil
		}
	}
	return have.ID, "", nil
}

// abandonedKey is where the state keeps which archive was given up last.
const abandonedKey = "abandoned"

// abandonArchive gives up the archive that the settings name, once: its identity
// has to be the one that this process belongs to.
func (n *Node) abandonArchive() error {
	id := n.cfg.Archive.Abandon
	if id == "" || n.store == nil {
		return nil
	}
	table := n.meta.Table("archive")
	var known, done archiveIdentity
	if _, err := table.Get(archiveKey, &known); err != nil {
		return fmt.Errorf("read which archive this is: %w", err)
	}
	if _, err := table.Get(abandonedKey, &done); err != nil {
		return fmt.Errorf("read which archive was abandoned: %w", err)
	}
	switch {
	case done.ID == id:
		n.log.Warn("the archive was abandoned before, the setting can go", slog.String("key", "archive.abandon"), slog.String("archive", id))
		return nil
	case known.ID != id:
		return &config.Error{Key: "archive.abandon", Reason: fmt.Sprintf("the data directory %s belongs to the archive %q, not to %q", n.dir.root, known.ID, id)}
	}
	if err := n.store.AbandonArchive(); err != nil {
		return err
	}
	if err := table.Put(abandonedKey, archiveIdentity{id}); err != nil {
		return fmt.Errorf("note that the archive is abandoned: %w", err)
	}
	n.log.Warn("the archive is abandoned: what only it had is given up, what the hot log holds is archived anew", slog.String("archive", id))
	return nil
}

// rememberArchive notes the archive where another one or none was known.
func (n *Node) rememberArchive(known, id string) error {
	if id == known {
		return nil
	}
	if err := n.meta.Table("archive").Put(archiveKey, archiveIdentity{id}); err != nil {
		return fmt.Errorf("remember the archive: %w", err)
	}
	return nil
}
