package archive

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"varve/internal/mq"
	"varve/internal/objstore/mem"
)

// TestTaggedSnapshotStays: a tag keeps its snapshot, the metadata and the files
// that it names, through many commits, deletions and expiries, until it is taken
// away.
func TestTaggedSnapshotStays(t *testing.T) {
	ctx, q, b := t.Context(), testQueue, mem.New()
	tbl := createTable(t, openArchive(t, b, Options{KeepSnapshots: 2}), q.Topic)
	next := func(i int64) DataFile {
		f := upload(t, tbl, q, mq.Range{From: i * 10, To: i*10 + 10}, 1)
		mustAppend(t, tbl, commitOf(fmt.Sprint(i), 1, f))
		return f
	}
	first := next(0)
	pinned := tbl.Snapshot().ID
	if err := tbl.Tag(ctx, "reader", pinned); err != nil {
		t.Fatal(err)
	}
	for i := range int64(10) {
		next(i + 1)
	}
	if _, err := tbl.Delete(ctx, []string{first.Name}, "age"); err != nil {
		t.Fatal(err)
	}
	future := time.Now().Add(time.Hour)
	if err := tbl.Expire(ctx, 1, future, nil); err != nil {
		t.Fatal(err)
	}
	again, err := openArchive(t, b, Options{}).Table(ctx, q.Topic)
	if err != nil || again.Tags()["reader"] != pinned || again.Snapshots() != 2 {
		t.Fatalf("tags %v, %d snapshots, %v", again.Tags(), again.Snapshots(), err)
	}
	if n, err := again.KeptBytes(ctx, pinned); err != nil || n != first.Bytes {
		t.Errorf("%d bytes are kept, %v; want %d", n, err, first.Bytes)
	}
	if needed, err := again.Needed(ctx); err != nil || !needed[first.Name] {
		t.Errorf("the tagged snapshot's file is not needed: %v", err)
	}
	if err := again.Tag(ctx, "other", 42); !errors.Is(err, ErrNoSnapshot) {
		t.Errorf("a tag on nothing: %v", err)
	}
	for range 2 {
		if err := again.Untag(ctx, "reader"); err != nil {
			t.Fatal(err)
		}
	}
	if err := again.Expire(ctx, 1, future, nil); err != nil {
		t.Fatal(err)
	}
	if needed, err := again.Needed(ctx); err != nil || needed[first.Name] || again.Snapshots() != 1 {
		t.Errorf("after the tag: %d snapshots, %v", again.Snapshots(), err)
	}
}
