package audit

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/parquet-go/parquet-go"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
)

// share puts one object in the place of all files.
func (e *env) share() string {
	e.t.Helper()
	r := archive.Replacement{ID: "share", Op: archive.ReplaceFiles}
	var queues [][]archive.DataFile
	for _, q := range e.tbl.Index().Queues() {
		queues = append(queues, e.tbl.Index().Files(q, mq.Range{To: 1 << 60}))
		for _, f := range queues[len(queues)-1] {
			r.Old = append(r.Old, f.Name)
		}
	}
	var buf bytes.Buffer
	s, err := archive.ShareFiles(e.t.Context(), &buf, e.b, queues, archive.MergeOptions{})
	if err != nil {
		e.t.Fatal(err)
	}
	s.Name(archive.SharedName(broker, e.tbl.Root(), 0, s.Sections[0].Section.Rows, 1))
	e.put(s.Sections[0].Name, buf.Bytes(), objstore.IfAbsent)
	r.New = s.Sections
	if _, err := e.tbl.Replace(e.t.Context(), r); err != nil {
		e.t.Fatal(err)
	}
	return s.Sections[0].Name
}

// TestASharedObject: every queue's part of it is proven, and a flipped bit is
// found in the queue and the block that has it.
func TestASharedObject(t *testing.T) {
	e := fill(t)
	first := e.audit(Options{})
	name := e.share()
	rep := e.audit(Options{Since: first})
	if !rep.OK || rep.Proven != 24_000 || rep.Files != 1 || rep.Bytes != int64(len(e.get(name))) {
		t.Fatalf("%+v", rep)
	}
	data := e.get(name)
	pf, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 7))
	at := int64(0)
	for n, g := range pf.Metadata().RowGroups {
		q, from := queue(0), at
		if at >= 12_000 {
			q, from = queue(1), at-12_000
		}
		at += g.NumRows
		column := g.Columns[rng.IntN(len(g.Columns))].MetaData
		bad := slices.Clone(data)
		bad[column.DataPageOffset+column.TotalCompressedSize/2] ^= 1
		e.put(name, bad, objstore.Always)
		rep := e.audit(Options{})
		if rep.OK || rep.Doubts[0].File != name || *rep.Doubts[0].Queue != q.ID || rep.Doubts[0].Block == nil || rep.Doubts[0].To <= from || rep.Doubts[0].From >= from+g.NumRows {
			t.Errorf("row group %d, column %v, of queue %d from offset %d on: %+v", n, column.PathInSchema, q.ID, from, rep.Doubts)
		}
	}
	if at != 24_000 {
		t.Errorf("%d rows", at)
	}
}
