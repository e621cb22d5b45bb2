package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
	"github.com/google/uuid"

	"varve/internal/mq"
	"varve/internal/objstore"
)

const (
	maxBackoff = 500 * time.Millisecond
	// A put that failed for no known reason may have happened: a commit tries
	// again this often before it gives the error to the caller.
	maxUnclear = 4
)

func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d)
}

// change is what a commit makes of a base version.
type change struct {
	meta      table.Metadata
	manifests []iceberg.ManifestFile
	fresh     map[string][]DataFile // files of the manifests it wrote
}

// errApplied says that the base version holds the commit already.
var errApplied = errors.New("already committed")

// permanent errors are not tried again.
func permanent(err error) bool {
	for _, p := range []error{objstore.ErrDenied, objstore.ErrNoBucket, objstore.ErrFull, objstore.ErrBadName, ErrDamaged, ErrIdentity, ErrSchema} {
		if errors.Is(err, p) {
			return true
		}
	}
	return false
}

// refused errors say that the commit doesn't fit the table.
func refused(err error) bool {
	for _, r := range []error{ErrFenced, ErrOverlap, ErrGap, ErrReplaced, ErrNoSnapshot, errOtherOffsets} {
		if errors.Is(err, r) {
			return true
		}
	}
	return false
}

// commit creates the next version: build makes it from a base, as often as
// races demand. The caller has t.turn.
func (t *Table) commit(ctx context.Context, build func(*state) (*change, error)) (Snapshot, error) {
	if err := t.archive.Check(ctx); err != nil {
		return Snapshot{}, err
	}
	snap, err := t.race(ctx, build)
	err = t.archive.blame(ctx, err)
	t.suspect = t.suspect || Unreadable(err)
	return snap, err
}

func (t *Table) race(ctx context.Context, build func(*state) (*change, error)) (Snapshot, error) {
	unclear := 0
	for attempt := 0; ; attempt++ {
		began := time.Now()
		base := t.current()
		if base.retired {
			return Snapshot{}, fmt.Errorf("%w: %s was dropped", ErrNoTable, t.root)
		}
		ch, err := build(base)
		if errors.Is(err, errApplied) {
			return base.snap.clone(), nil
		}
		if err == nil {
			if err = t.publish(ctx, base, ch); err == nil {
				t.yielded.won(began, len(base.snap.Epoch))
				return t.Snapshot(), nil
			}
		}
		lost := errors.Is(err, objstore.ErrExists)
		switch {
		case ctx.Err() != nil, permanent(err), refused(err):
			return Snapshot{}, err
		case lost && attempt+1 >= t.opts.CommitAttempts:
			return Snapshot{}, fmt.Errorf("%w: %d: %w", ErrConflict, attempt+1, err)
		case !lost:
			if unclear++; unclear >= maxUnclear {
				return Snapshot{}, err
			}
		}
		pause := maxBackoff
		if lost { // others leave room for the next try (see yielded), which who waits longer misses
			pause = max(time.Since(began), time.Millisecond)
		}
		if err := backoff(ctx, attempt, pause); err != nil {
			return Snapshot{}, err
		}
		if _, rerr := t.refresh(ctx); rerr != nil && (permanent(rerr) || unclear+1 >= maxUnclear) {
			return Snapshot{}, errors.Join(err, rerr)
		}
		if errors.Is(err, errStale) && t.current() == base {
			return Snapshot{}, damaged(t.root+"/"+versionName(base.version), "it is not there any more, and no newer version is")
		}
	}
}

// errStale is a lost race that the put alone did not show.
var errStale = fmt.Errorf("base version is gone: %w", objstore.ErrExists)

// publish puts the next version and reads it back. Then the base must still be
// there as it was: versions are removed in ascending order, so while the base
// exists no version after it was ever removed, and the name that we took was
// free indeed; and who begins at the base must be able to read on to what we
// wrote.
func (t *Table) publish(ctx context.Context, base *state, ch *change) error {
	version := base.version + 1
	fail := func(err error) error { return fmt.Errorf("commit version %d of %s: %w", version, t.root, err) }
	st, err := newState(t.place, version, ch.meta)
	if err != nil {
		return err
	}
	st.manifests = ch.manifests
	data, err := encodeMetadata(ch.meta)
	if err != nil {
		return err
	}
	st.sum = sha256.Sum256(data)
	name := t.root + "/" + versionName(version)
	if err := t.putVersion(ctx, version, data); err != nil {
		return fail(err)
	}
	if err := t.stands(ctx, base); err != nil {
		if errors.Is(err, objstore.ErrNotFound) {
			// What we made stands far below the newest version, where nobody
			// should find it. Left behind, Expire removes it.
			if derr := t.bucket.Delete(ctx, name); derr != nil {
				t.log.Warn("remove stale version", "table", t.root, "version", version, "err", derr)
			}
			return fail(errStale)
		}
		return fail(fmt.Errorf("check the base: %w", err))
	}
	t.writeHint(ctx, version)
	return t.adopt(ctx, st, ch.fresh)
}

