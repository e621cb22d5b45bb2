package hot

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
)

// No read gives a record of which one byte, wherever it lies, is not what was
// written: neither by offset, through the cache or with a filter, nor by
// position nor by key; from entries in memory, in Pebble and made by a scan.
func TestEveryFlippedByteIsSeen(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, "/hot", Options{FS: mem, Flush: FlushSync})
	q := testQueue("t", 0)
	props := mq.AppendProperty(nil, mq.PropKeys, "order-1 order-2")
	props = mq.AppendProperty(props, mq.PropUniqKey, "0A0B")
	props = mq.AppendProperty(props, mq.PropTags, "a")
	for range 3 {
		if _, err := s.Append(t.Context(), []*mq.Message{{Topic: "t", Body: []byte("body"), Properties: props}}); err != nil {
			t.Fatal(err)
		}
	}
	crashed := mem.CrashClone(vfs.CrashCloneCfg{})
	flipEach(t, "in memory", mem, s, q)
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	flipEach(t, "in Pebble", mem, s, q)
	closed(t, s)
	s = mustOpen(t, "/hot", Options{FS: crashed})
	flipEach(t, "after a scan", crashed, s, q)
	closed(t, s)
}

func flipEach(t *testing.T, name string, fs vfs.FS, s *Store, q mq.Queue) {
	t.Helper()
	whole, err := s.Read(t.Context(), q, 0, mq.Limit{})
	if err != nil || whole.Count != 3 {
		t.Fatalf("%s: %d records, %v", name, whole.Count, err)
	}
	var recs []mq.Record
	for r := range mq.Records(whole.Body) {
		recs = append(recs, bytes.Clone(r))
	}
	was := recs[1]
	at := was.PhysicalOffset()
	path := s.files.segs[0].path
	for i := range was {
		flip(t, fs, path, at+int64(i))
		s.blocks.sweep()
		s.blocks.sweep()
		for kind, lim := range map[string]mq.Limit{"all": {}, "filtered": {Filter: keepAll{}}, "lent": {Lend: true}} {
			b, err := s.Read(t.Context(), q, 0, lim)
			if err != nil || b.Count != 1 || !bytes.Equal(b.Body, recs[0]) {
				t.Fatalf("%s, byte %d, %s: %d records before the bad one, %v", name, i, kind, b.Count, err)
			}
			if b.Free != nil {
				b.Free()
			}
			if b, err := s.Read(t.Context(), q, 1, lim); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%s, byte %d, %s: %d records, %v", name, i, kind, b.Count, err)
			}
		}
		if r, err := s.FindPhysical(t.Context(), "b", at); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%s, byte %d: found by position %x, %v", name, i, r, err)
		}
		if b, err := s.FindKey(t.Context(), mq.KeyQuery{Topic: "t", Key: "order-2"}); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%s, byte %d: %d found by key, %v", name, i, b.Count, err)
		}
		flip(t, fs, path, at+int64(i))
	}
	if b, err := s.FindKey(t.Context(), mq.KeyQuery{Topic: "t", Key: "order-2"}); err != nil || b.Count != 3 {
		t.Fatalf("%s: %d found by key, %v", name, b.Count, err)
	}
}

// Below the archived position a search by key leaves a damaged record to the
// archive, which has it.
func TestFindKeyLeavesDamageToTheArchive(t *testing.T) {
	mem := vfs.NewMem()
	s := mustOpen(t, "/hot", Options{FS: mem, Flush: FlushSync})
	defer closed(t, s)
	q := testQueue("t", 0)
	var placed []Placed
	for range 3 {
		p, err := s.Append(t.Context(), []*mq.Message{{Topic: "t", Body: []byte("body"), Properties: mq.AppendProperty(nil, mq.PropKeys, "k")}})
		if err != nil {
			t.Fatal(err)
		}
		placed = append(placed, p...)
	}
	if err := s.SetArchived(map[mq.Queue]int64{q: 2}, placed[2].PhysicalOffset); err != nil {
		t.Fatal(err)
	}
	path := s.files.segs[0].path
	flip(t, mem, path, placed[1].PhysicalOffset+4)
	if b, err := s.FindKey(t.Context(), mq.KeyQuery{Topic: "t", Key: "k"}); err != nil || b.Count != 2 {
		t.Errorf("%d found beside a damaged one in the archive, %v", b.Count, err)
	}
	flip(t, mem, path, placed[2].PhysicalOffset+4)
	if b, err := s.FindKey(t.Context(), mq.KeyQuery{Topic: "t", Key: "k"}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%d found beside a damaged one that is nowhere else, %v", b.Count, err)
	}
}

// A directory of the first version is read and becomes one of this version,
// which an older program refuses; Check leaves it as it is.
func TestOlderFormatIsTakenOver(t *testing.T) {
	mem := vfs.NewMem()
	s := mustOpen(t, "/hot", Options{FS: mem})
	appendOne(t, s, 0)
	closed(t, s)
	write := func(text string) {
		f, err := mem.Create("/hot/FORMAT", vfs.WriteCategoryUnspecified)
		if err == nil {
			_, err = io.WriteString(f, text)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	wants := func(text string) {
		t.Helper()
		f, err := mem.Open("/hot/FORMAT")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(f)
		if err = errors.Join(err, f.Close()); err != nil || string(got) != text {
			t.Errorf("the format file says %q, %v; want %q", got, err, text)
		}
	}
	write("varve-hot 1\n")
	checked(t, mem)
	wants("varve-hot 1\n")
	s = mustOpen(t, "/hot", Options{FS: mem})
	sees(t, s, testQueue("t", 0), 0, 1)
	closed(t, s)
	wants("varve-hot 2\n")
}
