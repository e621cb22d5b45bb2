package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
)

func openArchive(t testing.TB, b objstore.Bucket, o Options) *Archive {
	t.Helper()
	a, err := Open(context.Background(), b, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func createTable(t testing.TB, a *Archive, topic string) *Table {
	t.Helper()
	tbl, err := a.CreateTable(context.Background(), topic)
	if err != nil {
		t.Fatal(err)
	}
	return tbl
}

// upload writes a file of ordinary messages into a table's folder.
func upload(t testing.TB, tbl *Table, q mq.Queue, r mq.Range, epoch int64) DataFile {
	t.Helper()
	var buf bytes.Buffer
	w := NewFileWriter(&buf, q, FileOptions{Epoch: epoch})
	for off := r.From; off < r.To; off++ {
		if err := w.Add(testRecord(q, off)); err != nil {
			t.Fatal(err)
		}
	}
	f, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	f.Name = FileName(q, tbl.Root(), f.Offsets.From, f.Rows, epoch)
	if err := tbl.bucket.Put(context.Background(), f.Name, bytes.NewReader(buf.Bytes()), f.Bytes, objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
	return f
}

// fake is a file that only the metadata knows well: its content is its name.
func fake(t testing.TB, tbl *Table, q mq.Queue, r mq.Range, epoch int64) DataFile {
	t.Helper()
	name := FileName(q, tbl.Root(), r.From, r.Len(), epoch)
	if err := tbl.bucket.Put(context.Background(), name, strings.NewReader(name), int64(len(name)), objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
	return DataFile{
		Name: name, Queue: q, Offsets: r, Rows: r.Len(), Bytes: int64(len(name)), Epoch: epoch,
		FirstStoreMillis: 1000 + r.From, LastStoreMillis: 1000 + r.To - 1, FirstPhysical: r.From * 10, LastPhysical: (r.To - 1) * 10,
	}
}

func commitOf(id string, epoch int64, files ...DataFile) Commit {
	return Commit{ID: id, Broker: testQueue.Broker, Epoch: epoch, Files: files}
}

func mustAppend(t testing.TB, tbl *Table, c Commit) Snapshot {
	t.Helper()
	s, err := tbl.Append(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAppendIsExact(t *testing.T) {
	ctx := context.Background()
	b := mem.New()
	tbl := createTable(t, openArchive(t, b, Options{}), "orders")
	q := testQueue
	first := fake(t, tbl, q, mq.Range{From: 5, To: 10}, 1)
	snap := mustAppend(t, tbl, Commit{ID: "a", Broker: q.Broker, Epoch: 1, Files: []DataFile{first}, NextPhysical: 77, StoreTimeLow: 1004})
	if snap.Next[q] != 10 || snap.NextPhysical[q.Broker] != 77 || snap.StoreTimeLow != 1004 || snap.CommitID != "a" || snap.Epoch[q.Broker] != 1 {
		t.Errorf("snapshot: %+v", snap)
	}
	again := mustAppend(t, tbl, commitOf("a", 1, first))
	if again.Version != snap.Version {
		t.Error("a repeated commit made a new version")
	}
	same := fake(t, tbl, q, mq.Range{From: 5, To: 10}, 1)
	if s := mustAppend(t, tbl, commitOf("b", 1, same)); s.Version != snap.Version {
		t.Error("a repeated range made a new version")
	}
	for name, c := range map[string]struct {
		r    mq.Range
		want error
	}{
		"overlap":       {mq.Range{From: 8, To: 12}, ErrOverlap},
		"inner overlap": {mq.Range{From: 6, To: 9}, ErrOverlap},
		"before":        {mq.Range{From: 0, To: 5}, ErrOverlap},
		"gap":           {mq.Range{From: 11, To: 12}, ErrGap},
	} {
		if _, err := tbl.Append(ctx, commitOf(name, 1, fake(t, tbl, q, c.r, 1))); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Repeated and new files in one commit: the new ones count.
	snap = mustAppend(t, tbl, commitOf("c", 1, same, fake(t, tbl, q, mq.Range{From: 10, To: 20}, 1), fake(t, tbl, q, mq.Range{From: 20, To: 21}, 1)))
	if snap.Next[q] != 21 || snap.NextPhysical[q.Broker] != 77 {
		t.Errorf("snapshot: %+v", snap)
	}
	if r, ok := tbl.Index().Range(q); !ok || r != (mq.Range{From: 5, To: 21}) {
		t.Errorf("range %v, %v", r, ok)
	}
	lost := fake(t, tbl, q, mq.Range{From: 21, To: 22}, 1)
	lost.Bytes++
	if _, err := tbl.Append(ctx, commitOf("d", 1, lost)); !errors.Is(err, ErrNoFile) {
		t.Errorf("a file of another length: %v", err)
	}
	lost.Name = FileName(q, tbl.Root(), 21, 1, 1)
	if _, err := tbl.Append(ctx, commitOf("d", 1, lost)); !errors.Is(err, ErrNoFile) {
		t.Errorf("a file that isn't there: %v", err)
	}
}

// TestReopen: what one process commits, another one finds.
func TestReopen(t *testing.T) {
	ctx := context.Background()
	b := mem.New()
	tbl := createTable(t, openArchive(t, b, Options{MergeManifests: 4}), "%RETRY%INST%a group")
	q := mq.Queue{Broker: "b", Topic: tbl.Topic(), ID: 0}
	q2 := mq.Queue{Broker: "b", Topic: tbl.Topic(), ID: 7}
	other, err := openArchive(t, b, Options{}).Table(ctx, tbl.Topic())
	if err != nil {
		t.Fatal(err)
	}
	for i := int64(0); i < 40; i++ {
		c := Commit{ID: fmt.Sprint(i), Broker: "b", Epoch: 1, Files: []DataFile{
			fake(t, tbl, q, mq.Range{From: i * 10, To: i*10 + 10}, 1), fake(t, tbl, q2, mq.Range{From: i, To: i + 1}, 1),
		}}
		mustAppend(t, tbl, c)
		if i%7 == 0 {
			if changed, err := other.Refresh(ctx); err != nil || !changed {
				t.Fatal(changed, err)
			}
			checkSame(t, tbl, other)
		}
	}
	if n := len(tbl.current().manifests); n > 8 {
		t.Errorf("%d manifests after 40 commits", n)
	}
	third, err := openArchive(t, b, Options{}).Table(ctx, tbl.Topic())
	if err != nil {
		t.Fatal(err)
	}
	checkSame(t, tbl, third)
	if changed, err := other.Refresh(ctx); err != nil || !changed {
		t.Fatal(changed, err)
	}
	checkSame(t, tbl, other)
	if changed, err := other.Refresh(ctx); err != nil || changed {
		t.Errorf("refresh of nothing new: %v, %v", changed, err)
	}
	topics, err := openArchive(t, b, Options{}).Topics(ctx)
	if err != nil || len(topics) != 1 || topics[0] != "%RETRY%INST%a group" {
		t.Errorf("topics %q, %v", topics, err)
	}
}

func checkSame(t *testing.T, a, b *Table) {
	t.Helper()
	if x, y := fmt.Sprintf("%+v", a.Snapshot()), fmt.Sprintf("%+v", b.Snapshot()); x != y {
		t.Errorf("snapshots differ:\n%s\n%s", x, y)
	}
	x, y := a.Index().All(), b.Index().All()
	if fmt.Sprintf("%+v", x) != fmt.Sprintf("%+v", y) {
		t.Errorf("indexes differ: %d and %d files", len(x), len(y))
	}
}

func TestFence(t *testing.T) {
	ctx := context.Background()
	b := mem.New()
	old := createTable(t, openArchive(t, b, Options{}), "orders")
	young := createTable(t, openArchive(t, b, Options{}), "orders")
	q := testQueue
	if err := old.Fence(ctx, q.Broker, 1); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, old, commitOf("1", 1, fake(t, old, q, mq.Range{From: 0, To: 1}, 1)))
	if err := young.Fence(ctx, q.Broker, 2); err != nil {
		t.Fatal(err)
	}
	if s := young.Snapshot(); s.Next[q] != 1 || s.Epoch[q.Broker] != 2 {
		t.Errorf("after the fence: %+v", s)
	}
	// The old writer doesn't know yet, and its commit races with nothing.
	if _, err := old.Append(ctx, commitOf("2", 1, fake(t, old, q, mq.Range{From: 1, To: 2}, 1))); !errors.Is(err, ErrFenced) {
		t.Errorf("fenced commit: %v", err)
	}
	if err := old.Fence(ctx, q.Broker, 1); !errors.Is(err, ErrFenced) {
		t.Errorf("fence below: %v", err)
	}
	otherQueue := mq.Queue{Broker: "other", Topic: "orders"}
	c := commitOf("3", 0, fake(t, old, otherQueue, mq.Range{From: 0, To: 1}, 0))
	c.Broker = "other"
	mustAppend(t, old, c)
	if s := mustAppend(t, young, commitOf("2", 2, fake(t, young, q, mq.Range{From: 1, To: 5}, 2))); s.Next[q] != 5 || s.Next[otherQueue] != 1 {
		t.Errorf("snapshot %+v", s)
	}
}

func TestDelete(t *testing.T) {
	ctx := context.Background()
	b := mem.New()
	now := time.Now()
	a := openArchive(t, b, Options{KeepSnapshots: 2, MergeManifests: 3, ManifestEntries: 4, Now: func() time.Time { return now }})
	tbl := createTable(t, a, "orders")
	q := testQueue
	var names []string
	for i := int64(0); i < 10; i++ {
		f := fake(t, tbl, q, mq.Range{From: i * 10, To: i*10 + 10}, 1)
		names = append(names, f.Name)
		mustAppend(t, tbl, commitOf(fmt.Sprint(i), 1, f))
	}
	snap, err := tbl.Delete(ctx, names[:4], "older than a day")
	if err != nil {
		t.Fatal(err)
	}
	if snap.Next[q] != 100 {
		t.Errorf("snapshot %+v", snap)
	}
	if r, _ := tbl.Index().Range(q); r != (mq.Range{From: 40, To: 100}) {
		t.Errorf("range %v", r)
	}
	if s, err := tbl.Delete(ctx, names[:4], "again"); err != nil || s.Version != snap.Version {
		t.Errorf("delete again: %v, %v", s.Version, err)
	}
	again, err := openArchive(t, b, Options{}).Table(ctx, "orders")
	if err != nil {
		t.Fatal(err)
	}
	checkSame(t, tbl, again)
	if _, err := tbl.Delete(ctx, names, "all"); !errors.Is(err, ErrReplaced) || len(tbl.Index().All()) != 6 {
		t.Fatalf("delete some that are there and some that are not: %v", err)
	}
	if _, err := tbl.Delete(ctx, names[4:], "all"); err != nil {
		t.Fatal(err)
	}
	if r, ok := tbl.Index().Range(q); !ok || r != (mq.Range{From: 100, To: 100}) {
		t.Errorf("range %v, %v", r, ok)
	}
	future := time.Now().Add(time.Hour)
	if un, err := tbl.Unreferenced(ctx, future); err != nil || len(un) >= 10 {
		t.Errorf("old snapshots still need some: %d, %v", len(un), err)
	}
	mustAppend(t, tbl, commitOf("last", 1, fake(t, tbl, q, mq.Range{From: 100, To: 101}, 1)))
	if err := tbl.Expire(ctx, 1, future, nil); err != nil {
		t.Fatal(err)
	}
	if un, err := tbl.Unreferenced(ctx, future); err != nil || len(un) != 10 {
		t.Errorf("unreferenced: %d, %v", len(un), err)
	}
	again, err = openArchive(t, b, Options{}).Table(ctx, "orders")
	if err != nil {
		t.Fatal(err)
	}
	checkSame(t, tbl, again)
}

func TestDropAndRecreate(t *testing.T) {
	ctx := context.Background()
	b := mem.New()
	a := openArchive(t, b, Options{})
	tbl := createTable(t, a, "orders")
	q := testQueue
	mustAppend(t, tbl, commitOf("1", 1, fake(t, tbl, q, mq.Range{From: 0, To: 9}, 1)))
	if err := a.DropTable(ctx, "orders", "topic deleted"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Table(ctx, "orders"); !errors.Is(err, ErrNoTable) {
		t.Errorf("after the drop: %v", err)
	}
	if _, err := tbl.Append(ctx, commitOf("2", 1, fake(t, tbl, q, mq.Range{From: 9, To: 10}, 1))); !errors.Is(err, ErrNoTable) {
		t.Errorf("append to a dropped table: %v", err)
	}
	if topics, err := a.Topics(ctx); err != nil || len(topics) != 0 {
		t.Errorf("topics %v, %v", topics, err)
	}
	second := createTable(t, a, "orders")
	if second.Root() != "default/orders.2" || second.Incarnation() != 2 {
		t.Errorf("second incarnation in %s", second.Root())
	}
	mustAppend(t, second, commitOf("1", 1, fake(t, second, q, mq.Range{From: 0, To: 3}, 1)))
	if err := a.DropTable(ctx, "none", ""); err != nil {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	for topic, root := range map[string]string{
		"orders":               "default/orders",
		"INST%orders":          "INST/orders",
		"%RETRY%INST%my group": "INST/!25RETRY!25my!20group",
		"%DLQ%g":               "default/!25DLQ!25g",
		"default%orders":       "default/default!25orders",
		"default%default%o":    "default/default!25default!25o",
		"a.b/../c!d":           "default/a!2Eb!2F!2E!2E!2Fc!21d",
		"_x":                   "default/!5Fx",
		"%a":                   "default/!25a",
		"a%":                   "default/a!25",
		"тема":                 "default/!D1!82!D0!B5!D0!BC!D0!B0",
	} {
		p := tablePlace{topic, 1}
		if p.root() != root {
			t.Errorf("%q is in %s, want %s", topic, p.root(), root)
		}
		for _, n := range []int{1, 2, 11} {
			p := tablePlace{topic, n}
			if err := objstore.CheckName(p.root() + "/metadata/v1.metadata.json"); err != nil {
				t.Error(err)
			}
			if got, ok := parseMarker(p.marker()); !ok || got != p {
				t.Errorf("marker %s gives %+v, %v", p.marker(), got, ok)
			}
		}
	}
}
