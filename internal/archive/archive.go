package archive

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/iceberg-go"

	"varve/internal/mq"
	"varve/internal/objstore"
)

// Errors of the package, wrapped with the table, queue or file they are about.
var (
	// ErrNoTable says that a topic has no table, or that it was dropped.
	ErrNoTable = errors.New("no archive table")
	// ErrFenced says that a newer writer has claimed the broker group.
	ErrFenced = errors.New("fenced by a newer writer")
	// ErrOverlap says that a commit holds offsets that another one committed.
	ErrOverlap = errors.New("offsets already committed")
	// ErrGap says that a commit would leave offsets out.
	ErrGap = errors.New("offsets missing before the commit")
	// ErrSchema says that a table's columns can't become those of a schema.
	ErrSchema = errors.New("the table has other columns")
	// ErrConflict says that a commit lost every race it was allowed.
	ErrConflict = errors.New("commit lost too many races")
	// ErrDamaged says that an object isn't what the metadata says it is.
	ErrDamaged = errors.New("damaged archive object")
	// ErrNotStored says that the store acknowledged an object that it does not
	// hold, or holds with other bytes. What was written doesn't count.
	ErrNotStored = errors.New("the store acknowledged an object that it does not hold")
	// ErrNoFile says that a commit names a data file that is not in the store,
	// or that has another length there.
	ErrNoFile = errors.New("a data file of the commit is not in the store")
	// ErrFormat says that the archive was written by a newer version.
	ErrFormat = errors.New("archive format is not supported")
	// ErrIdentity says that it is another archive than the one that was asked
	// for, or a place without any.
	ErrIdentity = errors.New("another archive")
	// ErrNoArchive says that nothing is there to be opened to read.
	ErrNoArchive = errors.New("no archive is there")
	// ErrUnavailable says that nothing can be asked of the archive now: its bucket
	// was not reached yet, does not answer, or, with ErrIdentity, holds another
	// archive. It passes.
	ErrUnavailable = errors.New("archive unavailable")
)

// Unreadable tells errors that are about one table's objects from those of the
// bucket: the other tables can be used all the same.
func Unreadable(err error) bool {
	return errors.Is(err, ErrDamaged) || errors.Is(err, ErrFormat) || errors.Is(err, objstore.ErrNotFound)
}

// Options configure an Archive. The zero value is ready to use.
type Options struct {
	KeepSnapshots   int // snapshots kept in a table's metadata at least; default 32
	MergeManifests  int // small manifests that make a commit merge them; default 32
	ManifestEntries int // files in a full manifest; default 2000
	CommitAttempts  int // lost races after which a commit gives up; default 50
	// Timeout is how long the bucket may fail to answer Watch before whatever
	// needs it fails at once; default 5 s.
	Timeout time.Duration
	// Identity is the archive that must be there; empty for any, which is also
	// made where there is none.
	Identity string
	// OnOpen hears which archive it is before anything of it is used; its error
	// keeps the archive shut. May be nil.
	OnOpen func(identity string) error
	// OnRemoved hears, before anybody sees it in a table's index, below which
	// offsets Delete has removed a topic's messages. May be nil.
	OnRemoved func(below map[mq.Queue]int64)
	// ProofKey signs the heads that commits make; nil leaves them unsigned.
	ProofKey ed25519.PrivateKey
	Now      func() time.Time
	Logger   *slog.Logger
}

