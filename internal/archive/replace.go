package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
	"golang.org/x/sync/errgroup"

	"varve/internal/mq"
)

// ErrReplaced says that a file to be replaced is not in the table: retention
// removed it, or another writer put others in its place.
var ErrReplaced = errors.New("a file to be replaced is not in the table any more")

// errOtherOffsets says that new files are not the old ones' equal.
var errOtherOffsets = errors.New("the new files do not hold the old files' offsets")

// ReplaceOp says what a replacement does to the rows.
type ReplaceOp string

// The operations, as the snapshot has them.
const (
	// ReplaceFiles changes no row: compaction.
	ReplaceFiles = ReplaceOp(table.OpReplace)
	// OverwriteRows changes rows, and keeps each one's offset: erasure.
	OverwriteRows = ReplaceOp(table.OpOverwrite)
)

// Replacement puts files in the place of others of the same queues and
// offsets.
type Replacement struct {
	// ID identifies the replacement: a repeated one is not applied again.
	ID string
	// Old are object names. All must be in the table.
	Old []string
	// New hold exactly the old files' offsets, queue by queue.
	New []DataFile
	Op  ReplaceOp
	// Reason is kept in the snapshot.
	Reason string
	// Erased are the rows, by queue and offset, of which nothing may be read any
	// more: ErrLeased where a kept snapshot has one.
	Erased map[mq.Queue][]int64
}

// Replace commits a replacement: readers see the old files or the new ones,
// never both. ErrReplaced where one of the old files went meanwhile, and
// nothing is changed. After any other error it may have happened; repeating it
// with the same ID settles that. Where each queue goes on, what is declared to
// be missing, fences and marks stay as they are. The old objects stay until
// somebody removes them (see Unreferenced).
func (t *Table) Replace(ctx context.Context, r Replacement) (Snapshot, error) {
	fail := func(err error) (Snapshot, error) {
		return Snapshot{}, fmt.Errorf("replace %d files of %s: %w", len(r.Old), t.root, err)
	}
	if err := t.checkReplacement(ctx, r); err != nil {
		return fail(t.archive.blame(ctx, err))
	}
	if err := t.turn.take(ctx, t.archive.away); err != nil {
		return fail(err)
	}
	defer t.turn.leave()
	p := &replacer{t: t, ctx: ctx, r: r}
	snap, err := t.commit(ctx, p.build)
	if err == nil && p.applied {
		err = t.archive.blame(ctx, t.stillStands(ctx))
	}
	if err != nil {
		return fail(err)
	}
	return snap, nil
}

// stillStands makes sure that a new process finds what was committed before.
func (t *Table) stillStands(ctx context.Context) error {
	st := t.current()
	if err := t.stands(ctx, st); err != nil {
		t.suspect = t.suspect || Unreadable(err)
		return fmt.Errorf("the commit was made before, as version %d: %w", st.version, err)
	}
	return nil
}

func (t *Table) checkReplacement(ctx context.Context, r Replacement) error {
	switch {
	case r.ID == "":
		return errors.New("a replacement needs an id")
	case r.Op != ReplaceFiles && r.Op != OverwriteRows:
		return fmt.Errorf("a replacement can't be an operation %q", r.Op)
	case len(r.Old) == 0 || len(r.New) == 0:
		return errors.New("a replacement needs old and new files")
	case len(r.Old) > maxCommitFiles || len(r.New) > maxCommitFiles:
		return fmt.Errorf("%d files by %d in one commit, the limit is %d", len(r.Old), len(r.New), maxCommitFiles)
	}
	for _, f := range r.New {
		if f.Queue.Topic != t.place.topic {
			return fmt.Errorf("file %s is of %s", f.Name, f.Queue)
		}
		if slices.Contains(r.Old, f.Name) {
			return fmt.Errorf("file %s is to replace itself", f.Name)
		}
	}
	if err := t.checkFiles(r.New); err != nil {
		return err
	}
	for _, sections := range ByObject(r.New) {
		if len(sections) == 1 && !sections[0].Shared() {
			continue
		}
		if err := checkSections(sections); err != nil {
			return err
		}
	}
	return t.stored(ctx, r.New)
}

