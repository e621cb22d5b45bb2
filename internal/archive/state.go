package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"strings"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"varve/internal/mq"
	"varve/internal/objstore"
)

// state is one version of a table. It is never changed.
type state struct {
	version   int64
	sum       [sha256.Size]byte // of the metadata object
	meta      table.Metadata
	manifests []iceberg.ManifestFile // of the current snapshot
	snap      Snapshot
	lows      byBroker // StoreTimeLow by broker group
	signed    map[string]SignedHead
	bases     string // the object that has them, "" for none
	heads     heads  // known once the state was taken
	retired   bool
}

// getObject reads a whole small object.
func getObject(ctx context.Context, b objstore.Bucket, name string, limit int64) ([]byte, error) {
	r, err := b.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, damaged(name, "longer than %d bytes", limit)
	}
	return data, nil
}

// putObject creates an object and reads it back: a store that only says so, or
// that keeps something else, must not make a commit.
func putObject(ctx context.Context, b objstore.Bucket, name string, data []byte) error {
	if err := b.Put(ctx, name, bytes.NewReader(data), int64(len(data)), objstore.IfAbsent); err != nil {
		return err
	}
	return sameObject(ctx, b, name, data)
}

// sameObject reads an object that the store has acknowledged and compares it.
func sameObject(ctx context.Context, b objstore.Bucket, name string, data []byte) error {
	have, err := getObject(ctx, b, name, int64(len(data)))
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		return fmt.Errorf("%w: %s is not there", ErrNotStored, name)
	case errors.Is(err, ErrDamaged), err == nil && !bytes.Equal(have, data):
		return fmt.Errorf("%w: %s has other bytes than the %d that were written", ErrNotStored, name, len(data))
	}
	return err
}

// checkObject compares a data file's length with what it must be.
func checkObject(ctx context.Context, b objstore.Bucket, name string, size int64) error {
	o, err := b.Head(ctx, name)
	if errors.Is(err, objstore.ErrNotFound) {
		return fmt.Errorf("%w: %s is not there", ErrNoFile, name)
	}
	if err != nil {
		return err
	}
	if o.Size != size {
		return fmt.Errorf("%w: of %s the store has %d bytes of %d", ErrNoFile, name, o.Size, size)
	}
	return nil
}

// loadState reads one version: metadata and, where the snapshot is another
// than prev's, the manifest list.
func (t *Table) loadState(ctx context.Context, version int64, prev *state) (*state, error) {
	st, err := t.loadVersion(ctx, version)
	if err != nil {
		return nil, err
	}
	if prev != nil && prev.snap.ID == st.snap.ID {
		st.manifests = prev.manifests
		return st, nil
	}
	st.manifests, err = t.loadManifestList(ctx, st)
	return st, err
}

