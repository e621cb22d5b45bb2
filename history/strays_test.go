package history

import (
	"strings"
	"testing"
	"time"

	"varve/internal/archive"
	"varve/internal/objstore"
)

// TestStraysOfAnIdleTable: a shared object and a manifest that were never
// committed go, though nothing else happens to their table.
func TestStraysOfAnIdleTable(t *testing.T) {
	k := newKept(t)
	tbl := k.table(t)
	for range 30 {
		k.pass(t, 30*time.Minute)
	}
	stray := archive.SharedName(keptQueue.Broker, tbl.Root(), 1_700_000_000_000, 10, 1)
	manifest := tbl.Root() + "/metadata/00000000-0000-4000-8000-000000000000-m0.avro"
	other := tbl.Root() + "/data/notes.txt"
	for _, name := range []string{stray, manifest, other} {
		if err := k.bucket.Put(t.Context(), name, strings.NewReader("what"), 4, objstore.IfAbsent); err != nil {
			t.Fatal(err)
		}
	}
	there := func(name string) bool { _, err := k.bucket.Head(t.Context(), name); return err == nil }
	for range 24 {
		k.pass(t, 30*time.Minute)
	}
	if !there(stray) {
		t.Error("a young object is gone")
	}
	for range 9 * 48 {
		k.pass(t, 30*time.Minute)
	}
	if there(stray) || there(manifest) || !there(other) {
		t.Errorf("shared object there: %v, manifest: %v, somebody's own: %v", there(stray), there(manifest), there(other))
	}
	k.readable(t, 0)
}
