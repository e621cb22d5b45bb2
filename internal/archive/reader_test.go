package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"varve/internal/mq"
	"varve/internal/mq/mqtest"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
)

// storeMessages archives messages as a connector would: per queue, in files of
// some rows each.
func storeMessages(t testing.TB, b objstore.Bucket, in []mq.Message, broker string, rowsPerFile int, o FileOptions) *Archive {
	t.Helper()
	a := openArchive(t, b, Options{MergeManifests: 4, ManifestEntries: 8})
	byQueue := map[mq.Queue][]mq.Record{}
	var order []mq.Queue
	for i := range in {
		q := mq.Queue{Broker: broker, Topic: in[i].Topic, ID: in[i].QueueID}
		if byQueue[q] == nil {
			order = append(order, q)
		}
		byQueue[q] = append(byQueue[q], mq.AppendRecord(nil, &in[i]))
	}
	for _, q := range order {
		tbl := createTable(t, a, q.Topic)
		for i := 0; i < len(byQueue[q]); i += rowsPerFile {
			var buf bytes.Buffer
			w := NewFileWriter(&buf, q, o)
			for _, r := range byQueue[q][i:min(i+rowsPerFile, len(byQueue[q]))] {
				if err := w.Add(r); err != nil {
					t.Fatal(err)
				}
			}
			f, err := w.Close()
			if err != nil {
				t.Fatal(err)
			}
			f.Name = FileName(q, tbl.Root(), f.Offsets.From, f.Rows, 1)
			if err := b.Put(t.Context(), f.Name, &buf, f.Bytes, objstore.IfAbsent); err != nil {
				t.Fatal(err)
			}
			mustAppend(t, tbl, Commit{ID: f.Name, Broker: broker, Epoch: 1, Files: []DataFile{f}})
		}
	}
	return a
}

func TestReaderConformance(t *testing.T) {
	for _, c := range []struct{ rows, group int }{{10_000, 0}, {100, 30}, {64, 64}} {
		t.Run(fmt.Sprintf("rows=%d,group=%d", c.rows, c.group), func(t *testing.T) {
			mqtest.Run(t, func(t *testing.T, in []mq.Message) (mq.Reader, []mq.Message) {
				b := mem.New()
				a := storeMessages(t, b, in, mqtest.Broker, c.rows, FileOptions{RowGroupRows: c.group})
				// Another process reads it.
				r := NewReader(openArchive(t, b, Options{}), b, ReaderOptions{OpenFiles: 12, CursorBytes: 4 << 20})
				t.Cleanup(func() { _ = r.Close() })
				_ = a
				return r, in
			})
		})
	}
}

func TestReaderOnDirectory(t *testing.T) {
	mqtest.Run(t, func(t *testing.T, in []mq.Message) (mq.Reader, []mq.Message) {
		b := bucketOf(t, "fs")
		a := storeMessages(t, b, in, mqtest.Broker, 500, FileOptions{})
		r := NewReader(a, b, ReaderOptions{})
		t.Cleanup(func() { _ = r.Close() })
		return r, in
	})
}

// counting counts the requests of a reader.
type counting struct {
	RangeReader
	reads atomic.Int64
	bytes atomic.Int64
}

func (c *counting) ReadAt(ctx context.Context, name string, p []byte, off int64) error {
	c.reads.Add(1)
	c.bytes.Add(int64(len(p)))
	return c.RangeReader.ReadAt(ctx, name, p, off)
}

