package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/apache/iceberg-go/table"

	"varve/internal/mq"
	"varve/internal/objstore"
)

// DataFile describes one data file: consecutive messages of one queue, in an
// object of their own or in one that several queues share (Section).
type DataFile struct {
	Name             string // object name in the bucket
	Queue            mq.Queue
	Offsets          mq.Range
	FirstStoreMillis int64 // lowest store time
	LastStoreMillis  int64 // highest store time
	FirstPhysical    int64 // lowest physical offset
	LastPhysical     int64 // highest physical offset
	Rows             int64
	Bytes            int64 // of the object, or the file's share of it
	RawBytes         int64 // of the stored records; 0 where the manifest was written before it was noted
	Epoch            int64 // of the writer
	Parts            int64 // committed files that it stands for, where compaction or an erasure put it in their place; else 0
	// Hashes is what a FileWriter gives the proof (proof.Parts, encoded), for the
	// commit; "" for a file of before there was one.
	Hashes string
	// Proof is the queue's state behind the file (proof.State, encoded), as its
	// manifest entry has it; "" where the file has no proof. Files of an Index
	// come without.
	Proof string
	// Columns are what a FileWriter says of typed columns, nil without any and in
	// a file that was read from a manifest: the manifest keeps it.
	Columns *ColumnStats
	// Schema is the version of the topic's schema that made the typed columns, 0
	// without any, and -1 where the manifest was written before it was noted.
	Schema int64
	// Section says where the file stands in an object that several queues share.
	Section Section
}

// Commit is one set of files that become visible together. All are of one
// topic and one broker group.
type Commit struct {
	// ID identifies the commit: a repeated one is not applied again.
	ID string
	// Broker is the broker group of all files.
	Broker string
	// Epoch is the writer's; see Table.Fence.
	Epoch int64
	Files []DataFile
	// Gaps are offsets that the archive never gets because somebody chose so:
	// each begins where its queue ends in the table (at 0 in a new one), and a file of the commit
	// begins where it ends.
	Gaps []Gap
	// NextPhysical, where it is not 0, says that the archive then holds every
	// message of this topic below that position of the broker's log.
	NextPhysical int64
	// StoreTimeLow, where it is not 0, says that the archive then holds every
	// message of this topic and broker that was stored before that time.
	StoreTimeLow int64
}

// Gap is a range of a queue that is declared to be missing.
type Gap struct {
	Queue   mq.Queue
	Offsets mq.Range
}

// Snapshot is a state of a table: the handover map for every reader. Its maps
// are the caller's own.
type Snapshot struct {
	Version      int64 // of the metadata, dense from 1
	ID           int64 // Iceberg's snapshot id, 0 where nothing was committed yet
	CommitID     string
	TimeMillis   int64
	Next         map[mq.Queue]int64 // first offset that is not committed
	Epoch        map[string]int64   // fence by broker group
	NextPhysical map[string]int64   // by broker group, as in Commit
	// Gaps are the declared ones, in order: nothing else is missing between the
	// queue's files, but for what was deleted.
	Gaps Gaps
	// RemovedBelow is where each queue begins of which Delete has taken something:
	// nobody is shown what is below, wherever else it still is.
	RemovedBelow map[mq.Queue]int64
	StoreTimeLow int64 // lowest of the broker groups', as in Commit
}

// Table is one topic's table (one incarnation of it). It may be used
// concurrently.
type Table struct {
	archive *Archive
	bucket  objstore.Bucket
	place   tablePlace
	root    string
	opts    Options
	log     *slog.Logger
	index   *Index

	// turn is held over a commit and a refresh.
	turn turn
	// suspect says that a commit met damage: the next refresh reads the table
	// as a new process would. turn guards it.
	suspect bool

	// yielded keeps room between this process's commits where others commit too.
	yielded yielded

	mu    sync.RWMutex
	state *state
	// known gives the files of each manifest of the current snapshot.
	known map[string][]DataFile
	// departed are the files that left the index, and when.
	departed map[string]time.Time
}

// departedFor is how long it is known when a file left the table.
const departedFor = 48 * time.Hour

