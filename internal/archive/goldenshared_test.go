package archive

import (
	"os"
	"path/filepath"
	"testing"

	"varve/internal/mq"
	"varve/internal/objstore/fs"
	"varve/internal/objstore/mem"
)

const goldenShared = "testdata/v2"

// TestGoldenShared reads what version 2 wrote when it was made: a table with a
// shared object and a file of one queue behind it.
func TestGoldenShared(t *testing.T) {
	if *update {
		writeGoldenShared(t)
	}
	b := mem.New()
	copyTree(t, filepath.Join(goldenShared, "archive"), b)
	a := openArchive(t, b, Options{})
	tbl, err := a.Table(t.Context(), testQueue.Topic)
	if err != nil {
		t.Fatal(err)
	}
	if all := tbl.Index().All(); len(all) != 4 || len(Objects(all)) != 2 || all[1].Shared() || all[3].Section.Row != 24 || all[3].Offsets != (mq.Range{To: 12}) {
		t.Errorf("%+v", all)
	}
	r := NewReader(a, b, ReaderOptions{})
	var got []byte
	for id := range int32(3) {
		q := testQueue
		q.ID = id
		rng, err := r.Range(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for at := rng.From; at < rng.To; {
			batch, err := r.Read(t.Context(), q, at, mq.Limit{})
			if err != nil {
				t.Fatal(err)
			}
			got, at = append(got, batch.Body...), batch.Next
		}
	}
	if *update {
		if err := os.WriteFile(filepath.Join(goldenShared, "records.hex"), []byte(hexLines(got)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(filepath.Join(goldenShared, "records.hex"))
	if err != nil {
		t.Fatal(err)
	}
	if hexLines(got) != string(want) {
		t.Errorf("records:\n%s\nwant\n%s", hexLines(got), want)
	}
}

func writeGoldenShared(t *testing.T) {
	if err := os.RemoveAll(goldenShared); err != nil {
		t.Fatal(err)
	}
	b := mem.New()
	tbl := createTable(t, openArchive(t, b, Options{}), testQueue.Topic)
	c := commitOf("shared", 1)
	q := testQueue
	for q.ID = range 3 {
		c.Files = append(c.Files, upload(t, tbl, q, mq.Range{To: 12}, 1))
	}
	mustAppend(t, tbl, c)
	shareAll(t, b, tbl, 3)
	q.ID = 0
	mustAppend(t, tbl, commitOf("own", 1, upload(t, tbl, q, mq.Range{From: 12, To: 15}, 1)))
	for _, f := range c.Files {
		if err := b.Delete(t.Context(), f.Name); err != nil {
			t.Fatal(err)
		}
	}
	out, err := fs.New(filepath.Join(goldenShared, "archive"))
	if err != nil {
		t.Fatal(err)
	}
	for o := range b.List(t.Context(), "") {
		data, err := getObject(t.Context(), b, o.Name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(out.Path(o.Name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(out.Path(o.Name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(out.Path(".tmp")); err != nil {
		t.Fatal(err)
	}
}