func (o Options) withDefaults() Options {
	o.KeepSnapshots = cmp.Or(max(o.KeepSnapshots, 0), 32)
	o.MergeManifests = cmp.Or(max(o.MergeManifests, 0), 32)
	o.ManifestEntries = cmp.Or(max(o.ManifestEntries, 0), 2000)
	o.Timeout = cmp.Or(max(o.Timeout, 0), 5*time.Second)
	o.CommitAttempts = cmp.Or(max(o.CommitAttempts, 0), 50)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Archive is a bucket of tables. It may be used concurrently.
type Archive struct {
	raw    objstore.Bucket // for Check and Connect
	bucket objstore.Bucket // for all else: raw while it answers
	opts   Options
	gate   gate

	mu     sync.Mutex
	tables map[string]*tableSlot
}

// tableSlot lets one caller open a topic's table while others wait for it.
type tableSlot struct {
	turn   turn
	table  atomic.Pointer[Table]
	absent time.Time // until then the topic is taken to have no table; turn guards it
}

// living gives the table where it is open, nil where it isn't or was dropped.
func (s *tableSlot) living() *Table {
	if t := s.table.Load(); t != nil && !t.current().retired {
		return t
	}
	return nil
}

// absentFor is how long a table that another process makes may go unseen.
const absentFor = time.Second

// Bucket is where the archive's objects are.
func (a *Archive) Bucket() objstore.Bucket { return a.bucket }

// Topics lists the topics that have a table that was not dropped, in order. A
// table that can't be read (see Unreadable) is among them; Table gives its
// error.
func (a *Archive) Topics(ctx context.Context) ([]string, error) {
	if err := a.ready(ctx); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for o, err := range a.bucket.List(ctx, markerPrefix) {
		if err != nil {
			return nil, fmt.Errorf("list archive tables: %w", err)
		}
		if p, ok := parseMarker(o.Name); ok {
			seen[p.topic] = true
		}
	}
	if err := a.Check(ctx); err != nil {
		return nil, fmt.Errorf("list archive tables: %w", err)
	}
	var out []string
	for topic := range seen {
		switch _, err := a.Table(ctx, topic); {
		case err == nil, Unreadable(err):
			out = append(out, topic)
		case !errors.Is(err, ErrNoTable):
			return nil, err
		}
	}
	slices.Sort(out)
	return out, nil
}

// opened gives the tables that are open, by topic.
func (a *Archive) opened() []*Table {
	a.mu.Lock()
	slots := slices.Collect(maps.Values(a.tables))
	a.mu.Unlock()
	var out []*Table
	for _, s := range slots {
		if t := s.living(); t != nil {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b *Table) int { return strings.Compare(a.place.topic, b.place.topic) })
	return out
}

// Opened gives a topic's table where it is open, nil where it isn't: unlike Table
// it asks nobody.
func (a *Archive) Opened(topic string) *Table {
	a.mu.Lock()
	s := a.tables[topic]
	a.mu.Unlock()
	if s == nil {
		return nil
	}
	return s.living()
}

func (a *Archive) slot(topic string) *tableSlot {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.tables[topic]
	if s == nil {
		s = &tableSlot{turn: newTurn()}
		a.tables[topic] = s
	}
	return s
}

// Table gives a topic's table, ErrNoTable where there is none or where it was
// dropped. The same *Table is given for one topic until it is dropped.
func (a *Archive) Table(ctx context.Context, topic string) (*Table, error) {
	if err := a.ready(ctx); err != nil {
		return nil, err
	}
	s := a.slot(topic)
	if t := s.living(); t != nil {
		return t, nil
	}
	if err := s.turn.take(ctx, a.away); err != nil {
		return nil, fmt.Errorf("table of %s: %w", topic, err)
	}
	defer s.turn.leave()
	if a.opts.Now().Before(s.absent) {
		return nil, fmt.Errorf("table of %s: %w", topic, ErrNoTable)
	}
	t, _, err := a.open(ctx, s, topic)
	if err != nil {
		return nil, fmt.Errorf("table of %s: %w", topic, err)
	}
	if t == nil {
		s.absent = a.opts.Now().Add(absentFor)
		return nil, fmt.Errorf("table of %s: %w", topic, ErrNoTable)
	}
	return t, nil
}

// open gives the slot's table or the newest incarnation's, nil where there is
// none that lives, and the newest incarnation's number. The caller has s.turn.
func (a *Archive) open(ctx context.Context, s *tableSlot, topic string) (*Table, int, error) {
	if t := s.living(); t != nil {
		return t, t.place.incarnation, nil
	}
	s.table.Store(nil)
	t, newest, err := a.load(ctx, topic)
	if err = a.ours(ctx, err); err != nil {
		return nil, newest, err
	}
	s.table.Store(t)
	return t, newest, nil
}

// load reads the newest incarnation of a topic's table; see open.
func (a *Archive) load(ctx context.Context, topic string) (*Table, int, error) {
	newest := 0
	for o, err := range a.bucket.List(ctx, markers(topic)) {
		if err != nil {
			return nil, 0, err
		}
		if p, ok := parseMarker(o.Name); ok && p.topic == topic {
			newest = max(newest, p.incarnation)
		}
	}
	if newest == 0 {
		return nil, 0, nil
	}
	t := newTable(a, tablePlace{topic, newest})
	if err := t.open(ctx); err != nil {
		return nil, newest, err
	}
	if t.current().retired {
		return nil, newest, nil
	}
	return t, newest, nil
}

// CreateTable gives a topic's table and makes it where it is missing.
func (a *Archive) CreateTable(ctx context.Context, topic string) (*Table, error) {
	if topic == "" {
		return nil, errors.New("create table: empty topic")
	}
	if err := a.ready(ctx); err != nil {
		return nil, err
	}
	s := a.slot(topic)
	if err := s.turn.take(ctx, a.away); err != nil {
		return nil, fmt.Errorf("create table of %s: %w", topic, err)
	}
	defer s.turn.leave()
	t, newest, err := a.open(ctx, s, topic)
	if err != nil {
		return nil, fmt.Errorf("create table of %s: %w", topic, err)
	}
	if t != nil {
		return t, nil
	}
	t = newTable(a, tablePlace{topic, newest + 1})
	if err := t.create(ctx); err != nil {
		return nil, fmt.Errorf("create table of %s: %w", topic, err)
	}
	// The marker comes last: what Topics lists exists. If we stop before it,
	// the next CreateTable finds the table there and marks it.
	if err := t.mark(ctx); err != nil {
		return nil, fmt.Errorf("create table of %s: %w", topic, err)
	}
	s.absent = time.Time{}
	s.table.Store(t)
	return t, nil
}

// DropTable retires a topic's table: its metadata says so from then on, no
// commit succeeds any more, and the next CreateTable starts a new incarnation
// at another place. The table's objects stay until somebody removes them. A
// topic without a table is no error.
func (a *Archive) DropTable(ctx context.Context, topic, reason string) error {
	if err := a.ready(ctx); err != nil {
		return err
	}
	fail := func(err error) error { return fmt.Errorf("drop table of %s: %w", topic, err) }
	s := a.slot(topic)
	if err := s.turn.take(ctx, a.away); err != nil {
		return fail(err)
	}
	defer s.turn.leave()
	t, _, err := a.open(ctx, s, topic)
	if err != nil {
		return fail(err)
	}
	if t == nil {
		return nil
	}
	if err := t.turn.take(ctx, a.away); err != nil {
		return fail(err)
	}
	defer t.turn.leave()
	_, err = t.commit(ctx, func(st *state) (*change, error) {
		note := fmt.Sprintf("%s: %s", t.opts.Now().UTC().Format(time.RFC3339), reason)
		return t.withProperties(st, iceberg.Properties{propRetired: note})
	})
	if err != nil && !errors.Is(err, ErrNoTable) {
		return fail(err)
	}
	s.table.Store(nil)
	return nil
}
