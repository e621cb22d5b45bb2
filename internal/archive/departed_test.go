package archive

import (
	"bytes"
	"testing"

	"github.com/apache/iceberg-go"

	"varve/internal/objstore/mem"
)

// TestDepartedFilesLeaveNoValues: what a snapshot says of the files that it took
// out of the table has no value of a message in it.
func TestDepartedFilesLeaveNoValues(t *testing.T) {
	tbl := createTable(t, openArchive(t, mem.New(), Options{}), "orders")
	old := smallFiles(t, tbl, testQueue, 6)
	if _, err := tbl.Replace(t.Context(), merging(t, tbl, "r", old[1:4]...)); err != nil {
		t.Fatal(err)
	}
	replaced := deletedEntries(t, tbl)
	if _, err := tbl.Delete(t.Context(), []string{old[0].Name}, "test"); err != nil {
		t.Fatal(err)
	}
	removed := deletedEntries(t, tbl)
	if len(replaced) != 3 || len(removed) != 1 {
		t.Fatalf("%d entries of replaced files, %d of a deleted one", len(replaced), len(removed))
	}
	for _, d := range append(replaced, removed...) {
		if len(d.LowerBoundValues()) > 0 || len(d.UpperBoundValues()) > 0 || len(d.ValueCounts()) > 0 {
			t.Errorf("%s: bounds %v to %v", d.FilePath(), d.LowerBoundValues(), d.UpperBoundValues())
		}
		if d.Count() != 10 || d.FileSizeBytes() == 0 || len(d.Partition()) != 2 {
			t.Errorf("%s: %d rows, %d bytes, partition %v", d.FilePath(), d.Count(), d.FileSizeBytes(), d.Partition())
		}
	}
}

// deletedEntries gives what the newest snapshot's manifests say of files that it
// took out.
func deletedEntries(t *testing.T, tbl *Table) (out []iceberg.DataFile) {
	t.Helper()
	st := tbl.current()
	l := tbl.location(st.meta)
	for _, m := range st.manifests {
		name, err := l.name(m.FilePath())
		if err != nil {
			t.Fatal(err)
		}
		data, err := getObject(t.Context(), tbl.bucket, name, maxManifestSize)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := iceberg.ReadManifest(m, bytes.NewReader(data), false)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Status() == iceberg.EntryStatusDELETED && e.SnapshotID() == st.snap.ID {
				out = append(out, e.DataFile())
			}
		}
	}
	return out
}
