package archive

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/apache/iceberg-go/table"
)

// tagPrefix begins the names of the tags that Tag makes: others are somebody
// else's.
const tagPrefix = "varve-lease-"

// ErrNoSnapshot says that a table does not have a snapshot (any more).
var ErrNoSnapshot = errors.New("no such snapshot")

// Tag keeps a snapshot, and every file that it names, until Untag: as an Iceberg
// tag, so engines see it too.
func (t *Table) Tag(ctx context.Context, name string, snapshot int64) error {
	return t.retag(ctx, name, func(st *state, b *table.MetadataBuilder) error {
		if st.meta.SnapshotByID(snapshot) == nil {
			return fmt.Errorf("%w: %d", ErrNoSnapshot, snapshot)
		}
		if have, ok := st.tags()[name]; ok && have == snapshot {
			return errApplied
		}
		if st.erasedSince(snapshot) {
			return fmt.Errorf("%w: %d", ErrErasedSince, snapshot)
		}
		return b.SetSnapshotRef(tagPrefix+name, snapshot, table.TagRef)
	})
}

// Untag lets a tagged snapshot go. That there is none is no error.
func (t *Table) Untag(ctx context.Context, name string) error {
	return t.retag(ctx, name, func(st *state, b *table.MetadataBuilder) error {
		if _, ok := st.tags()[name]; !ok {
			return errApplied
		}
		return b.RemoveSnapshotRef(tagPrefix + name)
	})
}

func (t *Table) retag(ctx context.Context, name string, edit func(*state, *table.MetadataBuilder) error) error {
	fail := func(err error) error { return fmt.Errorf("tag %s of %s: %w", name, t.root, err) }
	if err := t.turn.take(ctx, t.archive.away); err != nil {
		return fail(err)
	}
	defer t.turn.leave()
	if _, err := t.refresh(ctx); err != nil {
		return fail(err)
	}
	_, err := t.commit(ctx, func(st *state) (*change, error) {
		b, err := table.MetadataBuilderFromBase(st.meta, t.location(st.meta).path(t.root+"/"+versionName(st.version)))
		if err != nil {
			return nil, err
		}
		if err := edit(st, b); err != nil {
			return nil, err
		}
		meta, err := b.Build()
		return &change{meta: meta, manifests: st.manifests}, err
	})
	if err != nil {
		return fail(err)
	}
	return nil
}

// tags gives the snapshots that Tag keeps, by name.
func (s *state) tags() map[string]int64 {
	out := map[string]int64{}
	for name, ref := range s.meta.Refs() {
		if own, ok := strings.CutPrefix(name, tagPrefix); ok {
			out[own] = ref.SnapshotID
		}
	}
	return out
}

// referenced reports whether anybody's tag or branch names a snapshot.
func (s *state) referenced(id int64) bool {
	for _, ref := range s.meta.Refs() {
		if ref.SnapshotID == id {
			return true
		}
	}
	return false
}

// Tags gives the snapshots that are kept by Tag, by name.
func (t *Table) Tags() map[string]int64 { return maps.Clone(t.current().tags()) }

// KeptBytes is the length of the data files that a retained snapshot names and
// the newest one does not: what it costs to keep it.
func (t *Table) KeptBytes(ctx context.Context, snapshot int64) (int64, error) {
	if err := t.turn.take(ctx, t.archive.away); err != nil {
		return 0, fmt.Errorf("files of snapshot %d of %s: %w", snapshot, t.root, err)
	}
	defer t.turn.leave()
	files, err := t.filesAt(ctx, snapshot)
	if err != nil {
		return 0, fmt.Errorf("files of snapshot %d of %s: %w", snapshot, t.root, err)
	}
	var n int64
	for _, f := range files {
		if _, ok := t.index.File(f.Name); !ok {
			n += f.Bytes
		}
	}
	return n, nil
}

func (t *Table) filesAt(ctx context.Context, snapshot int64) ([]DataFile, error) {
	return t.filesIn(ctx, t.current(), snapshot)
}

// filesIn gives the files of a snapshot that a version's metadata has.
func (t *Table) filesIn(ctx context.Context, st *state, snapshot int64) ([]DataFile, error) {
	snap := st.meta.SnapshotByID(snapshot)
	if snap == nil {
		return nil, ErrNoSnapshot
	}
	l := t.location(st.meta)
	name, err := l.name(snap.ManifestList)
	if err != nil {
		return nil, err
	}
	data, err := getObject(ctx, t.bucket, name, maxManifestSize)
	if err != nil {
		return nil, err
	}
	manifests, err := parseManifestList(name, data)
	if err != nil {
		return nil, err
	}
	var out []DataFile
	for _, m := range manifests {
		if files, ok := t.known[m.FilePath()]; ok {
			out = append(out, files...)
			continue
		}
		entries, err := t.readManifest(ctx, l, m)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			files, err := filesOf(l, t.place.topic, e.DataFile())
			if err != nil {
				return nil, err
			}
			out = append(out, files...)
		}
	}
	return out, nil
}
