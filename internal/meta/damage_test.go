package meta

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func contents(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
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

func overwrite(t *testing.T, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write(b)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// stored gives a store's files as a kill leaves them, or as Close does.
func stored(t *testing.T, closed bool) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewCrashableMem()
	s := open(t, fs)
	for _, k := range []string{"orders", "payments", "refunds"} {
		if err := s.Table("topic").Put(k, strings.Repeat(k, 40)); err != nil {
			t.Fatal(err)
		}
	}
	all := func() *vfs.MemFS {
		return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	}
	killed := all()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if closed {
		return all()
	}
	return killed
}

// One bit that is wrong, anywhere in any file, is an error that names the file,
// or changes nothing.
func TestOneWrongBit(t *testing.T) {
	for _, closed := range []bool{false, true} {
		names, err := stored(t, closed).List("meta")
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(names)
		refused := map[string]int{}
		for _, name := range names {
			whole := contents(t, stored(t, closed), "meta/"+name)
			for at := 0; at < len(whole); at += 1 + len(whole)/40 {
				fs := stored(t, closed)
				b := slices.Clone(whole)
				b[at] ^= 1
				overwrite(t, fs, "meta/"+name, b)
				s, err := Open("meta", fs)
				if err != nil {
					refused[filepath.Ext(name)]++
					options := strings.HasPrefix(name, "OPTIONS") // Pebble quotes the line
					if !options && !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n") {
						t.Errorf("closed %v: byte %d of %s: error %v", closed, at, name, err)
					}
					if e := filepath.Ext(name); (e == ".log" || e == ".sst" || e == "" && strings.HasPrefix(name, "MANIFEST")) && !errors.Is(err, ErrDamaged) {
						t.Errorf("closed %v: byte %d of %s is not ErrDamaged: %v", closed, at, name, err)
					}
					continue
				}
				if got := scan(t, s.Table("topic"), ""); len(got) != 3 {
					t.Errorf("closed %v: byte %d of %s: opened with %d topics of 3", closed, at, name, len(got))
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		}
		if want := map[bool]string{false: ".log", true: ".sst"}[closed]; refused[want] == 0 {
			t.Errorf("closed %v: refused %v, want %s among them", closed, refused, want)
		}
	}
}

// A folder that can't be written is an error that names it.
func TestFolderThatCannotBeWritten(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may write everywhere")
	}
	dir := t.TempDir()
	s, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Close(), os.Chmod(dir, 0o500)); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700)
	if _, err := Open(dir, nil); err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("error %v", err)
	}
}
