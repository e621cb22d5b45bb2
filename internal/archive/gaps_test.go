package archive

import (
	"errors"
	"testing"

	"varve/internal/mq"
	"varve/internal/objstore/mem"
)

// TestDeclaredGap: what a commit declares to be missing is stepped over by
// readers, shown by every snapshot after it, and forgotten when retention has
// passed it. Nothing else may be missing.
func TestDeclaredGap(t *testing.T) {
	ctx := t.Context()
	q := testQueue
	b := mem.New()
	tbl := createTable(t, openArchive(t, b, Options{}), q.Topic)
	before := upload(t, tbl, q, mq.Range{From: 0, To: 10}, 1)
	mustAppend(t, tbl, commitOf("0", 1, before))
	c := commitOf("1", 1, upload(t, tbl, q, mq.Range{From: 25, To: 40}, 1))
	for _, wrong := range [][]Gap{nil, {{q, mq.Range{From: 10, To: 24}}}, {{q, mq.Range{From: 9, To: 25}}}} {
		c.Gaps = wrong
		if _, err := tbl.Append(ctx, c); !errors.Is(err, ErrGap) {
			t.Errorf("gaps %v: %v", wrong, err)
		}
	}
	c.Gaps = []Gap{{q, mq.Range{From: 10, To: 25}}}
	mustAppend(t, tbl, c)
	mustAppend(t, tbl, c)
	mustAppend(t, tbl, commitOf("2", 1, upload(t, tbl, q, mq.Range{From: 40, To: 50}, 1)))

	a := openArchive(t, b, Options{})
	again, err := a.Table(ctx, q.Topic)
	if err != nil {
		t.Fatal(err)
	}
	checkSame(t, tbl, again)
	if g := again.Snapshot().Gaps[q]; len(g) != 1 || g[0] != (mq.Range{From: 10, To: 25}) {
		t.Errorf("gaps %v", g)
	}
	if r, ok := again.QueueRange(q); !ok || r != (mq.Range{From: 0, To: 50}) {
		t.Errorf("range %v", r)
	}
	var raw int64
	for _, f := range again.Index().All() {
		raw += f.RawBytes
		if f.RawBytes == 0 {
			t.Errorf("%s: raw bytes are not kept", f.Name)
		}
	}
	reader := NewReader(a, b, ReaderOptions{})
	defer reader.Close()
	for _, scan := range []int{0, 1, 7} {
		n := 0
		for at := int64(0); at < 50; {
			batch, err := reader.Read(ctx, q, at, mq.Limit{Scan: scan})
			if err != nil || batch.Next <= at {
				t.Fatalf("read at %d: %+v, %v", at, batch.Next, err)
			}
			for rec := range mq.Records(batch.Body) {
				if off := rec.QueueOffset(); off < at || off >= batch.Next || off >= 10 && off < 25 {
					t.Errorf("offset %d in a read from %d to %d", off, at, batch.Next)
				}
				n++
			}
			at = batch.Next
		}
		if n != 35 {
			t.Errorf("scan %d: %d messages", scan, n)
		}
	}
	if _, err := tbl.Delete(ctx, []string{before.Name, c.Files[0].Name}, "age"); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, tbl, commitOf("3", 1, upload(t, tbl, q, mq.Range{From: 50, To: 51}, 1)))
	if g := tbl.Snapshot().Gaps; len(g) != 0 {
		t.Errorf("gaps below the range: %v", g)
	}
	if r, _ := tbl.QueueRange(q); r != (mq.Range{From: 40, To: 51}) {
		t.Errorf("range %v", r)
	}
}

// TestGapBeforeTheFirstFile: a new table says what it never had.
func TestGapBeforeTheFirstFile(t *testing.T) {
	q := testQueue
	b := mem.New()
	tbl := createTable(t, openArchive(t, b, Options{}), q.Topic)
	c := commitOf("0", 1, fake(t, tbl, q, mq.Range{From: 500, To: 510}, 1))
	c.Gaps = []Gap{{q, mq.Range{To: 500}}}
	mustAppend(t, tbl, c)
	snap := mustAppend(t, tbl, commitOf("1", 1, fake(t, tbl, q, mq.Range{From: 510, To: 520}, 1)))
	if g := snap.Gaps[q]; len(g) != 1 || g[0] != (mq.Range{To: 500}) {
		t.Errorf("gaps %v", g)
	}
	if r, _ := tbl.QueueRange(q); r != (mq.Range{From: 500, To: 520}) {
		t.Errorf("range %v", r)
	}
}
