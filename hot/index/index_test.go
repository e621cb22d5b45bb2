package index

import (
	"encoding/hex"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func openDB(t *testing.T, fs vfs.FS) *DB {
	t.Helper()
	d, err := OpenDB(fs, "/index", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func commit(t *testing.T, d *DB, f func(u *Update)) {
	t.Helper()
	u := d.Update()
	f(u)
	if err := u.Commit(); err != nil {
		t.Fatal(err)
	}
}

// Who reads along a queue finds the next blocks in memory.
func TestBlocksAreReadAhead(t *testing.T) {
	d := openDB(t, vfs.NewMem())
	const blocks = 3 * aheadBlocks
	commit(t, d, func(u *Update) { u.Entries(7, 0, entriesFrom(0, blocks*BlockEntries+5)) })
	commit(t, d, func(u *Update) { u.Entries(8, 0, entriesFrom(0, blocks*BlockEntries)) })
	cached := func(from int64) (n int) {
		for i := from; i <= blocks && d.CachedBlock(7, i) != nil; i++ {
			n++
		}
		return n
	}
	read := func(n int64) {
		t.Helper()
		b, err := d.Block(7, n)
		if err != nil || b.At(0) != entriesFrom(n*BlockEntries, 1)[0] {
			t.Fatalf("block %d of %d entries, %v", n, b.Len(), err)
		}
	}
	read(3)
	if n := cached(3); n != 1 {
		t.Errorf("one look keeps %d blocks", n)
	}
	read(4)
	if n := cached(3); n != 1+aheadBlocks {
		t.Errorf("reading along keeps %d blocks, want %d", n, 1+aheadBlocks)
	}
	read(blocks - 1)
	read(blocks) // the last one, which is not full and never kept
	if n := cached(blocks - 1); n != 1 {
		t.Errorf("%d blocks from the last full one on", n)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func entriesFrom(off int64, n int) []Entry {
	es := make([]Entry, n)
	for i := range es {
		o := off + int64(i)
		es[i] = Entry{Pos: o * 100, Time: o * 3, Size: int32(100 + o%7), Tag: int32(-o)}
	}
	return es
}

// Entries that come in pieces make whole blocks, also over a reopening; what
// was not flushed is lost as a whole.
func TestBlocks(t *testing.T) {
	fs := vfs.NewCrashableMem()
	d := openDB(t, fs)
	rng := rand.New(rand.NewPCG(1, 1))
	end := int64(0)
	for end < 3000 {
		n := rng.IntN(700)
		commit(t, d, func(u *Update) {
			u.Entries(7, end, entriesFrom(end, n))
			u.Queue(Queue{UID: 7, Topic: "t", ID: 2, End: end + int64(n)})
			u.Checkpoint(end+int64(n), 5)
		})
		end += int64(n)
		if end > 1500 && end < 2200 {
			if err := d.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(d *DB) {
		st, err := d.Load()
		if err != nil || len(st.Queues) != 1 || st.Queues[0].End != st.Checkpoint {
			t.Fatalf("state %+v, %v", st, err)
		}
		for off := range st.Checkpoint {
			b, err := d.Block(7, off/BlockEntries)
			if err != nil || b.Len() <= int(off%BlockEntries) || b.At(int(off%BlockEntries)) != entriesFrom(off, 1)[0] {
				t.Fatalf("offset %d of %d: block of %d, %v", off, st.Checkpoint, b.Len(), err)
			}
		}
		if b, err := d.Block(8, 0); err != nil || b.Len() != 0 {
			t.Errorf("a block of a queue that is not there: %d, %v", b.Len(), err)
		}
	}
	check(d)
	crashed := openDB(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	check(crashed)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	commit(t, crashed, func(u *Update) {
		u.SkipTo(7, 5000)
		u.Entries(7, 5000, entriesFrom(5000, 10))
	})
	b, err := crashed.Block(7, 5000/BlockEntries)
	if err != nil || b.At(5000%BlockEntries) != entriesFrom(5000, 1)[0] {
		t.Errorf("the block after a skip: %d entries, %v", b.Len(), err)
	}
	commit(t, crashed, func(u *Update) { u.DropQueue(7) })
	if b, err := crashed.Block(7, 9); err != nil || b.Len() != 0 {
		t.Errorf("a block of a dropped queue: %d, %v", b.Len(), err)
	}
	if err := crashed.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSegmentEnds(t *testing.T) {
	d := openDB(t, vfs.NewMem())
	commit(t, d, func(u *Update) {
		u.SegmentEnd(0, 1, 10)
		u.SegmentEnd(255, 1, 20)
		u.SegmentEnd(255, 2, 5)
		u.SegmentTime(255, 99)
		u.SegmentEnd(256, 2, 6)
	})
	got, err := d.SegmentEnds(255)
	if err != nil || len(got) != 2 || got[1] != 20 || got[2] != 5 {
		t.Errorf("ends %v, %v", got, err)
	}
	commit(t, d, func(u *Update) { u.DropSegment(255) })
	st, err := d.Load()
	if err != nil || len(st.Segments) != 0 {
		t.Errorf("segments %v, %v", st.Segments, err)
	}
	if got, err := d.SegmentEnds(256); err != nil || got[2] != 6 {
		t.Errorf("the segment after the dropped one: %v, %v", got, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func lookup(t *testing.T, k *KeyFile, hash uint64) (out []int64) {
	t.Helper()
	if err := k.Lookup(hash, func(pos int64) { out = append(out, pos) }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

func TestKeyFile(t *testing.T) {
	fs := vfs.NewMem()
	const base = 1000
	k, err := OpenKeyFile(fs, "/k", base, true)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 3))
	want := make(map[uint64][]int64)
	pos := int64(base)
	for range 3 {
		var es []KeyEntry
		for range 5000 {
			pos += 10
			h := rng.Uint64N(4000) * 0x9e3779b97f4a7c15
			es = append(es, KeyEntry{h, pos})
			want[h] = append(want[h], pos)
		}
		if err := k.Append(es, pos+1, false); err != nil {
			t.Fatal(err)
		}
	}
	check := func(k *KeyFile) {
		for h, ps := range want {
			if got := lookup(t, k, h); !slices.Equal(got, ps) {
				t.Fatalf("hash %x: %v, want %v", h, got, ps)
			}
		}
		if got := lookup(t, k, 12345); len(got) != 0 {
			t.Fatalf("a hash that is not there: %v", got)
		}
		if k.Covered() != pos+1 {
			t.Fatalf("covered %d, want %d", k.Covered(), pos+1)
		}
	}
	check(k)
	size := k.size
	if err := k.Append([]KeyEntry{{1, pos + 5}}, pos+10, false); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	// A last block that is not whole, or harmed, is forgotten.
	f, err := fs.OpenReadWrite("/k", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff}, size+keyHeaderLen+3); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, verify := range []bool{true, true} {
		if k, err = OpenKeyFile(fs, "/k", base, verify); err != nil {
			t.Fatal(err)
		}
		check(k)
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n, covered, err := CheckKeyFile(fs, "/k", base); err != nil || n != 15000 || covered != pos+1 {
		t.Errorf("check: %d entries up to %d, %v", n, covered, err)
	}
	if _, _, err := CheckKeyFile(fs, "/none", base); !os.IsNotExist(err) && err == nil {
		t.Errorf("check of a file that is not there: %v", err)
	}
}

// The bytes of version 1, for ever.
func TestGolden(t *testing.T) {
	const wantEntry = "00000000000000050000000000000006000000070000ffff"
	if got := hex.EncodeToString(AppendEntry(nil, Entry{Pos: 5, Time: 6, Size: 7, Tag: 0xffff})); got != wantEntry {
		t.Errorf("entry %s", got)
	}
	fs := vfs.NewMem()
	k, err := OpenKeyFile(fs, "/k", 4096, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Append([]KeyEntry{{9, 4200}, {2, 4160}}, 5000, true); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, k.size)
	if _, err := k.f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	const wantBlock = "56424b490001000000000002" // then the checksum
	const wantPlace = "000000000000100000000000000013880000" + "0000"
	if got := hex.EncodeToString(b[:12]); got != wantBlock {
		t.Errorf("block header %s", got)
	}
	if got := hex.EncodeToString(b[16:36]); got != wantPlace {
		t.Errorf("block place %s", got)
	}
	if got := hex.EncodeToString(b[40:]); got != "000000000000000200000040"+"000000000000000900000068" {
		t.Errorf("entries %s", got)
	}
	h, _ := KeyHash(nil, "orders", KeyUnique, []byte("ID"))
	if h != keyHashOfOrdersID {
		t.Errorf("hash %#x", h)
	}
}

const keyHashOfOrdersID = 0x4ef73f6cab111a63

// The stored form of an entry: the checksum's halves lie above position and
// time, where version 1 has zeros.
func TestEntryGolden(t *testing.T) {
	for want, e := range map[string]Entry{
		"000000000000012c00000199f3a1c2000000006400000061": {Pos: 300, Time: 0x199F3A1C200, Size: 100, Tag: 97},
		"dead00000000012cbeef0199f3a1c20000000064ffffffff": {Pos: 300, Time: 0x199F3A1C200, Size: 100, Tag: -1, Sum: 0xDEADBEEF},
		"0001ffffffffffff8000ffffffffffff7fffffff00000000": {Pos: 1<<48 - 1, Time: 1<<48 - 1, Size: 1<<31 - 1, Sum: 0x00018000},
	} {
		b := AppendEntry(nil, e)
		if got := hex.EncodeToString(b); got != want {
			t.Errorf("%+v is stored as %s, want %s", e, got, want)
		}
		if got := Block(b).At(0); got != e {
			t.Errorf("%+v came back as %+v", e, got)
		}
	}
	for _, x := range [][2]int64{{1 << 48, 0}, {0, 1 << 48}, {-1, 0}, {0, -1}} {
		if CheckFits(x[0], x[1]) == nil {
			t.Errorf("position %d at %d has an entry", x[0], x[1])
		}
	}
	if err := CheckFits(1<<48-1, 1<<48-1); err != nil {
		t.Error(err)
	}
}
