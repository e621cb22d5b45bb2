package index

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// filled gives an index that was closed, with its state in one table.
func filled(t *testing.T) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewMem()
	d, err := OpenDB(fs, "index", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	u := d.Update()
	u.Epoch(7)
	u.Clean(-1)
	if err := errors.Join(u.Commit(), d.Flush(), d.Close()); err != nil {
		t.Fatal(err)
	}
	return fs
}

// One wrong bit in the manifest or in a table of the state is one line that
// names the file, and says what can be done.
func TestOneWrongBit(t *testing.T) {
	names, err := filled(t).List("index")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") && !strings.HasPrefix(name, "MANIFEST") {
			continue
		}
		seen++
		for _, at := range []int64{1, 9, 30} {
			fs := filled(t)
			f, err := fs.OpenReadWrite("index/"+name, vfs.WriteCategoryUnspecified)
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 1)
			if _, err := f.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			b[0] ^= 4
			if _, err := f.WriteAt(b, at); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			d, err := OpenDB(fs, "index", slog.New(slog.DiscardHandler))
			if err == nil {
				_, err = d.Load()
				if cerr := d.Close(); cerr != nil {
					t.Error(cerr)
				}
			}
			if !errors.Is(err, ErrBad) || !strings.Contains(err.Error(), name) ||
				!strings.Contains(err.Error(), "copy the data directory") || strings.Contains(err.Error(), "\n") {
				t.Errorf("byte %d of %s: error %v", at, name, err)
			}
		}
	}
	if seen < 2 {
		t.Errorf("looked at %d files of %v", seen, names)
	}
}