// checkFiles refuses files that can't be right by themselves.
func (t *Table) checkFiles(files []DataFile) error {
	files = sortFiles(files)
	for i, f := range files {
		_, _, _, named := parseFileName(f.Name)
		switch {
		case f.Offsets.Empty() || f.Offsets.Len() != f.Rows:
			return fmt.Errorf("file %s has %d rows for the offsets %d to %d", f.Name, f.Rows, f.Offsets.From, f.Offsets.To)
		case !named || len(f.Name) <= len(t.root) || f.Name[:len(t.root)+1] != t.root+"/":
			return fmt.Errorf("file %s is not in the table's folder", f.Name)
		case i > 0 && files[i-1].Queue == f.Queue && files[i-1].Offsets.To > f.Offsets.From:
			return fmt.Errorf("files %s and %s: %w", files[i-1].Name, f.Name, ErrOverlap)
		}
	}
	return nil
}

// stored checks that the store has the files: a commit never names a file
// that isn't there.
func (t *Table) stored(ctx context.Context, files []DataFile) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(fetchConcurrency)
	for _, f := range Objects(files) {
		g.Go(func() error { return checkObject(gctx, t.bucket, f.Name, f.ObjectBytes()) })
	}
	return g.Wait()
}

// replacer builds one Replace over as many bases as it takes.
type replacer struct {
	t       *Table
	ctx     context.Context
	r       Replacement
	applied bool // the table had it
}

func (p *replacer) build(st *state) (*change, error) {
	t := p.t
	if p.applied = st.committed(p.r.ID) || p.done(); p.applied {
		return nil, errApplied
	}
	if len(p.r.Erased) > 0 {
		if err := t.leased(p.ctx, st, p.r.Erased); err != nil {
			return nil, err
		}
	}
	gone := map[string]bool{}
	d := newDraft(st, table.Operation(p.r.Op), newSnapshotID(st.meta), p.r.ID)
	d.reason = p.r.Reason
	for _, name := range p.r.Old {
		files := t.index.Object(name)
		if len(files) == 0 {
			return nil, fmt.Errorf("%w: %s", ErrReplaced, name)
		}
		if !gone[name] {
			gone[name] = true
			d.removed = append(d.removed, files...)
		}
	}
	d.added = adopted(d.removed, p.r.New)
	if err := sameOffsets(d.removed, d.added); err != nil {
		return nil, err
	}
	ch := &change{fresh: map[string][]DataFile{}}
	manifests, removed, err := t.without(p.ctx, st, d.id, gone, ch.fresh)
	if err != nil {
		return nil, err
	}
	if err := inherit(d.added, removed); err != nil {
		return nil, err
	}
	joinColumns(d.added, removed)
	added, err := t.addFiles(p.ctx, st, d.id, d.added, ch.fresh)
	if err != nil {
		return nil, err
	}
	manifests = append(manifests, added...)
	if manifests, err = t.merge(p.ctx, st, d.id, manifests, ch.fresh); err != nil {
		return nil, err
	}
	ch.meta, ch.manifests, err = t.snapshot(p.ctx, st, d, manifests)
	return ch, err
}

// done reports whether the table has all new files and none of the old ones:
// the replacement happened, even if its snapshot is expired by now.
func (p *replacer) done() bool {
	for _, name := range p.r.Old {
		if _, ok := p.t.index.File(name); ok {
			return false
		}
	}
	for _, f := range p.r.New {
		if _, ok := p.t.index.File(f.Name); !ok {
			return false
		}
	}
	return true
}

