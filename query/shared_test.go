package query

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/fs"
)

// TestSharedObjects: SQL reads an object that several queues share once, whatever
// part of it is asked for.
func TestSharedObjects(t *testing.T) {
	w := newWorld(t)
	bucket, err := fs.New(filepath.Join(t.TempDir(), "archive"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := archive.Open(t.Context(), bucket, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	table, err := a.CreateTable(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	r := archive.Replacement{ID: "share", Op: archive.ReplaceFiles}
	var queues [][]archive.DataFile
	for id := range int32(4) {
		q := mq.Queue{Broker: "varve-a", Topic: "t", ID: id}
		for i := range 10 {
			w.send(q, message(fmt.Sprint(int(id)*10+i)))
		}
		w.commit(t, a, table, q, 5)
		w.commit(t, a, table, q, 8)
		files := table.Index().Files(q, mq.Range{To: 8})
		queues = append(queues, files)
		r.Old = append(r.Old, files[0].Name, files[1].Name)
	}
	var buf bytes.Buffer
	s, err := archive.ShareFiles(t.Context(), &buf, bucket, queues[1:], archive.MergeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Name(archive.SharedName("varve-a", table.Root(), 0, 24, 1))
	r.Old, r.New = r.Old[2:], s.Sections
	if err := bucket.Put(t.Context(), s.Sections[0].Name, &buf, s.Sections[0].ObjectBytes(), objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
	if _, err := table.Replace(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	e, err := New(Config{TempDir: filepath.Join(t.TempDir(), "tmp"), Command: w.workerCommand(), Env: []string{workerEnv + "=1"}},
		Deps{Catalog: ArchiveCatalog(a), Files: PathFiles{bucket.Path}, Hot: w})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for sql, want := range map[string][]string{
		"select count(*), sum(body_text::int), count(distinct queue_id) from t":                {"40", "780", "4"},
		"select count(*), sum(body_text::int) from t where queue_id = 2":                       {"10", "245"},
		"select count(*), sum(body_text::int) from t where queue_id > 1 and queue_offset < 3":  {"6", "156"},
		"select count(*), min(queue_id) from t where queue_id in (0, 3) and queue_offset >= 7": {"6", "0"},
	} {
		rows, err := e.Query(t.Context(), Request{SQL: sql})
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			for i, v := range rows.Row() {
				if v.Text() != want[i] {
					t.Errorf("%s: value %d is %s, want %s", sql, i, v.Text(), want[i])
				}
			}
		}
		if rows.Err() != nil {
			t.Errorf("%s: %v", sql, rows.Err())
		}
		if st := rows.Stats(); st.ArchiveFiles > 3 {
			t.Errorf("%s: %+v", sql, st)
		}
		rows.Close()
	}
}
