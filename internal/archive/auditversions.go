package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"varve/internal/objstore"
)

// comparedVersions is how many of the versions before the newest are compared
// with it.
const comparedVersions = 16

// oddVersions says what of a table's other versions does not fit the one that
// is read: a newer state was there, and was put back.
func (t *Table) oddVersions(ctx context.Context, st *state, hint int64) ([]string, error) {
	var odd []string
	if why := t.misnamed(st); why != "" {
		odd = append(odd, why)
	}
	if hint > st.version {
		odd = append(odd, fmt.Sprintf("the hint is of version %d, the newest that can be read is %d", hint, st.version))
	}
	var versions []int64
	for o, err := range t.bucket.List(ctx, t.root+"/metadata/v") {
		if err != nil {
			return nil, fmt.Errorf("list versions of %s: %w", t.root, err)
		}
		if v, ok := parseVersion(t.root, o.Name); ok {
			versions = append(versions, v)
		}
	}
	slices.Sort(versions)
	at, _ := slices.BinarySearch(versions, st.version)
	for _, v := range versions[max(0, at-comparedVersions):at] {
		older, err := t.loadVersion(ctx, v)
		switch {
		case errors.Is(err, objstore.ErrNotFound): // swept meanwhile
		case Unreadable(err):
			odd = append(odd, fmt.Sprintf("version %d, older than the newest, can't be read: %v", v, err))
		case err != nil:
			return nil, err
		default:
			odd = append(odd, ahead(older, st)...)
		}
	}
	more, err := t.laterVersions(ctx, st, versions[at:])
	return append(odd, more...), err
}

// laterVersions looks at versions that were not there, or could not be read,
// when the newest was looked for. Commits that were made meanwhile follow it one
// by one.
func (t *Table) laterVersions(ctx context.Context, st *state, versions []int64) (odd []string, err error) {
	last := st.version
	for _, v := range versions {
		if v <= last {
			continue
		}
		if v == last+1 {
			_, err := t.loadState(ctx, v, nil)
			switch {
			case err == nil:
				last = v
				continue
			case !Unreadable(err) && !errors.Is(err, objstore.ErrNotFound):
				return nil, err
			}
			odd = append(odd, fmt.Sprintf("version %d, behind the newest, can't be read: %v", v, err))
			continue
		}
		odd = append(odd, fmt.Sprintf("version %d is there, and the one before it is not", v))
	}
	return odd, nil
}

// ahead says where an older version had more than a newer one.
func ahead(older, newer *state) (odd []string) {
	if newer.snap.TimeMillis < older.snap.TimeMillis {
		odd = append(odd, fmt.Sprintf("version %d was committed later than version %d", older.version, newer.version))
	}
	for q, next := range older.snap.Next {
		if have, ok := newer.snap.Next[q]; !ok || have < next {
			odd = append(odd, fmt.Sprintf("version %d went on at offset %d of %v, version %d goes on at %d", older.version, next, q, newer.version, have))
		}
	}
	slices.Sort(odd)
	return odd
}

// misnamed compares a version's name with the one that its content says it
// follows: an older version under a newer one's name shows.
func (t *Table) misnamed(st *state) string {
	before := ""
	for log := range st.meta.PreviousFiles() {
		before = log.MetadataFile
	}
	want := ""
	if st.version > 1 {
		want = t.location(st.meta).path(t.root + "/" + versionName(st.version-1))
	}
	if before != want {
		return fmt.Sprintf("version %d says that it follows %q, not %q", st.version, before, want)
	}
	return ""
}

// Root is the folder of an incarnation's table.
func (i Incarnation) Root() string { return tablePlace{i.Topic, i.Number}.root() }

// Unmarked lists the folders that hold a table's metadata and have no marker:
// nobody finds those tables. have are the marked ones.
func (a *Archive) Unmarked(ctx context.Context, have []Incarnation) ([]string, error) {
	known := map[string]bool{}
	for _, i := range have {
		known[i.Root()] = true
	}
	var out []string
	for o, err := range a.bucket.List(ctx, "") {
		if err != nil {
			return nil, fmt.Errorf("list the archive: %w", err)
		}
		root, ok := rootOfVersion(o.Name)
		if ok && !known[root] {
			known[root] = true
			out = append(out, root)
		}
	}
	return out, nil
}
