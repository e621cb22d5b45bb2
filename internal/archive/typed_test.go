package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
	"varve/internal/typed"
)

const typedV1 = `{"type":"object","required":["order"],"properties":{"order":{"type":"integer","format":"int32"},"amount":{"type":"number"},
 "currency":{"type":"string"},"old":{"type":"string"},"customer":{"type":"object","properties":{"name":{"type":"string"}}},
 "items":{"type":"array","items":{"type":"object","properties":{"sku":{"type":"string"}}}}}}`

const typedV2 = `{"type":"object","required":["order"],"properties":{"order":{"type":"integer"},"sum":{"type":"number"},
 "currency":{"type":"string"},"customer":{"type":"object","properties":{"full_name":{"type":"string"},"age":{"type":"integer"}}},
 "items":{"type":"array","items":{"type":"object","properties":{"sku":{"type":"string"},"n":{"type":"integer"}}}},
 "price":{"type":"number","x-iceberg-type":"decimal(9,2)"},"day":{"type":"string","format":"date"},"at":{"type":"string","format":"date-time"},
 "ref":{"type":"string","format":"uuid"},"labels":{"type":"object","additionalProperties":{"type":"string"}}}}`

func typedLayouts(t testing.TB) (v1, v2 *typed.Layout) {
	t.Helper()
	first, _, err := typed.Topic{Name: "typed"}.Declare(typed.Declaration{Format: typed.JSON, Document: []byte(typedV1)}, typed.Table{})
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := first.Declare(typed.Declaration{
		Format: typed.JSON, Document: []byte(typedV2),
		Rename: map[string]string{"amount": "sum", "customer.name": "full_name"}, Drop: []string{"old"},
	}, typed.Table{})
	if err != nil {
		t.Fatal(err)
	}
	if v1, err = first.Layout(); err == nil {
		v2, err = second.Layout()
	}
	if err != nil {
		t.Fatal(err)
	}
	return v1, v2
}

// typedBody gives bodies of the first or the second version; each tenth doesn't
// fit.
func typedBody(off int64, version int) string {
	switch {
	case off%10 == 9:
		return `{"order":"` + fmt.Sprint(off) + `"}`
	case version == 1:
		return fmt.Sprintf(`{"order":%d,"amount":%d.5,"currency":"EUR","old":"x","customer":{"name":"n%d"},"items":[{"sku":"a%d"},{"sku":"b"}]}`, off, off, off, off)
	}
	return fmt.Sprintf(`{"order":%d,"sum":%d.5,"customer":{"full_name":"n%d","age":%d},"items":[{"sku":"a%d","n":%d}],"price":%d.25,"day":"2026-01-02","at":"2026-01-02T03:04:05Z","ref":"00112233-4455-6677-8899-aabbccddeeff","labels":{"k":"v%d"}}`,
		off, off, off, off, off, off, off, off)
}

func typedRecord(q mq.Queue, off int64, body string) mq.Record {
	m := &mq.Message{
		Topic: q.Topic, QueueID: q.ID, QueueOffset: off, PhysicalOffset: 1000 + off*300, StoreTimeMillis: 1_700_000_000_000 + off,
		BornTimeMillis: 1_700_000_000_000, Body: []byte(body),
	}
	return mq.AppendRecord(nil, m)
}