// adopted gives the new files with the number of committed files that each
// stands for.
func adopted(old, files []DataFile) []DataFile {
	files = sortFiles(files)
	for i := range files {
		f := &files[i]
		f.Parts = 0
		for _, o := range old {
			if o.Queue == f.Queue && o.Offsets.From < f.Offsets.To && f.Offsets.From < o.Offsets.To {
				f.Parts += max(o.Parts, 1)
			}
		}
	}
	return files
}

// sameOffsets demands that the new files hold what the old ones do.
func sameOffsets(old, files []DataFile) error {
	had, have := runs(old), runs(files)
	for q, r := range had {
		if !slices.Equal(r, have[q]) {
			return fmt.Errorf("%w: %v of %s, the new ones %v", errOtherOffsets, r, q, have[q])
		}
	}
	for q, r := range have {
		if _, ok := had[q]; !ok {
			return fmt.Errorf("%w: nothing of %s, the new ones %v", errOtherOffsets, q, r)
		}
	}
	return nil
}

// runs are the unbroken ranges of files that don't overlap.
func runs(files []DataFile) map[mq.Queue][]mq.Range {
	out := map[mq.Queue][]mq.Range{}
	for _, f := range sortFiles(files) {
		list := out[f.Queue]
		if n := len(list); n > 0 && list[n-1].To == f.Offsets.From {
			list[n-1].To = f.Offsets.To
		} else {
			out[f.Queue] = append(list, f.Offsets)
		}
	}
	return out
}

// without gives the current snapshot's manifests with the files that are gone
// marked as deleted by a new snapshot, and those files with their proofs and columns.
func (t *Table) without(ctx context.Context, st *state, id int64, gone map[string]bool, fresh map[string][]DataFile) (manifests []iceberg.ManifestFile, removed []DataFile, err error) {
	l := t.location(st.meta)
	for _, m := range st.manifests {
		if liveFiles(m) == 0 {
			continue
		}
		if !slices.ContainsFunc(t.known[m.FilePath()], func(f DataFile) bool { return gone[f.Name] }) {
			manifests = append(manifests, m)
			continue
		}
		entries, err := t.entries(ctx, l, []iceberg.ManifestFile{m})
		if err != nil {
			return nil, nil, err
		}
		for _, e := range entries {
			if gone[e.files[0].Name] {
				columns := statsOf(e.DataFile())
				for i := range e.files {
					e.files[i].Columns = columns // of the object
				}
				removed = append(removed, e.files...)
			}
		}
		rewritten, files, err := t.rewrite(ctx, l, id, entries, gone)
		if err != nil {
			return nil, nil, err
		}
		manifests = append(manifests, rewritten)
		fresh[rewritten.FilePath()] = files
	}
	return manifests, removed, nil
}

// addFiles writes the manifests of the files that a snapshot adds: one, or two
// where some of them share objects, for a manifest has one partition spec.
func (t *Table) addFiles(ctx context.Context, st *state, id int64, files []DataFile, fresh map[string][]DataFile) ([]iceberg.ManifestFile, error) {
	l := t.location(st.meta)
	var entries [2][]iceberg.ManifestEntry
	var described [2][]DataFile
	for _, sections := range ByObject(files) {
		d, err := icebergObject(l, sections)
		if err != nil {
			return nil, fmt.Errorf("describe %s: %w", sections[0].Name, err)
		}
		spec := 0
		if sections[0].Shared() {
			spec = sharedSpecID
		}
		entries[spec] = append(entries[spec], iceberg.NewManifestEntry(iceberg.EntryStatusADDED, &id, nil, nil, d))
		described[spec] = append(described[spec], sections...)
	}
	var out []iceberg.ManifestFile
	for spec, list := range entries {
		if len(list) == 0 {
			continue
		}
		m, err := t.writeManifest(ctx, l, id, specOf(described[spec][0]), list)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
		fresh[m.FilePath()] = described[spec]
	}
	return out, nil
}
