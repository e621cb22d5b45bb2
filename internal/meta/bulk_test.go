package meta

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestBulkPowerCut writes batches of large values to a bulk store, some
// flushed, and cuts the power at random: what was flushed is there, and what
// came later is there up to some batch, whole.
func TestBulkPowerCut(t *testing.T) {
	for seed := range uint64(20) {
		fs := vfs.NewCrashableMem()
		s := open(t, fs)
		bulk, err := s.Bulk("big")
		if err != nil {
			t.Fatal(err)
		}
		if again, err := s.Bulk("big"); again != bulk || err != nil {
			t.Fatalf("opened twice: %v", err)
		}
		rng := rand.New(rand.NewPCG(seed, 3))
		a, b := bulk.Table("a"), bulk.Table("b")
		flushed, last := -1, rng.IntN(40)
		for i := range last + 1 {
			batch := bulk.Batch()
			batch.PutRaw(a, string(rune('A'+i)), bytes.Repeat([]byte{byte(i)}, 1000))
			if err := batch.Put(b, "n", i); err != nil {
				t.Fatal(err)
			}
			if i > 10 {
				batch.DeleteRange(a, "A", string(rune('A'+i-10)))
			}
			if err := batch.Commit(true); err != nil {
				t.Fatal(err)
			}
			if rng.IntN(4) == 0 {
				done, err := bulk.Flush()
				if err != nil {
					t.Fatal(err)
				}
				<-done
				flushed = i
			}
		}
		cut := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: int(seed) * 5, RNG: rng})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, cut)
		if bulk, err = s.Bulk("big"); err != nil {
			t.Fatal(err)
		}
		n := -1
		if _, err := bulk.Table("b").Get("n", &n); err != nil {
			t.Fatal(err)
		}
		if n < flushed || n > last {
			t.Errorf("seed %d: batch %d is there of %d, and %d was flushed", seed, n, last, flushed)
		}
		for i := range last + 1 {
			raw, ok, err := bulk.Table("a").GetRaw(string(rune('A' + i)))
			want := i <= n && (n <= 10 || i >= n-10)
			if err != nil || ok != want || ok && !bytes.Equal(raw, bytes.Repeat([]byte{byte(i)}, 1000)) {
				t.Errorf("seed %d: value %d of %d: there %v, error %v", seed, i, n, ok, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBulkIsFlushedByClose closes a store in peace.
func TestBulkIsFlushedByClose(t *testing.T) {
	fs := vfs.NewMem()
	for i := range 3 {
		s := open(t, fs)
		bulk, err := s.Bulk("big")
		if err != nil {
			t.Fatal(err)
		}
		n := -1
		if _, err := bulk.Table("t").Get("n", &n); err != nil || n != i-1 {
			t.Errorf("open %d finds %d, error %v", i, n, err)
		}
		if err := bulk.Table("t").Put("n", i); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
