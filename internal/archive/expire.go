package archive

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"varve/internal/objstore"
)

// keepVersions is how many metadata files stay, whatever their age, for those
// who opened the table a moment ago.
const keepVersions = 100

// Expire drops snapshots that a newer one replaced before a time, but for the
// newest keep and those that a tag names, and then removes metadata objects older than that time which no
// snapshot needs: replaced versions, manifests and lists, and what lost races
// left behind. protect (may be nil) keeps an object by name; it is asked about
// those alone that would go.
func (t *Table) Expire(ctx context.Context, keep int, olderThan time.Time, protect func(name string) bool) error {
	fail := func(err error) error { return fmt.Errorf("expire %s: %w", t.root, err) }
	if err := t.turn.take(ctx, t.archive.away); err != nil {
		return fail(err)
	}
	defer t.turn.leave()
	if _, err := t.refresh(ctx); err != nil {
		return fail(err)
	}
	if _, err := t.commit(ctx, func(st *state) (*change, error) { return t.buildExpire(st, max(keep, 1), olderThan) }); err != nil {
		return fail(err)
	}
	if err := t.sweep(ctx, olderThan, protect); err != nil {
		return fail(err)
	}
	return nil
}

func (t *Table) buildExpire(st *state, keep int, olderThan time.Time) (*change, error) {
	snaps := st.meta.Snapshots()
	order := oldestFirst(snaps)
	var old []int64
	for i, id := range order {
		if i >= len(order)-keep || st.referenced(id) {
			continue
		}
		// Readers used it until the next one came.
		if next := st.meta.SnapshotByID(order[i+1]); next.TimestampMs <= olderThan.UnixMilli() {
			old = append(old, id)
		}
	}
	if len(old) == 0 {
		return nil, errApplied
	}
	b, err := table.MetadataBuilderFromBase(st.meta, t.location(st.meta).path(t.root+"/"+versionName(st.version)))
	if err != nil {
		return nil, err
	}
	if err := b.RemoveSnapshots(old, false); err != nil {
		return nil, err
	}
	meta, err := b.Build()
	return &change{meta: meta, manifests: st.manifests}, err
}

// references gives the metadata objects and the data files that retained
// snapshots need.
func (t *Table) references(ctx context.Context, st *state, withData bool) (map[string]bool, error) {
	l := t.location(st.meta)
	refs := map[string]bool{}
	seen := map[string]bool{}
	for _, s := range st.meta.Snapshots() {
		name, err := l.name(s.ManifestList)
		if err != nil {
			return nil, err
		}
		refs[name] = true
		if s.Summary != nil && s.Summary.Properties[sumProofBases] != "" {
			refs[t.root+"/metadata/"+s.Summary.Properties[sumProofBases]] = true
		}
		manifests := st.manifests
		if s.SnapshotID != st.snap.ID {
			data, err := getObject(ctx, t.bucket, name, maxManifestSize)
			if err != nil {
				return nil, err
			}
			if manifests, err = parseManifestList(name, data); err != nil {
				return nil, err
			}
		}
		for _, m := range manifests {
			if seen[m.FilePath()] {
				continue
			}
			seen[m.FilePath()] = true
			if err := t.reference(ctx, l, m, refs, withData); err != nil {
				return nil, err
			}
		}
	}
	return refs, nil
}

func (t *Table) reference(ctx context.Context, l location, m iceberg.ManifestFile, refs map[string]bool, withData bool) error {
	name, err := l.name(m.FilePath())
	if err != nil {
		return err
	}
	refs[name] = true
	if !withData {
		return nil
	}
	if files, ok := t.known[m.FilePath()]; ok {
		for _, f := range files {
			refs[f.Name] = true
		}
		return nil
	}
	entries, err := t.readManifest(ctx, l, m)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, err := l.name(e.DataFile().FilePath())
		if err != nil {
			return err
		}
		refs[name] = true
	}
	return nil
}

// sweep removes what no version needs. Versions go in ascending order, and a
// failure ends their removal: publish relies on it.
func (t *Table) sweep(ctx context.Context, olderThan time.Time, protect func(string) bool) error {
	st := t.current()
	refs, err := t.references(ctx, st, false)
	if err != nil {
		return err
	}
	// Who slept finds the newest version by the hint, so none goes that the
	// hint has not left far behind.
	hint, err := t.readHint(ctx)
	if err != nil {
		return err
	}
	last := min(st.version, hint) - keepVersions
	var versions []int64
	var others []string
	for o, err := range t.bucket.List(ctx, t.root+"/metadata/") {
		if err != nil {
			return err
		}
		if !o.Modified.Before(olderThan) {
			continue
		}
		if v, ok := parseVersion(t.root, o.Name); ok {
			if v <= last {
				versions = append(versions, v)
			}
		} else if (strings.HasSuffix(o.Name, ".avro") || strings.HasSuffix(o.Name, basesSuffix)) && !refs[o.Name] {
			others = append(others, o.Name)
		}
	}
	slices.Sort(versions)
	for _, v := range versions {
		name := t.root + "/" + versionName(v)
		if protect != nil && protect(name) {
			break
		}
		if err := t.bucket.Delete(ctx, name); err != nil {
			return err
		}
	}
	for _, name := range others {
		if protect != nil && protect(name) {
			continue
		}
		if err := t.bucket.Delete(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// Needed gives the names of all objects that retained snapshots need: manifest
// lists, manifests and data files.
func (t *Table) Needed(ctx context.Context) (map[string]bool, error) {
	fail := func(err error) (map[string]bool, error) {
		return nil, fmt.Errorf("objects that %s needs: %w", t.root, err)
	}
	if err := t.turn.take(ctx, t.archive.away); err != nil {
		return fail(err)
	}
	defer t.turn.leave()
	if _, err := t.refresh(ctx); err != nil {
		return fail(err)
	}
	refs, err := t.references(ctx, t.current(), true)
	if err != nil {
		return fail(err)
	}
	return refs, nil
}

// Unreferenced lists data objects older than a time that no retained snapshot
// of the table needs: files that were deleted or replaced, and uploads that were
// never committed. Those of a commit under way are young.
func (t *Table) Unreferenced(ctx context.Context, olderThan time.Time) ([]objstore.Object, error) {
	refs, err := t.Needed(ctx)
	if err != nil {
		return nil, err
	}
	var out []objstore.Object
	for o, err := range t.bucket.List(ctx, t.root+"/data/") {
		if err != nil {
			return nil, fmt.Errorf("unreferenced files of %s: %w", t.root, err)
		}
		if o.Modified.Before(olderThan) && !refs[o.Name] {
			out = append(out, o)
		}
	}
	return out, nil
}

// Departed reports when this process saw a file leave the table, by a deletion
// or a replacement. It forgets with the process.
func (t *Table) Departed(name string) (time.Time, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	at, ok := t.departed[name]
	return at, ok
}

// Forget lets go of what Departed knows of a file whose object is gone.
func (t *Table) Forget(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.departed, name)
}

// Snapshots counts the snapshots that the table's metadata holds.
func (t *Table) Snapshots() int { return len(t.current().meta.Snapshots()) }
