package apply

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
	"varve/internal/typed"
)

// share puts an object that two queues share in the place of the first file of
// store's and one more, with some rows erased.
func share(t testing.TB, b objstore.Bucket) {
	t.Helper()
	table := open(t, b)
	other := queue
	other.ID = 1
	runs := [][]archive.DataFile{table.Index().All()[:1], {commit(t, b, table, other, 20)}}
	var buf bytes.Buffer
	s, err := archive.ShareFiles(t.Context(), &buf, b, runs, archive.MergeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Name(archive.SharedName("b", table.Root(), 0, s.Sections[0].Section.Rows, 1))
	replace(t, b, table, buf.Bytes(), archive.ReplaceFiles, s.Sections, runs[0][0].Name, runs[1][0].Name)
	files, err := archive.OpenFiles(t.Context(), b, table.Index().Object(s.Sections[0].Name))
	if err != nil {
		t.Fatal(err)
	}
	buf.Reset()
	made, _, err := archive.EraseShared(t.Context(), files, &buf, archive.FileOptions{Epoch: 1}, "e", func(q mq.Queue, off int64) bool { return off%6 == 1 })
	if err != nil {
		t.Fatal(err)
	}
	name := archive.SharedName("b", table.Root(), 1, made[0].Section.Rows, 1)
	for i := range made {
		made[i].Name = name
	}
	replace(t, b, table, buf.Bytes(), archive.OverwriteRows, made, s.Sections[0].Name)
}

func replace(t testing.TB, b objstore.Bucket, table *archive.Table, data []byte, op archive.ReplaceOp, fresh []archive.DataFile, old ...string) {
	t.Helper()
	if err := b.Put(t.Context(), fresh[0].Name, bytes.NewReader(data), int64(len(data)), objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
	if _, err := table.Replace(t.Context(), archive.Replacement{ID: fresh[0].Name, Old: old, New: fresh, Op: op, Reason: "test"}); err != nil {
		t.Fatal(err)
	}
}

// commit adds a file of a queue from offset 0 on.
func commit(t testing.TB, b objstore.Bucket, table *archive.Table, q mq.Queue, rows int64) archive.DataFile {
	t.Helper()
	var buf bytes.Buffer
	w := archive.NewFileWriter(&buf, q, archive.FileOptions{Epoch: 1})
	for off := range rows {
		m, err := record(t, off).Decode()
		if err != nil {
			t.Fatal(err)
		}
		m.QueueID, m.PhysicalOffset = q.ID, m.PhysicalOffset+1_000_000
		if err := w.Add(mq.AppendRecord(nil, &m)); err != nil {
			t.Fatal(err)
		}
	}
	f, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	f.Name = archive.FileName(q, table.Root(), 0, f.Rows, 1)
	if err := b.Put(t.Context(), f.Name, bytes.NewReader(buf.Bytes()), f.Bytes, objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
	if _, err := table.Append(t.Context(), archive.Commit{ID: f.Name, Broker: "b", Epoch: 1, Files: []archive.DataFile{f}}); err != nil {
		t.Fatal(err)
	}
	return f
}

// bare counts the files of a table without the columns of the schema.
func bare(t testing.TB, b objstore.Bucket) (n int) {
	t.Helper()
	for _, f := range open(t, b).Index().All() {
		file, err := archive.OpenFile(t.Context(), b, f)
		if err != nil {
			t.Fatal(err)
		}
		if have, err := file.TypedColumns(); err != nil || !typed.SameColumns(have, layout(t).Columns) {
			n++
		}
	}
	return n
}

// TestApplyReachesAll: what shares objects, and what has erased rows, gets the
// columns too, and says the same.
func TestApplyReachesAll(t *testing.T) {
	b := mem.New()
	store(t, b)
	share(t, b)
	want, old := rows(t, b), open(t, b).Index().All()
	p, err := run(t, t.Context(), b)
	if err != nil || p.Files != 2 || p.Done != 2 || p.Skipped != 0 || p.Left != nil {
		t.Fatal(p, err)
	}
	if !bytes.Equal(rows(t, b), want) {
		t.Error("other rows")
	}
	fresh := open(t, b).Index().All()
	if n := bare(t, b); n != 0 || len(fresh) != 3 || len(archive.Objects(fresh)) != 2 {
		t.Errorf("%d of %d files have no columns", n, len(fresh))
	}
	for i, object := range archive.ByObject(old) {
		if err := archive.SameRows(t.Context(), b, b, object, archive.ByObject(fresh)[i], nil); err != nil {
			t.Error(err)
		}
	}
}

// TestApplyAroundDamage: a damaged object is left and named, with its rows; the
// others have the columns.
func TestApplyAroundDamage(t *testing.T) {
	inner := mem.New()
	store(t, inner)
	share(t, inner)
	files := open(t, inner).Index().All()
	bad := files[0].Name
	b := objtest.NewFaulty(inner)
	b.Add(objtest.Fault{Op: objtest.ReadAt, Name: bad, Err: objstore.ErrNotFound})
	p, err := run(t, t.Context(), b)
	if err != nil || p.Done != 2 || p.Skipped != 1 || len(p.Left) != 2 || p.Left[0].Object != bad || p.Left[0].Range != files[0].Offsets || !strings.Contains(p.Left[0].Why, objstore.ErrNotFound.Error()) {
		t.Fatalf("%+v, %v", p, err)
	}
	if n := bare(t, inner); n != 2 {
		t.Errorf("%d files have no columns", n)
	}
}

// TestApplyAfterOthers: what another one replaces while it is read gets the
// columns in the same run.
func TestApplyAfterOthers(t *testing.T) {
	b := mem.New()
	store(t, b)
	a, err := archive.Open(t.Context(), b, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	shared := false
	var last Progress
	applier := New(Config{Broker: "b", Dir: t.TempDir()}, a)
	if err := applier.Apply(context.WithoutCancel(t.Context()), queue.Topic, layout(t), func(p Progress) {
		if last = p; !shared {
			shared = true
			share(t, b) // the run has its list already
		}
	}); err != nil {
		t.Fatal(err)
	}
	if n := bare(t, b); n != 0 || last.Skipped != 0 || last.Done != last.Files {
		t.Errorf("%d files have no columns: %+v", n, last)
	}
}