func newTable(a *Archive, p tablePlace) *Table {
	return &Table{
		archive: a, bucket: a.bucket, place: p, root: p.root(), opts: a.opts, log: a.opts.Logger,
		turn: newTurn(), index: NewIndex(), known: map[string][]DataFile{}, departed: map[string]time.Time{},
	}
}

// open loads the newest version.
func (t *Table) open(ctx context.Context) error {
	st, err := t.newest(ctx, nil)
	if err != nil {
		return err
	}
	return t.adopt(ctx, st, nil)
}

// create makes the first version; that somebody else made it is no error.
func (t *Table) create(ctx context.Context) error {
	meta, err := newMetadata(t.place, t.bucket.URL()+"/"+t.root)
	if err != nil {
		return fmt.Errorf("new table %s: %w", t.root, err)
	}
	data, err := encodeMetadata(meta)
	if err != nil {
		return err
	}
	err = t.putVersion(ctx, 1, data)
	if err != nil && !errors.Is(err, objstore.ErrExists) {
		return fmt.Errorf("create table %s: %w", t.root, err)
	}
	if err == nil {
		t.writeHint(ctx, 1)
	}
	return t.open(ctx)
}

// mark makes the object that says that the table exists, where it is missing:
// without it no new process finds the table.
func (t *Table) mark(ctx context.Context) error {
	name := t.place.marker()
	_, err := getObject(ctx, t.bucket, name, maxMarker)
	if !errors.Is(err, objstore.ErrNotFound) {
		return err
	}
	if err := t.archive.Check(ctx); err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{"topic": t.place.topic, "location": t.Location()})
	if err != nil {
		return err
	}
	if err := putObject(ctx, t.bucket, name, body); err != nil && !errors.Is(err, objstore.ErrExists) {
		return err
	}
	return nil
}

// Topic is the wire name.
func (t *Table) Topic() string { return t.place.topic }

// Incarnation counts the topic's tables from 1.
func (t *Table) Incarnation() int { return t.place.incarnation }

// Root is the prefix of the table's objects, without a slash at the end.
func (t *Table) Root() string { return t.root }

// Location is Root as other engines open it.
func (t *Table) Location() string { return t.current().meta.Location() }

// MetadataName is the object that holds the newest version this process knows.
func (t *Table) MetadataName() string { return t.root + "/" + versionName(t.current().version) }

// Metadata gives the newest version this process knows as the bucket has it,
// an Iceberg table's metadata in JSON, with its number and its object's
// location. It is empty for a table that was dropped meanwhile.
func (t *Table) Metadata() (doc json.RawMessage, version int64, location string, err error) {
	st := t.current()
	if st.retired {
		return nil, 0, "", nil
	}
	if doc, err = encodeMetadata(st.meta); err != nil {
		return nil, 0, "", fmt.Errorf("table %s: %w", t.root, err)
	}
	return doc, st.version, st.meta.Location() + "/" + versionName(st.version), nil
}

func (t *Table) current() *state {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.state
}

func (t *Table) location(meta table.Metadata) location { return location{t.root, meta.Location()} }

// Snapshot is the newest state that this process knows.
func (t *Table) Snapshot() Snapshot { return t.current().snap.clone() }

// Index plans reads over Snapshot.
func (t *Table) Index() *Index { return t.index }

// Refresh reads what other processes committed.
func (t *Table) Refresh(ctx context.Context) (changed bool, err error) {
	if err := t.turn.take(ctx, t.archive.away); err != nil {
		return false, fmt.Errorf("refresh table %s: %w", t.root, err)
	}
	defer t.turn.leave()
	return t.refresh(ctx)
}

func (t *Table) refresh(ctx context.Context) (changed bool, err error) {
	if t.suspect {
		err := t.reload(ctx)
		return err == nil, err
	}
	old := t.current()
	st, err := t.newest(ctx, old)
	if err = t.archive.ours(ctx, err); err != nil {
		return false, fmt.Errorf("refresh table %s: %w", t.root, err)
	}
	if st.version == old.version {
		return false, nil
	}
	if err := t.adopt(ctx, st, nil); err != nil {
		return false, fmt.Errorf("refresh table %s: %w", t.root, err)
	}
	return true, nil
}