// TestRequestsArePlanned: a cold point read is one request for the tail of the
// file and a few for the rows; reading on costs few requests for many rows,
// and nothing is read that was not planned.
func TestRequestsArePlanned(t *testing.T) {
	b := mem.New()
	recs := jsonRecords(20_000)
	f := writeFile(t, b, testQueue, FileOptions{}, recs...)
	rr := &counting{RangeReader: b}
	file, err := OpenFile(t.Context(), rr, f)
	if err != nil {
		t.Fatal(err)
	}
	if n := rr.reads.Load(); n != 1 {
		t.Errorf("%d requests to open", n)
	}
	rr.reads.Store(0)
	if _, err := file.Read(t.Context(), 12_345, mq.Limit{Messages: 32}); err != nil {
		t.Fatal(err)
	}
	if n := rr.reads.Load(); n > 5 {
		t.Errorf("%d requests for 32 messages", n)
	}
	rr.reads.Store(0)
	c := newCursor(file, 0)
	b2 := mq.Batch{}
	for c.row < f.Rows {
		b2.Body, b2.Count = b2.Body[:0], 0
		if err := c.read(t.Context(), mq.Limit{Messages: 100}, &b2); err != nil {
			t.Fatal(err)
		}
		if c.seg.unplanned > 0 {
			t.Fatalf("%d unplanned reads at row %d", c.seg.unplanned, c.row)
		}
	}
	if n := rr.reads.Load(); n > 30 {
		t.Errorf("%d requests to read a file of %d bytes", n, f.Bytes)
	}
	rr.reads.Store(0)
	id, _ := mq.Property(recs[777].Properties(), mq.PropUniqKey)
	offs, err := file.FindKey(t.Context(), mq.KeyQuery{Key: string(id), Unique: true})
	if err != nil || len(offs) != 1 || offs[0] != 777 {
		t.Errorf("find: %v, %v", offs, err)
	}
	if n := rr.reads.Load(); n > 5 {
		t.Errorf("%d requests to find a key", n)
	}
	rr.reads.Store(0)
	if offs, err := file.FindKey(t.Context(), mq.KeyQuery{Key: "nobody has it", Unique: true}); err != nil || len(offs) != 0 || rr.reads.Load() > 2 {
		t.Errorf("find of an absent key: %v, %v, %d requests", offs, err, rr.reads.Load())
	}
}