// loadVersion reads one version's metadata alone.
func (t *Table) loadVersion(ctx context.Context, version int64) (*state, error) {
	name := t.root + "/" + versionName(version)
	data, err := getObject(ctx, t.bucket, name, maxMetadataLength)
	if err != nil {
		return nil, err
	}
	var meta table.Metadata
	err = guard(name, func() (err error) {
		if meta, err = table.ParseMetadataBytes(data); err != nil {
			return damaged(name, "%w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := t.checkProperties(name, meta); err != nil {
		return nil, err
	}
	st, err := newState(t.place, version, meta)
	if err != nil {
		return nil, damaged(name, "%w", err)
	}
	st.sum = sha256.Sum256(data)
	return st, nil
}

// checkProperties refuses a table of another topic (two names may fall
// together on a file system that ignores case) and of a newer format.
func (t *Table) checkProperties(name string, meta table.Metadata) error {
	props := meta.Properties()
	if topic := props[propTopic]; topic != t.place.topic {
		return damaged(name, "the table is of topic %q, not of %q", topic, t.place.topic)
	}
	if v := props[propFormat]; v != strconv.Itoa(FormatVersion) && v != strconv.Itoa(SharedFormatVersion) {
		return fmt.Errorf("%w: %s has version %q, this program knows %d and %d", ErrFormat, name, v, FormatVersion, SharedFormatVersion)
	}
	return nil
}

func newState(p tablePlace, version int64, meta table.Metadata) (*state, error) {
	topic := p.topic
	st := &state{version: version, meta: meta}
	st.snap = Snapshot{Version: version, Next: map[mq.Queue]int64{}, NextPhysical: map[string]int64{}, RemovedBelow: map[mq.Queue]int64{}}
	fences, err := decodeByBroker(meta.Properties()[propFences])
	if err != nil {
		return nil, fmt.Errorf("property %s: %w", propFences, err)
	}
	st.snap.Epoch = fences
	st.retired = meta.Properties()[propRetired] != ""
	cur := meta.CurrentSnapshot()
	if cur == nil {
		st.lows = byBroker{}
		return st, nil
	}
	st.snap.ID, st.snap.TimeMillis = cur.SnapshotID, cur.TimestampMs
	if cur.Summary == nil {
		return nil, fmt.Errorf("snapshot %d has no summary", cur.SnapshotID)
	}
	sum := cur.Summary.Properties
	st.snap.CommitID = sum[sumCommitID]
	if st.snap.Next, err = decodeByQueue(topic, sum[sumNext]); err != nil {
		return nil, fmt.Errorf("snapshot %d: %s: %w", cur.SnapshotID, sumNext, err)
	}
	if st.snap.Gaps, err = decodeGaps(topic, sum[sumGaps]); err != nil {
		return nil, fmt.Errorf("snapshot %d: %s: %w", cur.SnapshotID, sumGaps, err)
	}
	if st.snap.RemovedBelow, err = decodeByQueue(topic, sum[sumRemovedBelow]); err != nil {
		return nil, fmt.Errorf("snapshot %d: %s: %w", cur.SnapshotID, sumRemovedBelow, err)
	}
	if st.snap.NextPhysical, err = decodeByBroker(sum[sumNextPhysical]); err != nil {
		return nil, fmt.Errorf("snapshot %d: %s: %w", cur.SnapshotID, sumNextPhysical, err)
	}
	if st.lows, err = decodeByBroker(sum[sumStoreLows]); err != nil {
		return nil, fmt.Errorf("snapshot %d: %s: %w", cur.SnapshotID, sumStoreLows, err)
	}
	st.snap.StoreTimeLow = lowest(st.lows)
	st.bases = sum[sumProofBases]
	if st.signed, err = decodeSigned(p, sum[sumProof]); err != nil {
		return nil, fmt.Errorf("snapshot %d: %s: %w", cur.SnapshotID, sumProof, err)
	}
	return st, nil
}

func lowest(m byBroker) int64 {
	first, low := true, int64(0)
	for _, v := range m {
		if first || v < low {
			first, low = false, v
		}
	}
	return low
}

func (s Snapshot) clone() Snapshot {
	s.Next, s.Epoch, s.NextPhysical = maps.Clone(s.Next), maps.Clone(s.Epoch), maps.Clone(s.NextPhysical)
	s.Gaps, s.RemovedBelow = s.Gaps.clone(), maps.Clone(s.RemovedBelow)
	return s
}

func (t *Table) loadManifestList(ctx context.Context, st *state) ([]iceberg.ManifestFile, error) {
	cur := st.meta.CurrentSnapshot()
	if cur == nil {
		return nil, nil
	}
	name, err := t.location(st.meta).name(cur.ManifestList)
	if err != nil {
		return nil, err
	}
	data, err := getObject(ctx, t.bucket, name, maxManifestSize)
	if err != nil {
		return nil, err
	}
	return parseManifestList(name, data)
}

func parseManifestList(name string, data []byte) (list []iceberg.ManifestFile, err error) {
	err = guard(name, func() (err error) {
		if list, err = iceberg.ReadManifestList(bytes.NewReader(data)); err != nil {
			return damaged(name, "%w", err)
		}
		return nil
	})
	return list, err
}

// readManifest gives the live entries of a manifest.
func (t *Table) readManifest(ctx context.Context, l location, m iceberg.ManifestFile) ([]iceberg.ManifestEntry, error) {
	name, err := l.name(m.FilePath())
	if err != nil {
		return nil, err
	}
	data, err := getObject(ctx, t.bucket, name, maxManifestSize)
	if err != nil {
		return nil, err
	}
	return parseManifest(name, m, data)
}

func parseManifest(name string, m iceberg.ManifestFile, data []byte) (entries []iceberg.ManifestEntry, err error) {
	err = guard(name, func() (err error) {
		if m.ManifestContent() != iceberg.ManifestContentData {
			return damaged(name, "a manifest of row deletes was committed by somebody else")
		}
		if entries, err = iceberg.ReadManifest(m, bytes.NewReader(data), true); err != nil {
			return damaged(name, "%w", err)
		}
		return nil
	})
	return entries, err
}

// newest finds the highest version: from the hint and what is known already,
// upward until a version is missing. known is 0 for a table that was not
// opened yet; the hint alone is never trusted backwards.
func (t *Table) newest(ctx context.Context, known *state) (*state, error) {
	var at int64
	if known != nil {
		at = known.version
	}
	st := known
	hint, err := t.readHint(ctx)
	if err != nil {
		return nil, err
	}
	if hint > at {
		jumped, err := t.loadState(ctx, hint, known)
		switch {
		case err == nil:
			at, st = hint, jumped
		case !errors.Is(err, objstore.ErrNotFound):
			return nil, err
		}
	}
	if st == nil || at < hint {
		listed, err := t.listNewest(ctx)
		if err != nil {
			return nil, err
		}
		at = max(at, listed)
	}
	for {
		next, err := t.loadState(ctx, at+1, st)
		switch {
		case err == nil:
			at, st = at+1, next
		case errors.Is(err, objstore.ErrNotFound) && st != nil:
			return st, nil
		case errors.Is(err, objstore.ErrNotFound):
			return nil, fmt.Errorf("%w: %s has no metadata: %w", ErrNoTable, t.root, err)
		default:
			return nil, err
		}
	}
}

// listNewest gives the version before the highest one in the directory, for
// tables whose hint is missing or wrong.
func (t *Table) listNewest(ctx context.Context) (int64, error) {
	var top int64
	for o, err := range t.bucket.List(ctx, t.root+"/metadata/v") {
		if err != nil {
			return 0, err
		}
		if v, ok := parseVersion(t.root, o.Name); ok {
			top = max(top, v)
		}
	}
	return max(0, top-1), nil
}

// readHint gives the version that version-hint.text names, 0 where it is
// missing or says nothing usable. That it can't be read is an error: who slept
// through many versions must not go on without it.
func (t *Table) readHint(ctx context.Context) (int64, error) {
	data, err := getObject(ctx, t.bucket, t.root+"/"+hintName, 64)
	switch {
	case errors.Is(err, objstore.ErrNotFound), errors.Is(err, ErrDamaged):
		return 0, nil
	case err != nil:
		return 0, err
	}
	v, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil || v < 0 {
		return 0, nil
	}
	return v, nil
}

// writeHint tells engines that open the table by its path where to begin.
func (t *Table) writeHint(ctx context.Context, version int64) {
	data := []byte(strconv.FormatInt(version, 10))
	err := t.bucket.Put(ctx, t.root+"/"+hintName, bytes.NewReader(data), int64(len(data)), objstore.Always)
	if err != nil {
		t.log.Debug("write version hint", "table", t.root, "version", version, "err", err)
	}
}

func encodeMetadata(meta table.Metadata) ([]byte, error) {
	data, err := json.Marshal(meta)
	if err != nil {
		return nil, fmt.Errorf("encode metadata: %w", err)
	}
	return data, nil
}
