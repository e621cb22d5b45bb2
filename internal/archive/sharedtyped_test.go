package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
	"varve/internal/typed"
)

// uploadKinds writes a file of random bodies into a table's folder.
func uploadKinds(t testing.TB, b *mem.Bucket, tbl *Table, q mq.Queue, r mq.Range, l *typed.Layout) DataFile {
	t.Helper()
	var buf bytes.Buffer
	w := NewFileWriter(&buf, q, FileOptions{Epoch: 1, Typed: l})
	rng := rand.New(rand.NewPCG(uint64(r.From), uint64(q.ID)))
	for off := r.From; off < r.To; off++ {
		if err := w.Add(typedRecord(q, off, kindsBody(rng))); err != nil {
			t.Fatal(err)
		}
	}
	f, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	f.Name = FileName(q, tbl.Root(), r.From, f.Rows, 1)
	putBytes(t, b, f.Name, buf.Bytes())
	return f
}

// typedSharing is a table of some queues with typed columns, one object for all of
// them, and its rows as another reader has them.
func typedSharing(t testing.TB, b *mem.Bucket, l *typed.Layout, queues int32) (*Table, []any) {
	t.Helper()
	tbl := createTable(t, openArchive(t, b, Options{}), typedQueue.Topic)
	if err := tbl.Evolve(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	var want []any
	for id := range queues {
		q := typedQueue
		q.ID = id
		for _, r := range []mq.Range{{From: 0, To: 40}, {From: 40, To: 47}} {
			f := uploadKinds(t, b, tbl, q, r, l)
			want = append(want, rowsOf(t, b, f)...)
			mustAppend(t, tbl, commitOf(f.Name, 1, f))
		}
	}
	shareAll(t, b, tbl, int(queues))
	return tbl, want
}

// entryStats gives what the table's one entry says of typed columns.
func entryStats(t testing.TB, tbl *Table) *ColumnStats {
	t.Helper()
	st := tbl.current()
	entries, err := tbl.entries(t.Context(), tbl.location(st.meta), st.manifests)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	return statsOf(entries[0].DataFile())
}

// TestShareTypedFiles: files with typed columns share an object that has them, and
// whose entry says of them what it would of one file.
func TestShareTypedFiles(t *testing.T) {
	b := mem.New()
	l := kindsLayout(t)
	tbl, want := typedSharing(t, b, l, 3)
	all := tbl.Index().All()
	if len(all) != 3 || len(Objects(all)) != 1 || all[1].Schema != 1 {
		t.Fatalf("%+v", all)
	}
	whole := all[0]
	whole.Bytes = whole.ObjectBytes()
	if got := rowsOf(t, b, whole); !reflect.DeepEqual(got, want) {
		t.Error("the object's rows are others")
	}
	opened, err := OpenFiles(t.Context(), b, all)
	if err != nil {
		t.Fatal(err)
	}
	have, err := opened[2].TypedColumns()
	if err != nil || !typed.SameColumns(have, l.Columns) {
		t.Errorf("columns %v, %v", have, err)
	}
	// Written at once, they say the same.
	var buf bytes.Buffer
	direct, err := RetypeShared(t.Context(), &buf, b, all, l, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := entryStats(t, tbl); !reflect.DeepEqual(plainStats(got), plainStats(direct[0].Columns)) {
		t.Errorf("bounds %+v\nwant %+v", plainStats(got), plainStats(direct[0].Columns))
	}
	again, err := openArchive(t, b, Options{}).Table(t.Context(), tbl.Topic())
	if err != nil {
		t.Fatal(err)
	}
	checkSame(t, tbl, again)
}

// TestShareAgain: an object that is shared takes in what came later, of its
// queues and of others, and keeps what is known of its columns.
func TestShareAgain(t *testing.T) {
	b := mem.New()
	l := kindsLayout(t)
	tbl, want := typedSharing(t, b, l, 3)
	before := tbl.Index().All()
	var late [][]any
	for _, id := range []int32{1, 7} {
		q := typedQueue
		q.ID = id
		r := mq.Range{From: 47, To: 60}
		if id == 7 {
			r = mq.Range{From: 0, To: 5}
		}
		f := uploadKinds(t, b, tbl, q, r, l)
		late = append(late, rowsOf(t, b, f))
		mustAppend(t, tbl, commitOf(f.Name, 1, f))
	}
	shareAll(t, b, tbl, 100)
	all := tbl.Index().All()
	if len(all) != 4 || len(Objects(all)) != 1 || all[1].Offsets != (mq.Range{To: 60}) || all[1].Parts != 3 || all[0].Name == before[0].Name {
		t.Fatalf("%+v", all)
	}
	whole := all[0]
	whole.Bytes = whole.ObjectBytes()
	want = slices.Concat(want[:94], late[0], want[94:], late[1])
	if got := rowsOf(t, b, whole); !reflect.DeepEqual(got, want) {
		t.Error("the object's rows are others")
	}
	var buf bytes.Buffer
	direct, err := RetypeShared(t.Context(), &buf, b, all, l, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := entryStats(t, tbl); !reflect.DeepEqual(plainStats(got), plainStats(direct[0].Columns)) {
		t.Errorf("bounds %+v\nwant %+v", plainStats(got), plainStats(direct[0].Columns))
	}
	again, err := openArchive(t, b, Options{}).Table(t.Context(), tbl.Topic())
	if err != nil {
		t.Fatal(err)
	}
	checkSame(t, tbl, again)
	if files, err := OpenFiles(t.Context(), b, again.Index().All()); err != nil || len(files) != 4 {
		t.Errorf("%v", err)
	}
}

// TestShareOneSchema: columns of two kinds don't come together, and the file of
// the other one is named.
func TestShareOneSchema(t *testing.T) {
	b := mem.New()
	v1, v2 := typedLayouts(t)
	tbl := createTable(t, openArchive(t, b, Options{}), typedQueue.Topic)
	one, _ := uploadTyped(t, tbl, typedQueue, mq.Range{To: 5}, v1, 1)
	q := typedQueue
	q.ID = 1
	two, _ := uploadTyped(t, tbl, q, mq.Range{To: 5}, v2, 2)
	_, err := ShareFiles(t.Context(), &bytes.Buffer{}, b, [][]DataFile{{one}, {two}}, MergeOptions{})
	which := (*ObjectError)(nil)
	if !errors.Is(err, ErrUnmergeable) || !errors.As(err, &which) || which.Name != two.Name {
		t.Errorf("%v", err)
	}
}

// TestRetypeErased: rows that were erased are so in the file that has the columns,
// with their leaves, and give none.
func TestRetypeErased(t *testing.T) {
	b := mem.New()
	l := kindsLayout(t)
	tbl, _ := typedSharing(t, b, l, 2)
	old := tbl.Index().All()
	files, err := OpenFiles(t.Context(), b, old)
	if err != nil {
		t.Fatal(err)
	}
	put := func(data []byte, made []DataFile) []DataFile {
		name := SharedName(typedQueue.Broker, tbl.Root(), 0, made[0].Section.Rows, 1)
		for i := range made {
			made[i].Name = name
		}
		if err := b.Put(t.Context(), name, bytes.NewReader(data), int64(len(data)), objstore.IfAbsent); err != nil {
			t.Fatal(err)
		}
		return made
	}
	var buf bytes.Buffer
	made, rows, err := EraseShared(t.Context(), files, &buf, FileOptions{Epoch: 1, Typed: l}, "e1", func(q mq.Queue, off int64) bool { return q.ID == 1 && off%9 == 3 })
	if err != nil || len(rows) != 5 || made[0].Schema != 1 {
		t.Fatalf("%d rows, %+v, %v", len(rows), made, err)
	}
	erased := put(buf.Bytes(), made)
	buf = bytes.Buffer{}
	made, err = RetypeShared(t.Context(), &buf, b, erased, l, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	fresh := put(buf.Bytes(), made)
	if err := SameRows(t.Context(), b, b, erased, fresh, nil); err != nil {
		t.Error(err)
	}
	for i := range fresh {
		if fresh[i].Hashes != old[i].Hashes && old[i].Hashes != "" || fresh[i].Hashes != erased[i].Hashes {
			t.Errorf("section %d has other hashes", i)
		}
	}
	if err := SameRows(t.Context(), b, b, old, fresh, nil); err == nil {
		t.Error("an object without erased rows is the same")
	}
	again, err := OpenFiles(t.Context(), b, fresh)
	if err != nil {
		t.Fatal(err)
	}
	if got := leavesOf(t, again[1]); fmt.Sprint(got) != "[3 12 21 30 39]" {
		t.Errorf("erased %v", got)
	}
}

// leavesOf gives the offsets of erased rows.
func leavesOf(t testing.TB, f *File) (out []int64) {
	t.Helper()
	err := f.Audit(context.Background(), func(row *AuditedRow) error {
		if row.Erased != nil {
			out = append(out, row.Offset)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestTypedAudit: what the program itself writes is what it demands: columns of
// every kind, of files, merged and shared ones, with erased rows and several row
// groups.
func TestTypedAudit(t *testing.T) {
	b := mem.New()
	l := kindsLayout(t)
	one, _ := kindsFile(t, b, "", l, mq.Range{To: 700}, 300)
	two, _ := kindsFile(t, b, "", l, mq.Range{From: 700, To: 900}, 0)
	m := mergeOf(t, b, []DataFile{one, two})
	tbl, _ := typedSharing(t, b, l, 3)
	files, err := OpenFiles(t.Context(), b, tbl.Index().All())
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	erased, _, err := EraseShared(t.Context(), files, &buf, FileOptions{Epoch: 1, Typed: l}, "e1", func(q mq.Queue, off int64) bool { return off%9 == 3 })
	if err != nil {
		t.Fatal(err)
	}
	for i := range erased {
		erased[i].Name = "erased"
	}
	putBytes(t, b, "erased", buf.Bytes())
	for what, list := range map[string][]DataFile{"file": {one}, "merged": {m.File}, "shared": tbl.Index().All(), "erased": erased} {
		opened, err := OpenFiles(t.Context(), b, list)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range opened {
			a, err := f.NewTypedAudit(t.Context(), l, func(offset int64, _, why string) { t.Errorf("%s: offset %d: %s", what, offset, why) })
			if err == nil {
				err = f.Audit(t.Context(), a.Row)
			}
			if err != nil || a.count != f.rows {
				t.Errorf("%s: %d of %d rows, %v", what, a.count, f.rows, err)
			}
			a.Close()
		}
	}
}
