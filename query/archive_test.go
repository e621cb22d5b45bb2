package query

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/fs"
)

// commit archives a queue's messages up to an offset in a real table.
func (w *world) commit(t *testing.T, a *archive.Archive, table *archive.Table, q mq.Queue, to int64) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.logs[q]
	var out bytes.Buffer
	fw := archive.NewFileWriter(&out, q, archive.FileOptions{Epoch: 1})
	for _, r := range l.recs[l.next:to] {
		if err := fw.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	d, err := fw.Close()
	if err != nil {
		t.Fatal(err)
	}
	d.Name = archive.FileName(q, table.Root(), d.Offsets.From, d.Rows, 1)
	if err := a.Bucket().Put(t.Context(), d.Name, bytes.NewReader(out.Bytes()), int64(out.Len()), objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
	c := archive.Commit{ID: fmt.Sprintf("%s-%d", q, to), Broker: q.Broker, Epoch: 1, Files: []archive.DataFile{d}}
	if _, err := table.Append(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	l.next = to
}

// TestOlderArchive queries where the archive lacks what it had: that is an
// error, other than a hole of messages that never were in the archive.
func TestOlderArchive(t *testing.T) {
	w := newWorld(t)
	e := w.engine(t, nil)
	q := mq.Queue{Broker: "varve-a", Topic: "t"}
	for i := range 20 {
		w.send(q, message(fmt.Sprint(i)))
	}
	w.archive(q, 5)
	w.trim(q, 10)
	count := func() error {
		rows, err := e.Query(t.Context(), Request{SQL: "select count(*) from t"})
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
		}
		return rows.Err()
	}
	if err := count(); err != nil {
		t.Errorf("dropped before it was archived: %v", err)
	}
	w.logs[q].mark = 8
	if err := count(); err == nil || !strings.Contains(err.Error(), "the archive ends at offset 5, but was archived up to 8, and the hot log begins at 10") {
		t.Errorf("an older archive: %v", err)
	}
}

// TestRealArchive queries an Iceberg table on disk and a hot log, through a
// second Archive that has to look for what the first one commits.
func TestRealArchive(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(t.TempDir(), "odd [name]*?")
	bucket, err := fs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	writer, err := archive.Open(t.Context(), bucket, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	reader, err := archive.Open(t.Context(), bucket, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	q := mq.Queue{Broker: "varve-a", Topic: "%DLQ%it's \"odd\"", ID: 3}
	for i := range 50 {
		w.send(q, message(fmt.Sprint(i)))
	}
	table, err := writer.CreateTable(t.Context(), q.Topic)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Fence(t.Context(), q.Broker, 1); err != nil {
		t.Fatal(err)
	}
	e, err := New(Config{TempDir: filepath.Join(t.TempDir(), "tmp"), Command: w.workerCommand(), Env: []string{workerEnv + "=1"}},
		Deps{Catalog: ArchiveCatalog(reader), Files: PathFiles{bucket.Path}, Hot: w})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	sql := `select count(*), sum(body_text::int), min(topic) from "%DLQ%it's ""odd"""`
	want := []string{"50", "1225", q.Topic}
	for _, step := range []func(){
		func() {},
		func() { w.commit(t, writer, table, q, 20) },
		func() { w.commit(t, writer, table, q, 35); w.trim(q, 35) }, // the reader must refresh
		func() { w.commit(t, writer, table, q, 50); w.trim(q, 50) },
	} {
		step()
		rows, err := e.Query(t.Context(), Request{SQL: sql})
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			for i, v := range rows.Row() {
				if v.Text() != want[i] {
					t.Errorf("value %d: %s, want %s", i, v.Text(), want[i])
				}
			}
		}
		if rows.Err() != nil {
			t.Fatal(rows.Err())
		}
		rows.Close()
	}
	// Files that retention took before they were linked: the query looks again.
	gone := table.Index().Files(q, mq.Range{From: 0, To: 20})
	if _, err := table.Delete(t.Context(), []string{gone[0].Name}, "test"); err != nil {
		t.Fatal(err)
	}
	if err := bucket.Delete(t.Context(), gone[0].Name); err != nil {
		t.Fatal(err)
	}
	if n, _, err := drain(t, e, Request{SQL: `from "%DLQ%it's ""odd"""`}); n != 30 || err != nil {
		t.Errorf("%d rows, %v, want the 30 that are left", n, err)
	}
}

// brokenFiles fails as a bucket that is away does.
type brokenFiles struct{}

func (brokenFiles) Local(context.Context, []archive.DataFile) ([]string, func(), error) {
	return nil, nil, errors.New("bucket is away")
}

func TestStorageFails(t *testing.T) {
	w := newWorld(t)
	q := mq.Queue{Broker: "b", Topic: "t", ID: 0}
	for range 10 {
		w.send(q, message("x"))
	}
	w.archive(q, 5)
	e, err := New(Config{TempDir: t.TempDir(), Command: w.workerCommand(), Env: []string{workerEnv + "=1"}, Timeout: 20 * time.Second},
		Deps{Catalog: w, Files: brokenFiles{}, Hot: w})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, _, err := drain(t, e, Request{SQL: "from t"}); kindOf(t, err) != "storage" || err.Error() != "getting the archive files of t: bucket is away" {
		t.Errorf("got %v", err)
	}
	if n, _, err := drain(t, e, Request{SQL: "from t where queue_offset >= 5"}); n != 5 || err != nil {
		t.Errorf("what is not archived: %d rows, %v", n, err)
	}
	// A file that is not Parquet.
	w.mu.Lock()
	w.files["t"][0].Name = "junk"
	w.mu.Unlock()
	writeFile(t, w.path("junk"), "not Parquet at all, but long enough to look at")
	bad := w.engine(t, nil)
	if _, _, err := drain(t, bad, Request{SQL: "from t"}); kindOf(t, err) != "storage" || strings.Contains(err.Error(), "/") {
		t.Errorf("got %v, want a storage error without a path", err)
	}
}
