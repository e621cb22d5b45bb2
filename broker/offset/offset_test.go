package offset

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/meta"
)

func load(t *testing.T, fs vfs.FS) (*Table, *meta.Store) {
	t.Helper()
	s, err := meta.Open("meta", fs)
	if err != nil {
		t.Fatal(err)
	}
	table, err := Load(s)
	if err != nil {
		t.Fatal(err)
	}
	return table, s
}

func expect(t *testing.T, table *Table, group, topic string, queue int32, want int64) {
	t.Helper()
	got, ok := table.Get(group, topic, queue)
	if !ok {
		got = none
	}
	if got != want {
		t.Errorf("group %s in %s/%d is at %d, want %d", group, topic, queue, got, want)
	}
}

func TestFlushedProgressSurvivesAPowerCut(t *testing.T) {
	fs := vfs.NewCrashableMem()
	table, s := load(t, fs)
	table.Commit("pay", "orders", 5, 10)
	table.Commit("pay", "refunds", 0, 3)
	table.Commit("ship", "orders", 0, 0)
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	table.Commit("pay", "orders", 5, 11) // not flushed
	if err := table.Reset("ship", "orders", map[int32]int64{1: 7}); err != nil {
		t.Fatal(err)
	}
	cut := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	table, s = load(t, cut)
	defer s.Close()
	expect(t, table, "pay", "orders", 5, 10)
	expect(t, table, "pay", "orders", 4, none)
	expect(t, table, "pay", "refunds", 0, 3)
	expect(t, table, "ship", "orders", 0, 0)
	expect(t, table, "ship", "orders", 1, 7)
	if _, taken := table.Commit("ship", "orders", 1, 9); taken {
		t.Error("a commit is taken while a reset waits")
	}
	if off, ok := table.TakeReset("ship", "orders", 1); !ok || off != 7 {
		t.Errorf("reset is %d, %v", off, ok)
	}
	if _, ok := table.TakeReset("ship", "orders", 1); ok {
		t.Error("the reset is told twice")
	}
	if got := fmt.Sprint(table.Groups("orders"), table.Topics("pay")); got != "[pay ship] [orders refunds]" {
		t.Errorf("groups of orders and topics of pay are %s", got)
	}
}

func TestDeletedProgressStaysDeleted(t *testing.T) {
	fs := vfs.NewMem()
	table, s := load(t, fs)
	table.Commit("pay", "orders", 0, 1)
	table.Commit("pay", "refunds", 0, 2)
	table.Commit("ship", "orders", 0, 3)
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	table.Commit("pay", "orders", 0, 4) // dirty when it is deleted
	if err := table.DeleteGroup("pay"); err != nil {
		t.Fatal(err)
	}
	if err := table.DeleteTopic("nothing"); err != nil {
		t.Fatal(err)
	}
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	table, s = load(t, fs)
	defer s.Close()
	expect(t, table, "pay", "orders", 0, none)
	expect(t, table, "pay", "refunds", 0, none)
	expect(t, table, "ship", "orders", 0, 3)
}

