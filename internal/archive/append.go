package archive

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"varve/internal/mq"
)

// maxCommitFiles bounds one commit.
const maxCommitFiles = 10_000

// Append commits files. It is idempotent by Commit.ID and by (queue, offset
// range): what was committed is not committed again. Else ErrFenced,
// ErrOverlap or ErrGap, and nothing is changed. After any other error the
// commit may have happened; repeating it with the same ID settles that. When it
// returns without an error, the store has given back every object that a new
// process needs to find the commit.
func (t *Table) Append(ctx context.Context, c Commit) (Snapshot, error) {
	if err := t.checkCommit(ctx, c); err != nil {
		return Snapshot{}, fmt.Errorf("append to %s: %w", t.root, t.archive.blame(ctx, err))
	}
	if err := t.yielded.wait(ctx); err != nil {
		return Snapshot{}, fmt.Errorf("append to %s: %w", t.root, err)
	}
	if err := t.turn.take(ctx, t.archive.away); err != nil {
		return Snapshot{}, fmt.Errorf("append to %s: %w", t.root, err)
	}
	defer t.turn.leave()
	a := &appender{t: t, ctx: ctx, c: c}
	snap, err := t.commit(ctx, a.build)
	if err == nil {
		err = t.archive.blame(ctx, a.confirm())
	}
	if err != nil {
		return Snapshot{}, fmt.Errorf("append to %s: %w", t.root, err)
	}
	return snap, nil
}

// confirm makes sure that a new process finds what the commit says: publish
// has read back what it wrote, so what is left is the version of a commit that
// was made before, and the table's marker.
func (a *appender) confirm() error {
	t := a.t
	if a.applied {
		if err := t.stillStands(a.ctx); err != nil {
			return err
		}
	}
	return t.mark(a.ctx)
}

// checkCommit refuses what can't be right by itself, and checks that the
// store has the files: a commit never names a file that isn't there.
func (t *Table) checkCommit(ctx context.Context, c Commit) error {
	if c.ID == "" || c.Broker == "" {
		return errors.New("a commit needs an id and a broker group")
	}
	if len(c.Files) > maxCommitFiles {
		return fmt.Errorf("%d files in one commit, the limit is %d", len(c.Files), maxCommitFiles)
	}
	for _, f := range c.Files {
		if f.Queue.Topic != t.place.topic || f.Queue.Broker != c.Broker {
			return fmt.Errorf("file %s is of %s", f.Name, f.Queue)
		}
		if f.Shared() {
			return fmt.Errorf("file %s: only a replacement makes shared objects", f.Name)
		}
	}
	if err := t.checkFiles(c.Files); err != nil {
		return err
	}
	return t.stored(ctx, c.Files)
}

// appender builds one Append over as many bases as it takes.
type appender struct {
	t        *Table
	ctx      context.Context
	c        Commit
	id       int64 // of the snapshot
	files    []DataFile
	manifest iceberg.ManifestFile // of files
	applied  bool                 // the table had all of it
}

func (a *appender) build(st *state) (*change, error) {
	if a.applied = st.committed(a.c.ID); a.applied {
		return nil, errApplied
	}
	if fence := st.snap.Epoch[a.c.Broker]; a.c.Epoch < fence {
		return nil, fmt.Errorf("%w: epoch %d of %s, the table is at %d", ErrFenced, a.c.Epoch, a.c.Broker, fence)
	}
	files, gaps, err := a.t.missing(st, a.c)
	if err != nil {
		return nil, err
	}
	if a.applied = len(files) == 0 && len(a.c.Files) > 0; a.applied {
		return nil, errApplied
	}
	proofs := maps.Clone(st.heads)
	for i := range files {
		if files[i], err = proofs.extend(files[i]); err != nil {
			return nil, err
		}
	}
	if err := a.writeFiles(st, files); err != nil {
		return nil, err
	}
	d := newDraft(st, table.OpAppend, a.id, a.c.ID)
	d.added = files
	d.fences[a.c.Broker] = a.c.Epoch
	for _, f := range files {
		d.next[f.Queue] = f.Offsets.To
	}
	a.t.sign(st, d, a.c.Broker, proofs)
	for _, g := range gaps {
		d.gaps.add(g)
	}
	for q := range d.gaps {
		if r, ok := a.t.index.Range(q); ok {
			d.gaps.prune(q, r.From)
		}
	}
	d.physical[a.c.Broker] = max(d.physical[a.c.Broker], a.c.NextPhysical)
	d.lows[a.c.Broker] = max(d.lows[a.c.Broker], a.c.StoreTimeLow)

	ch := &change{fresh: map[string][]DataFile{}}
	manifests := slices.Clone(st.manifests)
	if a.manifest != nil {
		manifests = append(manifests, a.manifest)
		ch.fresh[a.manifest.FilePath()] = files
	}
	if manifests, err = a.t.merge(a.ctx, st, a.id, manifests, ch.fresh); err != nil {
		return nil, err
	}
	ch.meta, ch.manifests, err = a.t.snapshot(a.ctx, st, d, manifests)
	return ch, err
}

