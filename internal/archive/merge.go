package archive

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
	"github.com/google/uuid"

	"varve/internal/mq"
)

// liveFiles is the number of files that a manifest still holds.
func liveFiles(m iceberg.ManifestFile) int { return int(m.AddedDataFiles() + m.ExistingDataFiles()) }

// merge replaces small manifests by full ones, sorted by queue, once there are
// enough of them; manifests without live files go. Each manifest of the
// result holds few queues, so engines skip most of them for one queue, and the
// list stays short.
func (t *Table) merge(ctx context.Context, st *state, id int64, manifests []iceberg.ManifestFile, fresh map[string][]DataFile) ([]iceberg.ManifestFile, error) {
	var keep, small []iceberg.ManifestFile
	for _, m := range manifests {
		switch n := liveFiles(m); {
		case n == 0 && m.SnapshotID() != id:
		case n >= t.fullManifest(m) || m.SnapshotID() == id:
			// The new files stay in their own manifest: what a snapshot adds
			// must be seen as added.
			keep = append(keep, m)
		default:
			small = append(small, m)
		}
	}
	if len(small) < t.opts.MergeManifests {
		return append(keep, small...), nil
	}
	l := t.location(st.meta)
	for _, ofSpec := range bySpec(small) {
		entries, err := t.entries(ctx, l, ofSpec)
		if err != nil {
			return nil, fmt.Errorf("merge manifests: %w", err)
		}
		for chunk := range slices.Chunk(entries, t.fullManifest(ofSpec[0])) {
			m, files, err := t.rewrite(ctx, l, id, chunk, nil)
			if err != nil {
				return nil, fmt.Errorf("merge manifests: %w", err)
			}
			keep = append(keep, m)
			fresh[m.FilePath()] = files
		}
	}
	return keep, nil
}

// fullManifest is how many entries make a manifest full.
func (t *Table) fullManifest(m iceberg.ManifestFile) int {
	if m.PartitionSpecID() == sharedSpecID {
		return max(1, t.opts.ManifestEntries/sharedShare)
	}
	return t.opts.ManifestEntries
}

// bySpec parts manifests by their partition spec, of which each has one.
func bySpec(manifests []iceberg.ManifestFile) [][]iceberg.ManifestFile {
	var own, shared []iceberg.ManifestFile
	for _, m := range manifests {
		if m.PartitionSpecID() == sharedSpecID {
			shared = append(shared, m)
		} else {
			own = append(own, m)
		}
	}
	return slices.DeleteFunc([][]iceberg.ManifestFile{own, shared}, func(l []iceberg.ManifestFile) bool { return len(l) == 0 })
}

// entry is a manifest entry and the files it is about: those of one object.
type entry struct {
	iceberg.ManifestEntry
	files []DataFile
}

// entries reads the live entries of manifests, by queue and offset.
func (t *Table) entries(ctx context.Context, l location, manifests []iceberg.ManifestFile) ([]entry, error) {
	var out []entry
	for _, m := range manifests {
		list, err := t.readManifest(ctx, l, m)
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			files, err := filesOf(l, t.place.topic, e.DataFile())
			if err != nil {
				return nil, err
			}
			out = append(out, entry{e, files})
		}
	}
	slices.SortStableFunc(out, func(a, b entry) int {
		if a.files[0].Queue != b.files[0].Queue {
			return compareQueues(a.files[0].Queue, b.files[0].Queue)
		}
		return byOffset(a.files[0], b.files[0])
	})
	return out, nil
}

// rewrite writes a manifest that carries entries on; those whose file is gone
// are marked as deleted by the snapshot. It gives the files that stay.
func (t *Table) rewrite(ctx context.Context, l location, id int64, entries []entry, gone map[string]bool) (iceberg.ManifestFile, []DataFile, error) {
	var files []DataFile
	out := make([]iceberg.ManifestEntry, len(entries))
	for i, e := range entries {
		seq, fileSeq := e.SequenceNum(), e.FileSequenceNum()
		if gone[e.files[0].Name] {
			d, err := departed(e)
			if err != nil {
				return nil, nil, fmt.Errorf("entry of %s: %w", e.files[0].Name, err)
			}
			out[i] = iceberg.NewManifestEntry(iceberg.EntryStatusDELETED, &id, &seq, fileSeq, d)
			continue
		}
		snap := e.SnapshotID()
		out[i] = iceberg.NewManifestEntry(iceberg.EntryStatusEXISTING, &snap, &seq, fileSeq, e.DataFile())
		files = append(files, e.files...)
	}
	m, err := t.writeManifest(ctx, l, id, specOf(entries[0].files[0]), out)
	return m, files, err
}

