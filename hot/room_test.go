package hot

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// roomTest is a cache over a file of so many blocks, whose reads it counts.
type roomTest struct {
	*testing.T
	blocks
	g     *seg
	reads int
}

func newRoomTest(t *testing.T, blocks int) *roomTest {
	t.Helper()
	r := &roomTest{T: t}
	r.size = 64
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileReadAt {
			r.reads++
		}
		return nil
	}))
	f, err := fs.Create("log", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := f.Write(make([]byte, r.size*int64(blocks))); err != nil {
		t.Fatal(err)
	}
	r.g = &seg{f: f}
	return r
}

// want gets a block and lets go of it.
func (r *roomTest) want(no int) {
	r.Helper()
	b := r.get(r.g, int64(no), true, false)
	if b == nil {
		r.Fatalf("no block %d", no)
	}
	r.unpin(b)
}

// keeps wants the cache to have from so many blocks to so many.
func (r *roomTest) keeps(when string, least, most int) {
	r.Helper()
	if n := len(r.slots); n < least || n > most {
		r.Errorf("%s: %d blocks are kept, want %d to %d", when, n, least, most)
	}
	if len(r.byNo) > len(r.slots) {
		r.Errorf("%s: %d blocks in %d slots", when, len(r.byNo), len(r.slots))
	}
}

// Readers close to each other make do with few blocks, and each block is read
// once, however far they go.
func TestFewBlocksForReadersSideBySide(t *testing.T) {
	const blocks, apart = 2000, fewBlocks / 2
	r := newRoomTest(t, blocks)
	for i := range blocks + apart {
		if i < blocks {
			r.want(i)
		}
		if i >= apart {
			r.want(i - apart)
		}
	}
	if r.reads != blocks {
		t.Errorf("%d blocks were read %d times", blocks, r.reads)
	}
	r.keeps("at the end", fewBlocks, fewBlocks)
}

// One reader behind another gets what that one has read, once the cache has
// seen how far behind it is. When it is gone, so is its room.
func TestRoomForReadersApart(t *testing.T) {
	const blocks, apart = 4000, maxBlocks / 2
	r := newRoomTest(t, 8*blocks)
	for i := range blocks {
		r.want(i)
		if i >= apart {
			r.want(i - apart)
		}
	}
	// What it takes to find out, and each time that less room was tried.
	if most := blocks + 2*apart + blocks/calmLoads*apart/4; r.reads > most {
		t.Errorf("%d blocks took %d reads, want at most %d", blocks, r.reads, most)
	}
	r.keeps("beside each other", apart-apart/4, 2*apart)
	for i := blocks; i < 8*blocks; i++ {
		r.want(i)
	}
	r.keeps("alone", fewBlocks, fewBlocks)
}

// No room is made for readers so far apart that none would do.
func TestNoRoomForReadersFarApart(t *testing.T) {
	const blocks, apart = 1000, 2 * maxBlocks
	r := newRoomTest(t, blocks)
	for i := range blocks {
		r.want(i)
		if i >= apart {
			r.want(i - apart)
		}
	}
	r.keeps("at the end", fewBlocks, fewBlocks)
}

// A block that few records are wanted of is read if it was there a short while
// ago: as many as are to be kept are, however they are asked for.
func TestRoomForWhoWantsLittle(t *testing.T) {
	r := newRoomTest(t, 100)
	for i := range 2 * fewBlocks {
		r.want(i)
	}
	if b := r.get(r.g, 0, false, false); b == nil {
		t.Error("a block that more room would have kept is not read again")
	} else {
		r.unpin(b)
	}
	if b := r.get(r.g, 90, false, false); b != nil {
		t.Error("a block was read for one record of it")
	}
	for i := range 2 * fewBlocks {
		r.want(i)
	}
	r.reads = 0
	for i := range 2 * fewBlocks {
		r.want(i)
	}
	if r.reads != 0 {
		t.Errorf("%d reads of what there is room for", r.reads)
	}
}

// Blocks in use are not given up for others: there are more of them meanwhile,
// but never more than maxBlocks.
func TestBlocksInUseAreKept(t *testing.T) {
	r := newRoomTest(t, 3*maxBlocks)
	var used []*block
	for i := range maxBlocks {
		b := r.get(r.g, int64(i), true, false)
		if b == nil {
			t.Fatalf("no block %d beside those in use", i)
		}
		used = append(used, b)
	}
	if b := r.get(r.g, maxBlocks, true, false); b != nil {
		t.Error("a block more than there may be")
	}
	for i, b := range used {
		if b.no != int64(i) {
			t.Errorf("block %d became %d while it was in use", i, b.no)
		}
		r.unpin(b)
	}
	for i := range maxBlocks {
		r.want(maxBlocks + i)
	}
	r.keeps("with nobody left", fewBlocks, fewBlocks)
}