// writeFiles writes the manifest of the files, unless an earlier attempt wrote
// one of the same files.
func (a *appender) writeFiles(st *state, files []DataFile) error {
	if a.manifest != nil && slices.Equal(files, a.files) && st.meta.SnapshotByID(a.id) == nil {
		return nil
	}
	a.id, a.files, a.manifest = newSnapshotID(st.meta), files, nil
	if len(files) == 0 {
		return nil
	}
	added, err := a.t.addFiles(a.ctx, st, a.id, files, map[string][]DataFile{})
	if err != nil {
		return err
	}
	a.manifest = added[0] // of files that share no object
	return nil
}

// missing gives the files that the table doesn't hold yet, in order, and the
// declared gaps before them, or says why they can't follow what it holds.
func (t *Table) missing(st *state, c Commit) (out []DataFile, gaps []Gap, err error) {
	next := map[mq.Queue]int64{}
	for _, f := range sortFiles(c.Files) {
		want, known := next[f.Queue]
		if !known {
			want, known = st.snap.Next[f.Queue]
		}
		switch {
		case !known || f.Offsets.From == want:
			if first := (Gap{f.Queue, mq.Range{To: f.Offsets.From}}); !known && slices.Contains(c.Gaps, first) {
				gaps = append(gaps, first)
			}
			out = append(out, f)
			next[f.Queue] = f.Offsets.To
		case f.Offsets.From > want && slices.Contains(c.Gaps, Gap{f.Queue, mq.Range{From: want, To: f.Offsets.From}}):
			gaps = append(gaps, Gap{f.Queue, mq.Range{From: want, To: f.Offsets.From}})
			out = append(out, f)
			next[f.Queue] = f.Offsets.To
		case f.Offsets.From > want:
			return nil, nil, fmt.Errorf("%w: %s begins at %d, %s goes on at %d", ErrGap, f.Name, f.Offsets.From, f.Queue, want)
		case !t.holds(f):
			return nil, nil, fmt.Errorf("%w: %s has %d to %d, %s goes on at %d", ErrOverlap, f.Name, f.Offsets.From, f.Offsets.To, f.Queue, want)
		}
	}
	return out, gaps, nil
}

// holds reports whether the table has the range of f already: a committed file
// has exactly that range, or files that a replacement put in its place cover it.
func (t *Table) holds(f DataFile) bool {
	files := t.index.Files(f.Queue, f.Offsets)
	if len(files) == 1 && files[0].Offsets == f.Offsets {
		return true
	}
	at := f.Offsets.From
	for _, have := range files {
		beyond := have.Offsets.From < f.Offsets.From || have.Offsets.To > f.Offsets.To
		if have.Parts == 0 || have.Parts == 1 && beyond || have.Offsets.From > at {
			return false
		}
		at = have.Offsets.To
	}
	return at >= f.Offsets.To
}

// Fence claims the table for a writer of a broker group: every commit of a
// lower epoch fails from then on, also one that is under way. ErrFenced where
// a newer writer was faster.
func (t *Table) Fence(ctx context.Context, broker string, epoch int64) error {
	fail := func(err error) error { return fmt.Errorf("fence %s for %s: %w", t.root, broker, err) }
	if err := t.turn.take(ctx, t.archive.away); err != nil {
		return fail(err)
	}
	defer t.turn.leave()
	if _, err := t.refresh(ctx); err != nil {
		return fail(err)
	}
	_, err := t.commit(ctx, func(st *state) (*change, error) {
		switch have, ok := st.snap.Epoch[broker]; {
		case ok && have > epoch:
			return nil, fmt.Errorf("%w: epoch %d, the table is at %d", ErrFenced, epoch, have)
		case ok && have == epoch:
			return nil, errApplied
		}
		fences := newDraft(st, table.OpAppend, 0, "").fences
		fences[broker] = epoch
		return t.withProperties(st, iceberg.Properties{propFences: fences.encode()})
	})
	if err != nil {
		return fail(err)
	}
	return nil
}

// withProperties is a change of properties alone.
func (t *Table) withProperties(st *state, p iceberg.Properties) (*change, error) {
	l := t.location(st.meta)
	b, err := table.MetadataBuilderFromBase(st.meta, l.path(t.root+"/"+versionName(st.version)))
	if err != nil {
		return nil, err
	}
	if err := b.SetProperties(p); err != nil {
		return nil, err
	}
	meta, err := b.Build()
	return &change{meta: meta, manifests: st.manifests}, err
}
