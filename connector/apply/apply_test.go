package apply

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/klauspost/compress/zlib"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
	"varve/internal/typed"
)

var queue = mq.Queue{Broker: "b", Topic: "orders"}

func layout(t testing.TB) *typed.Layout {
	t.Helper()
	topic, _, err := typed.Topic{Name: "orders"}.Declare(typed.Declaration{
		Format: typed.JSON, Document: []byte(`{"properties":{"n":{"type":"integer"},"customer":{"type":"object","properties":{"name":{"type":"string"}}}}}`),
	}, typed.Table{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := topic.Layout()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// record is a message; each third has a compressed body, each seventh no JSON.
func record(t testing.TB, off int64) mq.Record {
	t.Helper()
	m := &mq.Message{
		Topic: queue.Topic, QueueOffset: off, PhysicalOffset: off * 500, StoreTimeMillis: 1_700_000_000_000 + off,
		Body: fmt.Appendf(nil, `{"n":%d,"customer":{"name":"c%d"}}`, off, off),
	}
	if off%7 == 6 {
		m.Body = []byte("no JSON")
	}
	if off%3 == 0 {
		var buf bytes.Buffer
		z := zlib.NewWriter(&buf)
		if _, err := z.Write(m.Body); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		m.Body, m.SysFlag = buf.Bytes(), mq.SysCompressed
	}
	return mq.AppendRecord(nil, m)
}

// store makes an archive of a topic with two files without typed columns.
func store(t testing.TB, b objstore.Bucket) {
	t.Helper()
	table := open(t, b)
	for i := range int64(2) {
		var buf bytes.Buffer
		w := archive.NewFileWriter(&buf, queue, archive.FileOptions{Epoch: 1})
		for off := i * 30; off < i*30+30; off++ {
			if err := w.Add(record(t, off)); err != nil {
				t.Fatal(err)
			}
		}
		f, err := w.Close()
		if err != nil {
			t.Fatal(err)
		}
		f.Name = archive.FileName(queue, table.Root(), f.Offsets.From, f.Rows, 1)
		if err := b.Put(t.Context(), f.Name, bytes.NewReader(buf.Bytes()), f.Bytes, objstore.IfAbsent); err != nil {
			t.Fatal(err)
		}
		if _, err := table.Append(t.Context(), archive.Commit{ID: f.Name, Broker: "b", Epoch: 1, Files: []archive.DataFile{f}}); err != nil {
			t.Fatal(err)
		}
	}
}

func open(t testing.TB, b objstore.Bucket) *archive.Table {
	t.Helper()
	a, err := archive.Open(t.Context(), b, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	table, err := a.CreateTable(t.Context(), queue.Topic)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// rows are all records as the archive serves them.
func rows(t testing.TB, b objstore.Bucket) []byte {
	t.Helper()
	a, err := archive.Open(t.Context(), b, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := archive.NewReader(a, b, archive.ReaderOptions{})
	var out []byte
	for at := int64(0); at < 60; {
		batch, err := r.Read(t.Context(), queue, at, mq.Limit{Bytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		out, at = append(out, batch.Body...), batch.Next
	}
	return out
}

// run applies the schema as a new process.
func run(t testing.TB, ctx context.Context, b objstore.Bucket) (Progress, error) {
	t.Helper()
	a, err := archive.Open(ctx, b, archive.Options{})
	if err != nil {
		return Progress{}, err
	}
	var last Progress
	err = New(Config{Broker: "b", Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}, a).Apply(ctx, queue.Topic, layout(t), func(p Progress) { last = p })
	return last, err
}

// check demands the same rows, and typed columns in every file.
func check(t testing.TB, b objstore.Bucket, want []byte) {
	t.Helper()
	if !bytes.Equal(rows(t, b), want) {
		t.Error("other rows")
	}
	table, l := open(t, b), layout(t)
	files := table.Index().All()
	if len(files) != 2 {
		t.Errorf("%d files", len(files))
	}
	for _, f := range files {
		file, err := archive.OpenFile(t.Context(), b, f)
		if err != nil {
			t.Fatal(err)
		}
		have, err := file.TypedColumns()
		if err != nil || !typed.SameColumns(have, l.Columns) {
			t.Errorf("%s has the columns %v, %v", f.Name, have, err)
		}
	}
}

func calls(b *objtest.Faulty, op objtest.Op) (n int) {
	for _, c := range b.Calls() {
		if c.Op == op {
			n++
		}
	}
	return n
}

func TestApply(t *testing.T) {
	b := mem.New()
	store(t, b)
	want := rows(t, b)
	old := open(t, b).Index().All()
	if p, err := run(t, t.Context(), b); err != nil || p.Files != 2 || p.Done != 2 || p.Skipped != 0 {
		t.Fatal(p, err)
	}
	check(t, b, want)
	table := open(t, b)
	for i, f := range table.Index().All() {
		if err := archive.SameRows(t.Context(), b, b, old[i:i+1], []archive.DataFile{f}, nil); err != nil { // also what the client compressed with
			t.Error(err)
		}
	}
	version := table.Snapshot().Version
	if _, err := run(t, t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if got := open(t, b).Snapshot().Version; got != version {
		t.Errorf("a second run made version %d of %d", got, version)
	}
	if err := archive.SameRows(t.Context(), b, b, old[:1], table.Index().All()[1:], nil); err == nil {
		t.Error("files of other rows are the same")
	}
}

// TestApplyIsResumed: whatever call fails, and however, the rows stay, and
// another run ends it.
func TestApplyIsResumed(t *testing.T) {
	for _, op := range []objtest.Op{objtest.Put, objtest.Get, objtest.Head, objtest.ReadAt} {
		for _, how := range []objtest.How{objtest.Before, objtest.After, objtest.Half, objtest.Lie, objtest.Spoil, objtest.Cut} {
			step := 1
			if op != objtest.Put { // a read has one way to fail, and many of them are alike
				if how != objtest.Before {
					continue
				}
				step = 7
			} else if how != objtest.Before && how != objtest.After {
				step = 3
			}
			for skip := 0; ; skip += step {
				inner := mem.New()
				store(t, inner)
				want := rows(t, inner)
				b := objtest.NewFaulty(inner)
				b.Add(objtest.Fault{Op: op, How: how, Skip: skip, Times: 1})
				_, err := run(t, t.Context(), b)
				if skip >= calls(b, op) {
					break // all of them have failed once
				}
				if !bytes.Equal(rows(t, inner), want) {
					t.Fatalf("%s %v %d: other rows after %v", op, how, skip, err)
				}
				b.Clear()
				if _, err := run(t, t.Context(), b); err != nil {
					t.Fatalf("%s %v %d: resumed: %v", op, how, skip, err)
				}
				check(t, inner, want)
			}
		}
	}
}