func replace(t *testing.T, b objstore.Bucket, name string, data []byte) {
	t.Helper()
	if err := b.Put(context.Background(), name, bytes.NewReader(data), int64(len(data)), objstore.Always); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedFiles: a listed file that is not what the table says gives an
// error that names it; a file that no snapshot lists harms nobody.
func TestDamagedFiles(t *testing.T) {
	ctx := context.Background()
	q := testQueue
	setup := func() (*mem.Bucket, *Reader, DataFile, []byte) {
		b := mem.New()
		a := openArchive(t, b, Options{})
		tbl := createTable(t, a, q.Topic)
		f := upload(t, tbl, q, mq.Range{From: 0, To: 3000}, 1)
		mustAppend(t, tbl, commitOf("1", 1, f))
		data, err := getObject(ctx, b, f.Name, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		return b, NewReader(a, b, ReaderOptions{}), f, data
	}
	read := func(r *Reader) error {
		for at := int64(0); at < 3000; {
			b, err := r.Read(ctx, q, at, mq.Limit{})
			if err != nil {
				return err
			}
			at = b.Next
		}
		return nil
	}
	for name, damage := range map[string]func([]byte) []byte{
		"cut off":       func(d []byte) []byte { return d[:len(d)/2] },
		"empty":         func([]byte) []byte { return nil },
		"foreign":       func(d []byte) []byte { return bytes.Repeat([]byte("no parquet "), len(d)/11+1)[:len(d)] },
		"bad footer":    func(d []byte) []byte { d[len(d)-40] ^= 0xff; d[len(d)-200] ^= 0xff; return d },
		"footer length": func(d []byte) []byte { d[len(d)-6] = 0xff; return d },
		"bad page":      func(d []byte) []byte { d[len(d)/3] ^= 1; d[len(d)/2] ^= 1; return d },
		"longer":        func(d []byte) []byte { return append(d, d...) },
	} {
		b, r, f, data := setup()
		replace(t, b, f.Name, damage(bytes.Clone(data)))
		err := read(r)
		if err == nil && name == "bad page" {
			continue // the bits hit a column that a record isn't made of
		}
		if err == nil && name == "longer" {
			continue // what the table names is there
		}
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte(f.Name)) {
			t.Errorf("%s: %v", name, err)
		}
		replace(t, b, f.Name, data)
		if err := read(r); err != nil {
			t.Errorf("%s: after repair: %v", name, err)
		}
	}
	t.Run("another file of the table", func(t *testing.T) {
		b, r, f, _ := setup()
		other := fileBytes(t, q, mq.Range{From: 5000, To: 8000})
		f.Bytes = int64(len(other))
		replace(t, b, f.Name, other)
		if _, err := r.File(ctx, f); !errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
	})
	t.Run("unlisted", func(t *testing.T) {
		b, r, f, data := setup()
		replace(t, b, f.Name+".parquet", data[:100])
		replace(t, b, "default/orders/data/varve-a/3/00000000000000000000-1-1-00.parquet", []byte("junk"))
		if err := read(r); err != nil {
			t.Error(err)
		}
	})
}

func fileBytes(t *testing.T, q mq.Queue, r mq.Range) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := NewFileWriter(&buf, q, FileOptions{})
	for _, rec := range testRecords(q, r) {
		if err := w.Add(rec); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestReadOfDeletedFile: where retention of another process was faster, the
// reader learns the new range instead of failing.
func TestReadOfDeletedFile(t *testing.T) {
	ctx := context.Background()
	b := mem.New()
	tbl := createTable(t, openArchive(t, b, Options{}), "orders")
	q := testQueue
	first := upload(t, tbl, q, mq.Range{From: 0, To: 100}, 1)
	mustAppend(t, tbl, commitOf("1", 1, first, upload(t, tbl, q, mq.Range{From: 100, To: 200}, 1)))
	r := NewReader(openArchive(t, b, Options{}), b, ReaderOptions{})
	if rng, err := r.Range(ctx, q); err != nil || rng != (mq.Range{From: 0, To: 200}) {
		t.Fatal(rng, err)
	}
	if _, err := tbl.Delete(ctx, []string{first.Name}, "age"); err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(ctx, first.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(ctx, q, 50, mq.Limit{}); !errors.Is(err, mq.ErrTooLow) {
		t.Errorf("read of what is gone: %v", err)
	}
	if rng, err := r.Range(ctx, q); err != nil || rng != (mq.Range{From: 100, To: 200}) {
		t.Error(rng, err)
	}
	if batch, err := r.Read(ctx, q, 100, mq.Limit{}); err != nil || batch.Count != 100 {
		t.Error(batch.Count, err)
	}
}

// TestEachPageIsPaced: whoever reads asks before every page that it decodes.
func TestEachPageIsPaced(t *testing.T) {
	b := mem.New()
	a := openArchive(t, b, Options{})
	tbl := createTable(t, a, testQueue.Topic)
	mustAppend(t, tbl, commitOf("1", 1, upload(t, tbl, testQueue, mq.Range{From: 0, To: 3000}, 1)))
	asked := 0
	r := NewReader(a, b, ReaderOptions{Pace: func() { asked++ }})
	if _, err := r.Read(context.Background(), testQueue, 0, mq.Limit{Messages: 1}); err != nil {
		t.Fatal(err)
	}
	if asked < len(recordColumns) {
		t.Errorf("asked %d times for the first pages of %d columns", asked, len(recordColumns))
	}
	asked = 0
	if _, err := r.Read(context.Background(), testQueue, 1, mq.Limit{Messages: 1}); err != nil {
		t.Fatal(err)
	}
	if asked != 0 {
		t.Errorf("asked %d times for pages that were decoded", asked)
	}
	if _, err := r.OffsetAt(context.Background(), testQueue, 1_700_000_000_100, mq.Lower); err != nil {
		t.Fatal(err)
	}
	if asked == 0 {
		t.Error("a search by time didn't ask")
	}
}
