package audit

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"varve/internal/archive"
	"varve/internal/objstore"
	"varve/internal/proof"
	"varve/internal/typed"
)

// TestObjectsOfAnotherLength: one that is cut off or that goes on behind what
// its entry says is a doubt of its own file, and the others are proven.
func TestObjectsOfAnotherLength(t *testing.T) {
	e := fill(t)
	files := e.tbl.Index().All()
	good := e.get(files[2].Name)
	for what, data := range map[string][]byte{
		"cut off": good[:len(good)-700], "empty": nil, "another file behind it": slices.Concat(good, good), "one byte more": append(slices.Clone(good), 0),
	} {
		e.put(files[2].Name, data, objstore.Always)
		rep := e.audit(Options{})
		if d := e.one(rep, "the table says"); d.File != files[2].Name || d.Block == nil || rep.Proven != 24_000-files[2].Rows {
			t.Errorf("%s: %d are proven, %+v", what, rep.Proven, d)
		}
	}
	e.put(files[2].Name, e.get(files[0].Name), objstore.Always)
	e.put(files[0].Name, good, objstore.Always)
	if rep := e.audit(Options{}); len(rep.Doubts) != 2 || len(rep.Heads) != 1 {
		t.Errorf("of two that changed places: %+v", rep.Doubts)
	}
}

// TestARecordOfADeletionThatIsBroken is a doubt, and ends nothing.
func TestARecordOfADeletionThatIsBroken(t *testing.T) {
	e := fill(t)
	name := e.tbl.Root() + "/deletions/1.json"
	e.put(name, []byte(`{"files":`), objstore.IfAbsent)
	rep := e.audit(Options{})
	if d := e.one(rep, "a record of a deletion"); d.File != name || rep.Proven != 24_000 {
		t.Errorf("%d are proven, %+v", rep.Proven, d)
	}
}

// TestASignedDeletion: its record counts where one of the keys signed it, and is a
// doubt where it was changed since.
func TestASignedDeletion(t *testing.T) {
	record := []byte(`{"files":[]}`)
	for what, c := range map[string]struct {
		record, signed []byte
		ok             bool
	}{
		"signed":  {record, record, true},
		"changed": {[]byte(`{"files":[],"id":"x"}`), record, false},
	} {
		e := fill(t)
		name := e.tbl.Root() + "/deletions/1-a.json"
		e.put(name, c.record, objstore.IfAbsent)
		s, err := json.Marshal(map[string][]byte{"signature": proof.SignDeletion(testKey, c.signed)})
		if err != nil {
			t.Fatal(err)
		}
		e.put(e.tbl.Root()+"/deletion-signatures/1-a.0123456789abcdef.json", s, objstore.IfAbsent)
		rep := e.audit(Options{})
		if c.ok && !rep.OK {
			t.Errorf("%s: %+v", what, rep.Doubts)
		}
		if !c.ok {
			if d := e.one(rep, "signature does not fit"); d.File != name {
				t.Errorf("%s: %+v", what, d)
			}
		}
	}
}

// TestTypedColumns: without the schema their checksums are compared, which the report says: a
// flipped bit in one is a doubt.
func TestTypedColumns(t *testing.T) {
	e := newEnv(t, testKey)
	declared, _, err := typed.Topic{Name: topic}.Declare(typed.Declaration{
		Format: typed.JSON, Document: []byte(`{"type":"object","properties":{"n":{"type":"integer"}}}`),
	}, typed.Table{})
	if err != nil {
		t.Fatal(err)
	}
	layout, err := declared.Layout()
	if err != nil {
		t.Fatal(err)
	}
	if err := e.tbl.Evolve(t.Context(), layout); err != nil {
		t.Fatal(err)
	}
	msgs := messages(queue(0), 0, 500)
	for i := range msgs {
		msgs[i].Body = []byte(`{"n":7}`)
	}
	data, f := encodeWith(t, queue(0), msgs, archive.FileOptions{Epoch: 1, Typed: layout})
	f.Name = archive.FileName(queue(0), e.tbl.Root(), 0, 500, 1)
	e.put(f.Name, data, objstore.IfAbsent)
	e.commit(nil, f)
	rep := e.audit(Options{})
	if !rep.OK || rep.Proven != 500 || len(rep.NotCovered) != 1 || !strings.Contains(rep.NotCovered[0].Why, "columns made of bodies") {
		t.Fatalf("%+v", rep)
	}
	pf, err := parquet.OpenFile(bytes.NewReader(data), f.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, c := range pf.Metadata().RowGroups[0].Columns {
		if m := c.MetaData; m.PathInSchema[0] == "n" || m.PathInSchema[0] == "body_error" {
			h, protocol := new(format.PageHeader), thrift.CompactProtocol{}
			r := protocol.NewReaderFromBytes(data[m.DataPageOffset:])
			if err := thrift.NewDecoder(r).Decode(h); err != nil {
				t.Fatal(err)
			}
			first := int(m.DataPageOffset) + r.BytesRead() // no checksum is of the header
			for at := first; at < first+int(h.CompressedPageSize); at += 3 {
				bad := slices.Clone(data)
				bad[at] ^= 4
				e.put(f.Name, bad, objstore.Always)
				if rep := e.audit(Options{}); rep.OK || rep.Doubts[0].File != f.Name {
					t.Errorf("byte %d of column %v: no doubt", at, m.PathInSchema)
				}
				tried++
			}
		}
	}
	if tried == 0 {
		t.Error("no typed column is in the file")
	}
}