// departed describes a file that went, without the bounds of its columns: they
// are messages' own values, which retention or an erasure took, and nobody reads
// the file by them.
func departed(e entry) (iceberg.DataFile, error) {
	d := e.DataFile()
	b, err := iceberg.NewDataFileBuilder(specOf(e.files[0]), iceberg.EntryContentData, d.FilePath(), d.FileFormat(), d.Partition(), nil, nil, d.Count(), d.FileSizeBytes())
	if err != nil {
		return nil, err
	}
	return b.Build(), nil
}

// Delete removes whole objects from the table, by metadata only; the caller
// removes the objects once nobody reads them (see Unreferenced). That all of
// them are gone already is no error. Where only some are, or others hold their
// rows, it is ErrReplaced and nothing is changed. reason is kept in the snapshot.
func (t *Table) Delete(ctx context.Context, files []string, reason string) (Snapshot, error) {
	fail := func(err error) (Snapshot, error) {
		return Snapshot{}, fmt.Errorf("delete %d files of %s: %w", len(files), t.root, err)
	}
	if err := t.turn.take(ctx, t.archive.away); err != nil {
		return fail(err)
	}
	defer t.turn.leave()
	commitID := uuid.NewString()
	snap, err := t.commit(ctx, func(st *state) (*change, error) {
		if st.committed(commitID) {
			return nil, errApplied
		}
		return t.buildDelete(ctx, st, commitID, files, reason)
	})
	if err != nil {
		return fail(err)
	}
	return snap, nil
}

func (t *Table) buildDelete(ctx context.Context, st *state, commitID string, names []string, reason string) (*change, error) {
	gone := map[string]bool{}
	d := newDraft(st, table.OpDelete, newSnapshotID(st.meta), commitID)
	d.reason = reason
	for _, name := range names {
		switch files := t.index.Object(name); {
		case len(files) > 0 && !gone[name]:
			gone[name] = true
			d.removed = append(d.removed, files...)
			for _, f := range files {
				d.below[f.Queue] = max(d.below[f.Queue], f.Offsets.To)
			}
		case len(files) == 0 && t.replaced(name):
			return nil, fmt.Errorf("%w: %s", ErrReplaced, name)
		}
	}
	if len(gone) == 0 {
		return nil, errApplied
	}
	for _, name := range names {
		if !gone[name] {
			return nil, fmt.Errorf("%w: %s", ErrReplaced, name)
		}
	}
	ch := &change{fresh: map[string][]DataFile{}}
	manifests, removed, err := t.without(ctx, st, d.id, gone, ch.fresh)
	if err != nil {
		return nil, err
	}
	if d.bases, err = t.newBases(ctx, st, removed); err != nil {
		return nil, err
	}
	ch.meta, ch.manifests, err = t.snapshot(ctx, st, d, manifests)
	return ch, err
}

// replaced reports whether other files hold rows of a file that is not in the
// table, or may: the name of a shared object doesn't say of which queues it was.
func (t *Table) replaced(name string) bool {
	q, r, ok := t.parsePlace(name)
	return ok && len(t.index.Files(q, r)) > 0 || sharedName(name)
}

// parsePlace gives the queue and the offsets that a data file's name says.
func (t *Table) parsePlace(name string) (mq.Queue, mq.Range, bool) {
	from, count, _, ok := parseFileName(name)
	parts := strings.Split(strings.TrimPrefix(name, t.root+"/data/"), "/")
	if !ok || len(parts) != 3 {
		return mq.Queue{}, mq.Range{}, false
	}
	broker, named := decodeName(parts[0])
	id, err := strconv.ParseInt(parts[1], 10, 32)
	q := mq.Queue{Broker: broker, Topic: t.place.topic, ID: int32(id)}
	return q, mq.Range{From: from, To: from + count}, named && err == nil
}

// QueueRange is the archived range of a queue.
func (t *Table) QueueRange(q mq.Queue) (mq.Range, bool) { return t.index.Range(q) }
