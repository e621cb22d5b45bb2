package history

import (
	"bytes"
	"io"
	"testing"
	"time"

	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/fs"
	"varve/internal/objstore/mem"
)

// TestBadFiles: a data file that a reader could not read is named with the
// offset, until somebody reads it; what was kept of the bad one doesn't stand in
// the way.
func TestBadFiles(t *testing.T) {
	dir, err := fs.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]objstore.Bucket{"local": dir, "remote": mem.New()} {
		t.Run(name, func(t *testing.T) { badFile(t, b) })
	}
}

func badFile(t *testing.T, b objstore.Bucket) {
	a := openArchive(t, b)
	store(t, a, broker, plain("orders", 0, 60, time.UnixMilli(1_700_000_000_000)), 20)
	n, err := New(Config{Dir: t.TempDir()}, a)
	if err != nil {
		t.Fatal(err)
	}
	q := mq.Queue{Broker: broker, Topic: "orders"}
	tbl, err := a.Table(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	f := tbl.Index().Files(q, mq.Range{From: 20, To: 21})[0]
	good := object(t, b, f.Name)
	half := good[:len(good)/2]
	rot := bytes.Clone(good)
	for i := 4; i < len(rot)/2; i++ {
		rot[i] ^= 0x55
	}
	read := func(at int64) error {
		_, err := n.Read(t.Context(), q, at, mq.Limit{Messages: 5})
		return err
	}
	bad := func(when string, want int) {
		t.Helper()
		list := n.BadFiles()
		if len(list) != want || want > 0 && (list[0].File.Name != f.Name || list[0].At != 25 || list[0].Why == "") {
			t.Errorf("%s: %+v", when, list)
		}
	}
	for what, data := range map[string][]byte{"rot": rot, "half": half, "nothing": nil} {
		for _, mend := range []string{"read", "tried"} {
			replace(t, b, f.Name, data)
			if n.cache != nil {
				n.cache.forget(f.Name)
			}
			if err := n.reader.Try(t.Context(), f, 25); err == nil { // lets go of the open file
				t.Fatalf("%s: tried", what)
			}
			if err := read(25); err == nil {
				t.Fatalf("%s: read", what)
			}
			n.tryBad(t.Context())
			bad(what, 1)
			if err := read(0); err != nil {
				t.Errorf("%s: another file: %v", what, err)
			}
			bad(what+", others read", 1)
			replace(t, b, f.Name, good)
			if mend == "tried" {
				n.tryBad(t.Context())
			} else if err := read(25); err != nil {
				t.Errorf("%s: put back: %v", what, err)
			}
			bad(what+", put back", 0)
		}
	}
	n.NoteBad(t.Context(), "orders", f.Name, "a column that SQL reads")
	n.NoteBad(t.Context(), "orders", "another", "no file of the table")
	if err := read(25); err != nil {
		t.Fatal(err)
	}
	n.tryBad(t.Context())
	if list := n.BadFiles(); len(list) != 1 || list[0].File.Name != f.Name {
		t.Errorf("noted: %+v", list)
	}
	if _, err := tbl.Delete(t.Context(), []string{f.Name}, "test"); err != nil {
		t.Fatal(err)
	}
	n.tryBad(t.Context())
	bad("not the table's any more", 0)
}

func object(t *testing.T, b objstore.Bucket, name string) []byte {
	t.Helper()
	r, err := b.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// replace puts other bytes under a name, or none.
func replace(t *testing.T, b objstore.Bucket, name string, data []byte) {
	t.Helper()
	err := b.Delete(t.Context(), name)
	if err == nil && data != nil {
		err = b.Put(t.Context(), name, bytes.NewReader(data), int64(len(data)), objstore.Always)
	}
	if err != nil {
		t.Fatal(err)
	}
}