// putVersion creates a version. Where the store acknowledged it and keeps
// something else, another writer's version is a lost race; what is no version
// at all is removed, or nobody could ever commit again.
func (t *Table) putVersion(ctx context.Context, version int64, data []byte) error {
	name := t.root + "/" + versionName(version)
	err := putObject(ctx, t.bucket, name, data)
	if !errors.Is(err, ErrNotStored) {
		return err
	}
	_, there := t.loadState(ctx, version, nil)
	switch {
	case there == nil:
		return fmt.Errorf("%w: %w", err, objstore.ErrExists)
	case errors.Is(there, ErrDamaged):
		if derr := t.bucket.Delete(ctx, name); derr != nil {
			return fmt.Errorf("%w; it can't be removed either: %w", err, derr)
		}
		t.log.Warn("removed what the store kept instead of a version", "object", name, "err", there)
	}
	return err
}

// stands checks that the store has the metadata of a state as it was read or
// written.
func (t *Table) stands(ctx context.Context, st *state) error {
	name := t.root + "/" + versionName(st.version)
	data, err := getObject(ctx, t.bucket, name, maxMetadataLength)
	if err != nil {
		return err
	}
	if sha256.Sum256(data) != st.sum {
		return damaged(name, "its %d bytes are not those that were there before", len(data))
	}
	return nil
}

// committed reports whether a retained snapshot has the commit id.
func (s *state) committed(id string) bool {
	snaps := s.meta.Snapshots()
	for i := len(snaps) - 1; i >= 0; i-- {
		if sum := snaps[i].Summary; sum != nil && sum.Properties[sumCommitID] == id {
			return true
		}
	}
	return false
}

// draft is a snapshot in the making.
type draft struct {
	op       table.Operation
	id       int64
	commitID string
	reason   string
	next     byQueue
	gaps     Gaps
	below    byQueue // RemovedBelow
	physical byBroker
	lows     byBroker
	fences   byBroker
	signed   map[string]SignedHead
	bases    string
	added    []DataFile
	removed  []DataFile
}

func newDraft(st *state, op table.Operation, id int64, commitID string) *draft {
	return &draft{
		op: op, id: id, commitID: commitID,
		next:     maps.Clone(byQueue(st.snap.Next)),
		gaps:     st.snap.Gaps.clone(),
		below:    maps.Clone(byQueue(st.snap.RemovedBelow)),
		physical: maps.Clone(byBroker(st.snap.NextPhysical)),
		lows:     maps.Clone(st.lows),
		fences:   maps.Clone(byBroker(st.snap.Epoch)),
		signed:   maps.Clone(st.signed),
		bases:    st.bases,
	}
}

// snapshot writes the manifest list and makes the metadata of a draft.
func (t *Table) snapshot(ctx context.Context, st *state, d *draft, manifests []iceberg.ManifestFile) (table.Metadata, []iceberg.ManifestFile, error) {
	l := t.location(st.meta)
	seq := st.meta.LastSequenceNumber() + 1
	var parent *int64
	if st.snap.ID != 0 {
		parent = &st.snap.ID
	}
	var buf bytes.Buffer
	if err := iceberg.WriteManifestList(icebergVersion, &buf, d.id, parent, &seq, 0, manifests); err != nil {
		return nil, nil, fmt.Errorf("manifest list of %s: %w", t.root, err)
	}
	name := fmt.Sprintf("%s/metadata/snap-%d-%s.avro", t.root, d.id, uuid.NewString())
	if err := putObject(ctx, t.bucket, name, buf.Bytes()); err != nil {
		return nil, nil, err
	}
	list, err := parseManifestList(name, buf.Bytes())
	if err != nil {
		return nil, nil, err
	}
	b, err := table.MetadataBuilderFromBase(st.meta, l.path(t.root+"/"+versionName(st.version)))
	if err != nil {
		return nil, nil, err
	}
	schemaID := st.meta.CurrentSchema().ID
	snap := &table.Snapshot{
		SnapshotID: d.id, ParentSnapshotID: parent, SequenceNumber: seq, TimestampMs: t.now(st),
		ManifestList: l.path(name), SchemaID: &schemaID,
		Summary: &table.Summary{Operation: d.op, Properties: d.summary(st)},
	}
	if slices.ContainsFunc(d.added, DataFile.Shared) {
		if err := admitShared(b, st.meta); err != nil {
			return nil, nil, err
		}
	}
	if err := b.AddSnapshot(snap); err != nil {
		return nil, nil, fmt.Errorf("snapshot of %s: %w", t.root, err)
	}
	if err := b.SetSnapshotRef(table.MainBranch, d.id, table.BranchRef); err != nil {
		return nil, nil, fmt.Errorf("snapshot of %s: %w", t.root, err)
	}
	if f := d.fences.encode(); f != st.meta.Properties()[propFences] {
		if err := b.SetProperties(iceberg.Properties{propFences: f}); err != nil {
			return nil, nil, err
		}
	}
	if err := t.boundSnapshots(st, b); err != nil {
		return nil, nil, err
	}
	meta, err := b.Build()
	return meta, list, err
}