// TestAgainstAModel commits, resets, deletes, flushes and restarts at random and
// compares with a plain map.
func TestAgainstAModel(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 3))
		fs := vfs.NewMem()
		table, s := load(t, fs)
		model, waits := map[string]int64{}, map[string]bool{}
		name := func(group, topic string, q int32) string { return fmt.Sprint(group, "@", topic, "/", q) }
		for range 400 {
			group, topic, q, off := fmt.Sprint("g", rng.IntN(3)), fmt.Sprint("t", rng.IntN(3)), int32(rng.IntN(4)), int64(rng.IntN(100))
			k := name(group, topic, q)
			switch n := rng.IntN(20); {
			case n < 12:
				if _, taken := table.Commit(group, topic, q, off); taken == waits[k] {
					t.Fatalf("seed %d: commit of %s taken %v while a reset waits %v", seed, k, taken, waits[k])
				} else if taken {
					model[k] = off
				}
			case n < 14:
				if err := table.Reset(group, topic, map[int32]int64{q: off}); err != nil {
					t.Fatal(err)
				}
				model[k], waits[k] = off, true
			case n < 17:
				if _, ok := table.TakeReset(group, topic, q); ok != waits[k] {
					t.Fatalf("seed %d: reset of %s is told %v, want %v", seed, k, ok, waits[k])
				}
				delete(waits, k)
			case n < 18:
				if err := table.DeleteTopic(topic); err != nil {
					t.Fatal(err)
				}
				for g := range 3 {
					for q := range int32(4) {
						delete(model, name(fmt.Sprint("g", g), topic, q))
						delete(waits, name(fmt.Sprint("g", g), topic, q))
					}
				}
			default:
				if err := table.Flush(); err != nil {
					t.Fatal(err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				table, s = load(t, fs)
			}
		}
		for g := range 3 {
			for topic := range 3 {
				for q := range int32(4) {
					group, topic := fmt.Sprint("g", g), fmt.Sprint("t", topic)
					want, ok := model[name(group, topic, q)]
					if !ok {
						want = none
					}
					expect(t, table, group, topic, q, want)
				}
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCommitsAndFlushesAtOnce(t *testing.T) {
	fs := vfs.NewMem()
	table, s := load(t, fs)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range int64(500) {
				table.Commit(fmt.Sprint("g", g), "t", int32(i%7), i)
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			if err := table.Flush(); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	table, s = load(t, fs)
	defer s.Close()
	for g := range 4 {
		for q := range int32(7) {
			last := int64(499 - (499-int(q))%7)
			expect(t, table, fmt.Sprint("g", g), "t", q, last)
		}
	}
}

func BenchmarkCommit(b *testing.B) {
	s, err := meta.Open("meta", vfs.NewMem())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	table, err := Load(s)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := range b.N {
		table.Commit("pay", "orders", 3, int64(i))
	}
}

func TestClamp(t *testing.T) {
	fs := vfs.NewMem()
	table, s := load(t, fs)
	table.Commit("pay", "orders", 0, 10)
	table.Commit("pay", "orders", 1, 3)
	if err := table.Reset("ship", "orders", map[int32]int64{0: 8, 1: 5}); err != nil {
		t.Fatal(err)
	}
	end := func(_ string, queue int32) (int64, error) { return int64(7 - 2*queue), nil }
	beyond, err := table.Clamp(end)
	if err != nil || len(beyond) != 2 {
		t.Errorf("beyond the end: %+v, %v", beyond, err)
	}
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	table, s = load(t, fs)
	defer s.Close()
	expect(t, table, "pay", "orders", 0, 7)
	expect(t, table, "pay", "orders", 1, 3)
	expect(t, table, "ship", "orders", 1, 5)
	if off, ok := table.TakeReset("ship", "orders", 0); !ok || off != 7 {
		t.Errorf("reset is %d, %v", off, ok)
	}
	if beyond, err := table.Clamp(end); err != nil || len(beyond) != 0 {
		t.Errorf("once more: %+v, %v", beyond, err)
	}
}

// TestFullDisk resets and copies progress while nothing can be saved: what is
// refused changes nothing, in memory or on the disk.
func TestFullDisk(t *testing.T) {
	fs := vfs.NewMem()
	table, s := load(t, fs)
	table.Commit("pay", "orders", 0, 10)
	if err := table.Reset("pay", "orders", map[int32]int64{1: 7}); err != nil {
		t.Fatal(err)
	}
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20})
	if err := table.Reset("pay", "orders", map[int32]int64{0: 0, 1: 0}); err == nil {
		t.Error("a reset that can't be saved is taken")
	}
	if err := table.Reset("ship", "orders", map[int32]int64{0: 0}); err == nil {
		t.Error("a new group's reset that can't be saved is taken")
	}
	if err := table.Put("ship", map[string]map[int32]int64{"orders": {0: 4}, "refunds": {0: 5}}); err == nil {
		t.Error("progress that can't be saved is taken")
	}
	if table.DeleteGroup("pay") == nil || table.DeleteTopic("orders") == nil {
		t.Error("a deletion that can't be saved is done")
	}
	unchanged := func() {
		t.Helper()
		expect(t, table, "pay", "orders", 0, 10)
		expect(t, table, "pay", "orders", 1, 7)
		expect(t, table, "ship", "orders", 0, none)
		if got := fmt.Sprint(table.Groups("orders"), table.Groups("refunds")); got != "[pay] []" {
			t.Errorf("groups with progress are %s", got)
		}
		if table.Waiting("pay", "orders", 0) || !table.Waiting("pay", "orders", 1) {
			t.Error("other resets wait than before")
		}
	}
	unchanged()
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30})
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	table, s = load(t, fs)
	defer s.Close()
	unchanged()
	if err := table.Put("pay", map[string]map[int32]int64{"orders": {0: 4, 1: 4}}); err != nil {
		t.Fatal(err)
	}
	expect(t, table, "pay", "orders", 0, 4)
	expect(t, table, "pay", "orders", 1, 7) // a reset waits
}