// reload reads the whole table as a new process would, and goes on from what
// the store has, even where that is less than was known.
func (t *Table) reload(ctx context.Context) error {
	st, err := t.newest(ctx, nil)
	if err = t.archive.ours(ctx, err); err == nil {
		err = t.take(ctx, st, nil, nil)
	}
	if err != nil {
		return fmt.Errorf("read table %s again: %w", t.root, err)
	}
	t.suspect = false
	return nil
}

// adopt makes a state the current one; it reads the manifests that are new.
// fresh holds those that this process wrote itself.
func (t *Table) adopt(ctx context.Context, st *state, fresh map[string][]DataFile) error {
	return t.take(ctx, st, t.known, fresh)
}

// take is adopt, with the files of the manifests that need not be read. It
// tells the index the difference.
func (t *Table) take(ctx context.Context, st *state, have, fresh map[string][]DataFile) error {
	known := make(map[string][]DataFile, len(st.manifests))
	came := map[FileID]DataFile{}
	l := t.location(st.meta)
	for _, m := range st.manifests {
		path := m.FilePath()
		if files, ok := have[path]; ok {
			known[path] = files
			continue
		}
		files, ok := fresh[path]
		if !ok {
			entries, err := t.readManifest(ctx, l, m)
			if err != nil {
				return err
			}
			for _, e := range entries {
				own, err := filesOf(l, t.place.topic, e.DataFile())
				if err != nil {
					return err
				}
				files = append(files, own...)
			}
		}
		for i := range files {
			files[i].Columns = nil // the manifest has it
		}
		for _, f := range files {
			came[f.ID()] = f
		}
		known[path] = withoutProof(files)
	}
	if err := t.prove(ctx, st, have != nil, came); err != nil {
		return err
	}
	var gone []string
	for path, files := range t.known {
		if _, still := known[path]; still {
			continue
		}
		for _, f := range files {
			if _, moved := came[f.ID()]; moved {
				delete(came, f.ID())
			} else {
				gone = append(gone, f.Name)
			}
		}
	}
	added := make([]DataFile, 0, len(came))
	for _, f := range came {
		f.Proof = ""
		added = append(added, f)
	}
	t.tellRemoved(st)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.index.Apply(added, gone, st.snap.Next, st.snap.Gaps)
	t.part(added, gone)
	t.state, t.known = st, known
	return nil
}

// tellRemoved has the hot log hide what Delete took, before the index does: so
// all readers lose it at once, with the index.
func (t *Table) tellRemoved(st *state) {
	if t.opts.OnRemoved == nil || st.retired || len(st.snap.RemovedBelow) == 0 {
		return
	}
	if old := t.current(); old == nil || !maps.Equal(old.snap.RemovedBelow, st.snap.RemovedBelow) {
		t.opts.OnRemoved(maps.Clone(st.snap.RemovedBelow))
	}
}

// part notes the files that left the index. Where nobody sweeps they are
// forgotten in time. The caller has t.mu.
func (t *Table) part(added []DataFile, gone []string) {
	for _, f := range added {
		delete(t.departed, f.Name)
	}
	if len(gone) == 0 {
		return
	}
	now := t.opts.Now()
	maps.DeleteFunc(t.departed, func(_ string, at time.Time) bool { return now.Sub(at) > departedFor })
	for _, name := range gone {
		t.departed[name] = now
	}
}

// now is the time of a new snapshot: never before the table's last one, even
// if the clock stepped back.
func (t *Table) now(st *state) int64 {
	last := st.meta.LastUpdatedMillis()
	if cur := st.meta.CurrentSnapshot(); cur != nil {
		last = max(last, cur.TimestampMs)
	}
	return max(t.opts.Now().UnixMilli(), last)
}

// backoff waits a little longer after each try that came to nothing.
func backoff(ctx context.Context, attempt int, most time.Duration) error {
	d := min(time.Duration(1<<min(attempt, 10))*time.Millisecond, most, maxBackoff)
	return pause(ctx, d/2+jitter(d/2))
}
