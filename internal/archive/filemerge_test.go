package archive

import (
	"bytes"
	"fmt"
	"testing"

	"varve/internal/mq"
	"varve/internal/mq/mqtest"
	"varve/internal/objstore/mem"
)

// mergeOf merges files of a bucket into another object of it, and checks it.
func mergeOf(t testing.TB, b *mem.Bucket, files []DataFile) *Merge {
	t.Helper()
	var buf bytes.Buffer
	m, err := MergeFiles(t.Context(), &buf, b, files, MergeOptions{SpillDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	m.File.Name = fmt.Sprintf("merged-%d-%d", m.File.Offsets.From, m.File.Offsets.To)
	replace(t.(*testing.T), b, m.File.Name, buf.Bytes())
	if err := m.Check(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return m
}

// readWhole gives a file's records.
func readWhole(t testing.TB, b *mem.Bucket, f DataFile) []byte {
	t.Helper()
	file, err := OpenFile(t.Context(), b, f)
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for at := f.Offsets.From; at < f.Offsets.To; {
		batch, err := file.Read(t.Context(), at, mq.Limit{})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, batch.Body...)
		at = batch.Next
	}
	return out
}

// sameRows demands that a merged file gives what its parts did, by offset, time,
// position and key.
func sameRows(t *testing.T, b *mem.Bucket, m *Merge, parts []DataFile) {
	t.Helper()
	var want []byte
	for _, f := range parts {
		want = append(want, readWhole(t, b, f)...)
	}
	if !bytes.Equal(readWhole(t, b, m.File), want) {
		t.Error("the merged file gives other records")
	}
	merged, err := OpenFile(t.Context(), b, m.File)
	if err != nil {
		t.Fatal(err)
	}
	for rest, n := want, 0; len(rest) > 0; n++ {
		r, after, err := mq.NextRecord(rest)
		if err != nil {
			t.Fatal(err)
		}
		if rest = after; n%97 != 0 {
			continue
		}
		got, err := merged.FindPhysical(t.Context(), r.PhysicalOffset())
		if err != nil || !bytes.Equal(got, r) {
			t.Fatalf("offset %d by position: %v", r.QueueOffset(), err)
		}
		msg, err := r.Decode()
		if err != nil {
			t.Fatal(err)
		}
		if key := msg.Property(mq.PropUniqKey); key != "" {
			if at, err := merged.FindKey(t.Context(), mq.KeyQuery{Key: key, Unique: true}); err != nil || len(at) == 0 {
				t.Fatalf("offset %d by key: %v, %v", r.QueueOffset(), at, err)
			}
		}
	}
}

// TestMergeFiles: files of odd messages with row groups of all sizes.
func TestMergeFiles(t *testing.T) {
	b := mem.New()
	at := int64(0)
	var parts []DataFile
	for i, n := range []int{3, 700, 40, 900, 1, 5000, 9000, 8192} {
		var recs []mq.Record
		for range n {
			recs = append(recs, testRecord(testQueue, at))
			at++
		}
		f := writeFile(t, b, testQueue, FileOptions{RowGroupRows: []int{100, 16384, 7}[i%3]}, recs...)
		parts = append(parts, f)
	}
	m := mergeOf(t, b, parts)
	if m.File.Rows != at || m.File.Offsets != (mq.Range{To: at}) || m.Stats.CopiedRows == 0 || m.Stats.EncodedRows == 0 {
		t.Errorf("%+v, %+v", m.File, m.Stats)
	}
	if m.Stats.Groups > 6 {
		t.Errorf("%d row groups", m.Stats.Groups)
	}
	sameRows(t, b, m, parts)
	again := mergeOf(t, b, []DataFile{m.File, writeFile(t, b, testQueue, FileOptions{}, testRecord(testQueue, at))})
	if again.Stats.CopiedRows == 0 {
		t.Errorf("a merged file can't be copied: %+v", again.Stats)
	}
}

// TestMergeOddMessages: all that the typed columns can't say stays.
func TestMergeOddMessages(t *testing.T) {
	b := mem.New()
	var parts []DataFile
	var recs []mq.Record
	for i, m := range mqtest.Messages() {
		m.QueueID, m.Topic, m.QueueOffset = testQueue.ID, testQueue.Topic, int64(i)
		recs = append(recs, mq.AppendRecord(nil, &m))
	}
	for i := 0; i+10 <= len(recs); i += 10 {
		parts = append(parts, writeFile(t, b, testQueue, FileOptions{RowGroupRows: 3}, recs[i:i+10]...))
	}
	sameRows(t, b, mergeOf(t, b, parts), parts)
}
