package meta

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func open(t *testing.T, fs vfs.FS) *Store {
	t.Helper()
	s, err := Open("meta", fs)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func scan(t *testing.T, table Table, prefix string) (out []string) {
	t.Helper()
	err := table.Scan(prefix, func(key string, raw []byte) error {
		out = append(out, key+"="+string(raw))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTablesAreApart(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer s.Close()
	a, ab := s.Table("a"), s.Table("ab")
	for _, put := range []struct {
		table Table
		key   string
		value int
	}{{a, "", 1}, {a, "b", 2}, {a, "\xff\xff", 3}, {ab, "", 4}, {ab, "b", 5}} {
		if err := put.table.Put(put.key, put.value); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := fmt.Sprint(scan(t, a, "")), "[=1 b=2 \xff\xff=3]"; got != want {
		t.Errorf("table a has %q, want %q", got, want)
	}
	if got, want := fmt.Sprint(scan(t, a, "\xff")), "[\xff\xff=3]"; got != want {
		t.Errorf("prefix scan gives %q, want %q", got, want)
	}
	if err := a.Delete("b"); err != nil {
		t.Fatal(err)
	}
	if err := a.Delete("never there"); err != nil {
		t.Errorf("deleting an absent key: %v", err)
	}
	if got, want := fmt.Sprint(scan(t, ab, "")), "[=4 b=5]"; got != want {
		t.Errorf("table ab has %q, want %q", got, want)
	}
	var n int
	if ok, err := a.Get("b", &n); ok || err != nil {
		t.Errorf("deleted key: found %v, error %v", ok, err)
	}
	if ok, err := ab.Get("b", &n); !ok || err != nil || n != 5 {
		t.Errorf("ab/b: found %v, value %d, error %v", ok, n, err)
	}
}

func TestScanRange(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer s.Close()
	table := s.Table("t")
	for _, k := range []string{"a", "b", "c", "d"} {
		if err := table.Put(k, k); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ from, to, want string }{
		{"", "", "abcd"}, {"b", "d", "bc"}, {"bb", "", "cd"}, {"c", "c", ""},
	} {
		var got strings.Builder
		err := table.ScanRange(c.from, c.to, func(key string, _ []byte) error {
			got.WriteString(key)
			return nil
		})
		if err != nil || got.String() != c.want {
			t.Errorf("[%q, %q) gives %q, error %v, want %q", c.from, c.to, got.String(), err, c.want)
		}
	}
	stop := errors.New("enough")
	n := 0
	err := table.ScanRange("", "", func(string, []byte) error { n++; return stop })
	if !errors.Is(err, stop) || n != 1 {
		t.Errorf("a scan that is stopped: error %v after %d keys", err, n)
	}
}

func TestErrorsNameThePlace(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer s.Close()
	table := s.Table("topic")
	b := s.Batch()
	b.PutRaw(table, "orders", []byte("{"))
	if err := b.Commit(false); err != nil {
		t.Fatal(err)
	}
	var v struct{}
	_, err := table.Get("orders", &v)
	if err == nil || !strings.Contains(err.Error(), `decode topic/"orders"`) {
		t.Errorf("bad JSON gives %v", err)
	}
	if err := table.Put("orders", func() {}); err == nil || !strings.Contains(err.Error(), `encode topic/"orders"`) {
		t.Errorf("a value that JSON can't hold gives %v", err)
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	if err := s.Table(systemTable).Put(versionKey, formatVersion+1); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("meta", fs); !errors.Is(err, ErrFormat) {
		t.Errorf("opening a newer format gives %v", err)
	}
}

// TestPowerCut writes batches over two tables, some synced, and cuts the power
// at random: what was synced is there, and no batch is there by half.
func TestPowerCut(t *testing.T) {
	for seed := range uint64(20) {
		fs := vfs.NewCrashableMem()
		s := open(t, fs)
		rng := rand.New(rand.NewPCG(seed, 1))
		a, b := s.Table("a"), s.Table("b")
		synced, last := -1, rng.IntN(40)
		for i := range last + 1 {
			batch := s.Batch()
			for _, table := range []Table{a, b} {
				if err := batch.Put(table, "n", i); err != nil {
					t.Fatal(err)
				}
			}
			sync := rng.IntN(4) == 0
			if err := batch.Commit(sync); err != nil {
				t.Fatal(err)
			}
			if sync {
				synced = i
			}
		}
		cut := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: int(seed) * 5, RNG: rng})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, cut)
		na, nb := -1, -1
		if _, err := s.Table("a").Get("n", &na); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Table("b").Get("n", &nb); err != nil {
			t.Fatal(err)
		}
		if na != nb || na < synced || na > last {
			t.Errorf("seed %d: tables have batch %d and %d of %d, and %d was synced", seed, na, nb, last, synced)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFullDiskRefusesAndRecovers(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	defer s.Close()
	table := s.Table("t")
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: reserveBytes - 1})
	if err := table.Put("a", 1); !errors.Is(err, ErrDiskFull) {
		t.Errorf("a write to a full disk: error %v", err)
	}
	if got := scan(t, table, ""); len(got) != 0 {
		t.Errorf("a refused write left %v", got)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: reserveBytes})
	if err := table.Put("a", 1); err != nil {
		t.Errorf("a write when there is room again: error %v", err)
	}
}

// A disk that is full at the start is an error that names it, not a wait.
func TestFullDiskAtOpen(t *testing.T) {
	fs := vfs.NewMem()
	if err := open(t, fs).Close(); err != nil {
		t.Fatal(err)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: openBytes - 1})
	_, err := Open("meta", fs)
	if !errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), "meta has 16777215 bytes free, want 16777216") {
		t.Errorf("opening on a full disk: error %v", err)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: openBytes})
	if err := open(t, fs).Close(); err != nil {
		t.Error(err)
	}
}
