package hot

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
)

// After a killed process, whose index is not flushed yet, a log that ends below
// the last checkpoint is refused, whether it ends inside a batch, between two or
// is missing, and whether or not the archive has it all; above it the end is cut.
func TestEndBelowWhatWasSynced(t *testing.T) {
	for name, archived := range map[string]bool{"nothing archived": false, "archived": true} {
		mem := vfs.NewCrashableMem()
		s := mustOpen(t, "/hot", Options{FS: mem, Flush: FlushSync})
		var placed []Placed
		for i := range 5 {
			placed = append(placed, appendOne(t, s, i))
		}
		q, synced, path := testQueue("t", 0), s.Confirmed(), s.files.segs[0].path
		if archived {
			if err := s.SetArchived(map[mq.Queue]int64{q: 5}, synced); err != nil {
				t.Fatal(err)
			}
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.checkpoint(); err != nil {
			t.Fatal(err)
		}
		appendOne(t, s, 5)
		killed := func() *vfs.MemFS {
			return mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2))})
		}
		for _, size := range []int64{placed[2].PhysicalOffset, placed[2].PhysicalOffset + 50, placed[0].PhysicalOffset, 10, -1} {
			fs := killed()
			if size < 0 {
				if err := fs.Remove(path); err != nil {
					t.Fatal(err)
				}
			} else {
				truncate(t, fs, path, size)
			}
			s, err := Open("/hot", Options{FS: fs, Broker: "b"})
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "synced up to "+strconv.FormatInt(synced, 10)) {
				t.Errorf("%s, cut at %d: %v", name, size, err)
			}
			if err == nil {
				closed(t, s)
			}
		}
		fs := killed()
		truncate(t, fs, path, synced+10)
		s2 := mustOpen(t, "/hot", Options{FS: fs})
		sees(t, s2, q, 0, 5)
		closed(t, s2)
		closed(t, s)
	}
}

// Where the index is durable, which by age it becomes by itself, it tells of a
// lost end as SYNCED does: a log that lost both its end and that file doesn't
// begin its queues anew, whose offsets the archive may have.
func TestEndBelowTheIndexWithoutSyncedFile(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, "/hot", Options{FS: mem, Flush: FlushSync})
	defer closed(t, s)
	first := appendOne(t, s, 0)
	for i := range 4 {
		appendOne(t, s, i+1)
	}
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	if err := s.flushIndexByAge(time.Now().Add(flushIndexEvery)); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{first.PhysicalOffset, 10, -1} {
		fs := mem.CrashClone(vfs.CrashCloneCfg{})
		path := s.files.segs[0].path
		if size < 0 {
			if err := fs.Remove(path); err != nil {
				t.Fatal(err)
			}
		} else {
			truncate(t, fs, path, size)
		}
		if err := fs.Remove("/hot/" + syncedFile); err != nil && !isNotExist(err) {
			t.Fatal(err)
		}
		s, err := Open("/hot", Options{FS: fs, Broker: "b", MinFreeBytes: -1})
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut at %d: %v", size, err)
		}
		if err == nil {
			closed(t, s)
		}
	}
}
