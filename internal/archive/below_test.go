package archive

import (
	"maps"
	"testing"

	"varve/internal/mq"
	"varve/internal/objstore/mem"
)

// TestRemovedBelow: what Delete took stays told by every later snapshot, to new
// processes too, and is heard before the index loses it.
func TestRemovedBelow(t *testing.T) {
	ctx, q, b := t.Context(), testQueue, mem.New()
	var heard map[mq.Queue]int64
	var from int64
	var tbl *Table
	tbl = createTable(t, openArchive(t, b, Options{OnRemoved: func(below map[mq.Queue]int64) {
		heard = below
		r, _ := tbl.QueueRange(q)
		from = r.From
	}}), q.Topic)
	files := []DataFile{upload(t, tbl, q, mq.Range{To: 10}, 1), upload(t, tbl, q, mq.Range{From: 10, To: 20}, 1)}
	mustAppend(t, tbl, commitOf("0", 1, files...))
	if heard != nil || len(tbl.Snapshot().RemovedBelow) != 0 {
		t.Errorf("before a deletion: %v, %v", heard, tbl.Snapshot().RemovedBelow)
	}
	if _, err := tbl.Delete(ctx, []string{files[0].Name}, "age"); err != nil {
		t.Fatal(err)
	}
	want := map[mq.Queue]int64{q: 10}
	if !maps.Equal(heard, want) || from != 0 {
		t.Errorf("heard %v, when the index began at %d", heard, from)
	}
	heard = nil
	mustAppend(t, tbl, commitOf("1", 1, upload(t, tbl, q, mq.Range{From: 20, To: 30}, 1)))
	if heard != nil {
		t.Errorf("heard again: %v", heard)
	}
	if err := tbl.Fence(ctx, q.Broker, 2); err != nil {
		t.Fatal(err)
	}
	again, err := openArchive(t, b, Options{OnRemoved: func(below map[mq.Queue]int64) { heard = below }}).Table(ctx, q.Topic)
	if err != nil || !maps.Equal(again.Snapshot().RemovedBelow, want) || !maps.Equal(heard, want) {
		t.Errorf("a new process sees %v, heard %v, %v", again.Snapshot().RemovedBelow, heard, err)
	}
}
