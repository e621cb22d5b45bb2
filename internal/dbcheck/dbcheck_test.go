package dbcheck

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
)

type silent struct{}

func (silent) Infof(string, ...any)           {}
func (silent) Errorf(string, ...any)          {}
func (silent) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

func open(t *testing.T, fs vfs.FS) *pebble.DB {
	t.Helper()
	db, err := pebble.Open("db", &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatNewest, Logger: silent{}})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// firstLog is the size of records that stay in the first log of a database.
const firstLog = 4

// crashed gives a database as a kill leaves it, with synced records and
// flushes.
func crashed(t *testing.T, records, size int, sync bool) vfs.FS {
	t.Helper()
	fs := vfs.NewCrashableMem()
	db := open(t, fs)
	defer db.Close()
	o := pebble.NoSync
	if sync {
		o = pebble.Sync
	}
	for i := range records {
		if err := db.Set(fmt.Appendf(nil, "key %d", i), []byte(strings.Repeat(fmt.Sprint(i), size)), o); err != nil {
			t.Fatal(err)
		}
		if i == records/3 && size != firstLog {
			if err := db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := db.LogData(nil, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
}

func read(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open("db/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create("db/"+name, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write(b)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// logs names the manifest and the newest write-ahead log.
func logs(t *testing.T, fs vfs.FS) (manifest, wal string) {
	t.Helper()
	manifest, err := atomicfs.ReadMarker(fs, "db", "manifest")
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("db")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	for _, n := range names {
		if strings.HasSuffix(n, ".log") {
			wal = n
		}
	}
	return manifest, wal
}

// Every single bit, of every chunk there is, also the last, and also where
// nothing was synced.
func TestEveryBit(t *testing.T) {
	for _, sync := range []bool{true, false} {
		fs := crashed(t, 12, map[bool]int{false: firstLog, true: 3}[sync], sync)
		if err := Logs(fs, "db"); err != nil {
			t.Fatalf("without damage: %v", err)
		}
		manifest, wal := logs(t, fs)
		for _, name := range []string{manifest, wal} {
			whole := read(t, fs, name)
			if len(whole) < 30 {
				t.Fatalf("%s has %d bytes", name, len(whole))
			}
			for bit := range len(whole) * 8 {
				b := slices.Clone(whole)
				b[bit/8] ^= 1 << (bit % 8)
				write(t, fs, name, b)
				err := Logs(fs, "db")
				if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "db/"+name+" is damaged at position ") {
					t.Fatalf("bit %d of byte %d of %s, sync %v: error %v", bit%8, bit/8, name, sync, err)
				}
			}
			write(t, fs, name, whole)
		}
	}
}

// A run of bytes, or a whole sector, among what was synced, with chunks longer
// than a block too.
func TestManyBytes(t *testing.T) {
	for _, size := range []int{5, 50_000} {
		fs := crashed(t, 9, size, true)
		if err := Logs(fs, "db"); err != nil {
			t.Fatalf("without damage: %v", err)
		}
		_, wal := logs(t, fs)
		whole := read(t, fs, wal)
		for at := 0; at < len(whole)/2; at += 1 + len(whole)/50 {
			b := slices.Clone(whole)
			for i := at; i < min(at+512, len(b)*3/4); i++ {
				b[i] = 0xa5
			}
			write(t, fs, wal, b)
			if err := Logs(fs, "db"); !errors.Is(err, ErrDamaged) {
				t.Fatalf("records of %d: from byte %d of %d: error %v", size, at, len(whole), err)
			}
		}
	}
}

// A power cut leaves every kind of torn end and no damage.
func TestTornEndIsNoDamage(t *testing.T) {
	for seed := range uint64(60) {
		fs := vfs.NewCrashableMem()
		rng := rand.New(rand.NewPCG(seed, 2))
		cut := fs
		for range 2 { // the second time over recycled logs
			db := open(t, cut)
			for range 30 + rng.IntN(100) {
				o := pebble.NoSync
				if rng.IntN(4) == 0 {
					o = pebble.Sync
				}
				v := make([]byte, rng.IntN(40_000))
				for i := range v {
					v[i] = byte(rng.Uint32())
				}
				if err := db.Set([]byte{byte(rng.Uint32())}, v, o); err != nil {
					t.Fatal(err)
				}
				if rng.IntN(25) == 0 {
					if err := db.Flush(); err != nil {
						t.Fatal(err)
					}
				}
			}
			next := cut.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if cut = next; Logs(cut, "db") != nil {
				t.Fatalf("seed %d: %v", seed, Logs(cut, "db"))
			}
		}
	}
}

func TestNoDatabase(t *testing.T) {
	fs := vfs.NewMem()
	if err := fs.MkdirAll("db", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Logs(fs, "db"); err != nil {
		t.Error(err)
	}
}