// uploadTyped writes a file of a version's bodies into a table's folder.
func uploadTyped(t testing.TB, tbl *Table, q mq.Queue, r mq.Range, l *typed.Layout, version int) (DataFile, []mq.Record) {
	t.Helper()
	var buf bytes.Buffer
	w := NewFileWriter(&buf, q, FileOptions{Epoch: 1, RowGroupRows: 100, Typed: l})
	var recs []mq.Record
	for off := r.From; off < r.To; off++ {
		recs = append(recs, typedRecord(q, off, typedBody(off, version)))
		if err := w.Add(recs[len(recs)-1]); err != nil {
			t.Fatal(err)
		}
	}
	f, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	f.Name = FileName(q, tbl.Root(), f.Offsets.From, f.Rows, 1)
	if err := tbl.bucket.Put(t.Context(), f.Name, bytes.NewReader(buf.Bytes()), f.Bytes, objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
	return f, recs
}

// storeTyped makes a table with a plain file, one of each version, and a late
// one of the first.
func storeTyped(t testing.TB, a *Archive, topic string) (*Table, []mq.Record) {
	t.Helper()
	v1, v2 := typedLayouts(t)
	tbl := createTable(t, a, topic)
	q := mq.Queue{Broker: "varve-a", Topic: topic}
	var all []mq.Record
	for i, l := range []*typed.Layout{nil, v1, v2, v1} {
		if l != nil {
			if err := tbl.Evolve(t.Context(), l); err != nil {
				t.Fatal(err)
			}
		}
		f, recs := uploadTyped(t, tbl, q, mq.Range{From: int64(i) * 300, To: int64(i)*300 + 300}, l, 1+i%3/2)
		mustAppend(t, tbl, Commit{ID: f.Name, Broker: "varve-a", Epoch: 1, Files: []DataFile{f}})
		all = append(all, recs...)
	}
	return tbl, all
}

func TestTypedFilesServeTheSameMessages(t *testing.T) {
	b := mem.New()
	tbl, recs := storeTyped(t, openArchive(t, b, Options{}), "typed")
	r := NewReader(openArchive(t, b, Options{}), b, ReaderOptions{})
	q := mq.Queue{Broker: "varve-a", Topic: "typed"}
	var want, got []byte
	for _, rec := range recs {
		want = append(want, rec...)
	}
	for at := int64(0); at < int64(len(recs)); {
		batch, err := r.Read(t.Context(), q, at, mq.Limit{Bytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		got, at = append(got, batch.Body...), batch.Next
	}
	if !bytes.Equal(got, want) {
		t.Error("messages of files with typed columns are others")
	}
	for _, f := range tbl.Index().All() {
		file, err := OpenFile(t.Context(), b, f)
		if err != nil {
			t.Fatal(err)
		}
		if err := file.Check(t.Context(), AllColumns); err != nil {
			t.Error(err)
		}
	}
}

func TestTypedColumnsOfAFile(t *testing.T) {
	b := mem.New()
	tbl, _ := storeTyped(t, openArchive(t, b, Options{}), "typed")
	v1, v2 := typedLayouts(t)
	files := tbl.Index().All()
	for i, want := range [][]typed.Field{nil, v1.Columns, v2.Columns, v1.Columns} {
		f, err := OpenFile(t.Context(), b, files[i])
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.TypedColumns()
		if err != nil || !typed.SameColumns(got, want) {
			t.Errorf("file %d: %v, want %v, %v", i, got, want, err)
		}
	}
	rows, err := parquet.Read[any](bytes.NewReader(object(t, b, files[2].Name)), files[2].Bytes)
	if err != nil {
		t.Fatal(err)
	}
	show := func(row any) string {
		m := row.(map[string]any)
		out, err := json.Marshal([]any{m["order"], m["sum"], m["customer"], m["items"], m["price"], m["day"], m["labels"], m["body_error"]})
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if got, want := show(rows[1]), `[601,601.5,{"age":601,"full_name":"n601"},[{"n":601,"sku":"a601"}],601.25,20455,{"k":"djYwMQ=="},null]`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := show(rows[9]), `[null,null,null,null,null,null,null,"order: a string, want long"]`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func object(t testing.TB, b objstore.Bucket, name string) []byte {
	t.Helper()
	data, err := getObject(t.Context(), b, name, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestTableTakesTheColumnsOfAVersion(t *testing.T) {
	b := mem.New()
	tbl, _ := storeTyped(t, openArchive(t, b, Options{}), "typed")
	v1, v2 := typedLayouts(t)
	other, err := openArchive(t, b, Options{}).Table(t.Context(), "typed")
	if err != nil {
		t.Fatal(err)
	}
	for _, tbl := range []*Table{tbl, other} {
		have, err := tbl.Typed()
		if err != nil || have.Version != 2 || !typed.SameColumns(have.Columns, v2.Columns) || have.LastID != 1017 {
			t.Errorf("%+v, %v", have, err)
		}
	}
	version := tbl.Snapshot().Version
	for _, l := range []*typed.Layout{v1, v2} { // one that is there already, one of before
		if err := tbl.Evolve(t.Context(), l); err != nil {
			t.Error(err)
		}
	}
	if got := tbl.Snapshot().Version; got != version {
		t.Errorf("version %d after nothing new, was %d", got, version)
	}
	foreign, _, err := typed.Topic{Name: "typed"}.Declare(typed.Declaration{
		Format: typed.JSON, Document: []byte(`{"properties":{"x":{"type":"boolean"}}}`),
	}, typed.Table{Version: 7})
	if err != nil {
		t.Fatal(err)
	}
	l, err := foreign.Layout()
	if err != nil {
		t.Fatal(err)
	}
	if err := tbl.Evolve(t.Context(), l); !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), "column 1000 is int there and boolean in the schema") {
		t.Errorf("another column under a known id: %v", err)
	}
}

func TestManifestBoundsTypedColumns(t *testing.T) {
	b := mem.New()
	tbl, _ := storeTyped(t, openArchive(t, b, Options{}), "typed")
	st := tbl.current()
	entries, err := tbl.entries(t.Context(), tbl.location(st.meta), st.manifests)
	if err != nil {
		t.Fatal(err)
	}
	d := entries[2].DataFile()
	low, high, nulls := d.LowerBoundValues(), d.UpperBoundValues(), d.NullValueCounts()
	got := fmt.Sprintf("%x %x %d | %x %x | %s %s | %x %x | %d", low[1000], high[1000], nulls[1000], low[1001], high[1001],
		low[1005], high[1005], low[1011], high[1011], nulls[idBodyError])
	if want := "5802000000000000 8203000000000000 30 | 0000000000c48240 0000000000148c40 | n600 n898 | 00ea79 015ee1 | 270"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestBoundsOfTexts(t *testing.T) {
	for _, c := range []struct {
		in, out string
		ok      bool
	}{
		{"short", "short", true},
		{"0123456789abcdefg", "0123456789abcdeg", true},
		{strings.Repeat("\U0010FFFF", 17), "", false},
		{"a" + strings.Repeat("\U0010FFFF", 17), "b", true},
		{strings.Repeat("\uD7FF", 17), strings.Repeat("\uD7FF", 15) + "\uE000", true},
	} {
		if out, ok := above([]byte(c.in), boundLength); string(out) != c.out || ok != c.ok {
			t.Errorf("%q: %q %v", c.in, out, ok)
		}
	}
}