// boundSnapshots drops the oldest snapshots when there are twice as many as
// wanted, so that metadata and thereby the cost of a commit stay bounded even
// where nobody calls Expire.
func (t *Table) boundSnapshots(st *state, b *table.MetadataBuilder) error {
	snaps := st.meta.Snapshots()
	if len(snaps) < 2*t.opts.KeepSnapshots {
		return nil
	}
	old := slices.DeleteFunc(oldestFirst(snaps)[:len(snaps)-t.opts.KeepSnapshots], st.referenced)
	if len(old) == 0 {
		return nil
	}
	return b.RemoveSnapshots(old, false)
}

func oldestFirst(snaps []table.Snapshot) []int64 {
	snaps = slices.Clone(snaps)
	slices.SortFunc(snaps, func(a, b table.Snapshot) int { return int(min(max(a.SequenceNumber-b.SequenceNumber, -1), 1)) })
	ids := make([]int64, len(snaps))
	for i, s := range snaps {
		ids[i] = s.SnapshotID
	}
	return ids
}

// summary gives Iceberg's own fields and ours.
func (d *draft) summary(st *state) iceberg.Properties {
	count := func(files []DataFile) (n, rows, size int64) {
		for _, f := range files {
			rows, size = rows+f.Rows, size+f.Bytes
		}
		return int64(len(Objects(files))), rows, size
	}
	p := iceberg.Properties{
		sumCommitID:     d.commitID,
		sumEpoch:        d.fences.encode(),
		sumNext:         d.next.encode(),
		sumNextPhysical: d.physical.encode(),
		sumStoreLows:    d.lows.encode(),
		sumStoreLow:     strconv.FormatInt(lowest(d.lows), 10),
	}
	if len(d.gaps) > 0 {
		p[sumGaps] = d.gaps.encode()
	}
	if len(d.below) > 0 {
		p[sumRemovedBelow] = d.below.encode()
	}
	if d.reason != "" {
		p[sumReason] = d.reason
	}
	if len(d.signed) > 0 {
		p[sumProof] = encodeSigned(d.signed)
	}
	if d.bases != "" {
		p[sumProofBases] = d.bases
	}
	an, ar, as := count(d.added)
	rn, rr, rs := count(d.removed)
	set := func(key string, v int64) {
		if v != 0 {
			p[key] = strconv.FormatInt(v, 10)
		}
	}
	set("added-data-files", an)
	set("added-records", ar)
	set("added-files-size", as)
	set("deleted-data-files", rn)
	set("deleted-records", rr)
	set("removed-files-size", rs)
	total := func(key string, change int64) {
		var old int64
		if cur := st.meta.CurrentSnapshot(); cur != nil && cur.Summary != nil {
			old, _ = strconv.ParseInt(cur.Summary.Properties[key], 10, 64)
		}
		p[key] = strconv.FormatInt(old+change, 10)
	}
	total("total-data-files", an-rn)
	total("total-records", ar-rr)
	total("total-files-size", as-rs)
	for _, key := range []string{"total-delete-files", "total-position-deletes", "total-equality-deletes"} {
		p[key] = "0"
	}
	return p
}

// writeManifest puts a manifest of entries under a new name.
func (t *Table) writeManifest(ctx context.Context, l location, id int64, spec iceberg.PartitionSpec, entries []iceberg.ManifestEntry) (iceberg.ManifestFile, error) {
	name := fmt.Sprintf("%s/metadata/%s-m0.avro", t.root, uuid.NewString())
	m, data, err := encodeManifest(l.path(name), id, spec, entries)
	if err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", t.root, err)
	}
	return m, putObject(ctx, t.bucket, name, data)
}

// sortFiles orders files by queue and offset.
func sortFiles(files []DataFile) []DataFile {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b DataFile) int {
		if a.Queue != b.Queue {
			return compareQueues(a.Queue, b.Queue)
		}
		return byOffset(a, b)
	})
	return files
}

func compareQueues(a, b mq.Queue) int {
	switch {
	case a.Broker != b.Broker && a.Broker < b.Broker:
		return -1
	case a.Broker != b.Broker:
		return 1
	default:
		return int(a.ID) - int(b.ID)
	}
}
