package archive

import (
	"bytes"
	"flag"
	"fmt"
	"testing"

	"varve/internal/mq"
	"varve/internal/mq/mqtest"
	"varve/internal/objstore"
	"varve/internal/objstore/fs"
)

var sample = flag.String("sample", "", "write an archive to this folder, for e2e/readers/check_archive.py")

// TestSample writes an archive for other engines to read.
func TestSample(t *testing.T) {
	if *sample == "" {
		t.Skip("no -sample folder")
	}
	b, err := fs.New(*sample)
	if err != nil {
		t.Fatal(err)
	}
	storeMessages(t, b, mqtest.Messages(), mqtest.Broker, 100, FileOptions{RowGroupRows: 40})
	storeMessages(t, b, goldenMessages(), "varve-a", 4, FileOptions{})
	a := openArchive(t, b, Options{MergeManifests: 3})
	storeTyped(t, a, "typed")
	for _, topic := range []string{"%RETRY%INST%group", "bulk"} {
		tbl := createTable(t, a, topic)
		for id := range int32(3) {
			q := mq.Queue{Broker: "varve-a", Topic: topic, ID: id}
			for i := range int64(6) {
				f := upload(t, tbl, q, mq.Range{From: 1000 + i*500, To: 1500 + i*500}, 1)
				mustAppend(t, tbl, Commit{ID: f.Name, Broker: "varve-a", Epoch: 1, Files: []DataFile{f}})
			}
		}
		var old []string
		for _, f := range tbl.Index().All() {
			if f.Offsets.To <= 2000 {
				old = append(old, f.Name)
			}
		}
		if _, err := tbl.Delete(t.Context(), old, "sample"); err != nil {
			t.Fatal(err)
		}
		compactSample(t, b, tbl, mq.Queue{Broker: "varve-a", Topic: topic, ID: 1})
	}
	// Quiet queues share objects; each goes on in files of its own.
	tbl := createTable(t, a, "quiet")
	for day := range int64(4) {
		var files []DataFile
		for id := range int32(12) {
			q := mq.Queue{Broker: "varve-a", Topic: "quiet", ID: id}
			for i := range int64(2) {
				from := day*50 + i*25
				f := upload(t, tbl, q, mq.Range{From: from, To: from + 25}, 1)
				mustAppend(t, tbl, Commit{ID: f.Name, Broker: "varve-a", Epoch: 1, Files: []DataFile{f}})
				files = append(files, f)
			}
		}
		if day < 3 {
			if _, err := tbl.Replace(t.Context(), sharing(t, b, tbl, fmt.Sprint("shared", day), files)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// compactSample merges a queue's files, as compaction does.
func compactSample(t *testing.T, b *fs.Bucket, tbl *Table, q mq.Queue) {
	t.Helper()
	old := tbl.Index().Files(q, mq.Range{To: 1 << 40})
	var buf bytes.Buffer
	m, err := MergeFiles(t.Context(), &buf, b, old, MergeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m.File.Name = FileName(q, tbl.Root(), m.File.Offsets.From, m.File.Rows, m.File.Epoch)
	if err := b.Put(t.Context(), m.File.Name, &buf, m.File.Bytes, objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
	if err := m.Check(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	r := Replacement{ID: "compacted", Op: ReplaceFiles, New: []DataFile{m.File}}
	for _, f := range old {
		r.Old = append(r.Old, f.Name)
	}
	if _, err := tbl.Replace(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}
