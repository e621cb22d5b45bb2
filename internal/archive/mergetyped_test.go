package archive

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
	"varve/internal/typed"
)

// everyKind is a schema with a column of each kind.
const everyKind = `{"type":"object","properties":{"i":{"type":"integer","format":"int32"},"l":{"type":"integer"},"f":{"type":"number","format":"float"},
 "d":{"type":"number"},"b":{"type":"boolean"},"d9":{"type":"number","x-iceberg-type":"decimal(9,2)"},"d18":{"type":"number","x-iceberg-type":"decimal(18,3)"},
 "d38":{"type":"number","x-iceberg-type":"decimal(38,1)"},"day":{"type":"string","format":"date"},"at":{"type":"string","format":"date-time"},
 "local":{"type":"string","x-iceberg-type":"timestamp"},"s":{"type":"string"},"u":{"type":"string","format":"uuid"},
 "raw":{"type":"string","contentEncoding":"base64"},"any":{},"st":{"type":"object","properties":{"a":{"type":"integer"},"n":{"type":"string"}}},
 "ls":{"type":"array","items":{"type":"object","properties":{"k":{"type":"string"},"v":{"type":"number"}}}},
 "mp":{"type":"object","additionalProperties":{"type":"integer"}}}}`

func kindsLayout(t testing.TB) *typed.Layout {
	t.Helper()
	topic, _, err := typed.Topic{Name: "typed"}.Declare(typed.Declaration{Format: typed.JSON, Document: []byte(everyKind)}, typed.Table{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := topic.Layout()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// kindsBody has some of the fields, at random; one in twelve doesn't fit.
func kindsBody(rng *rand.Rand) string {
	if rng.IntN(12) == 0 {
		return `{"i":"no number"}`
	}
	var parts []string
	add := func(format string, args ...any) {
		if rng.IntN(3) > 0 {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(`"i":%d`, rng.Int32()-1<<30)
	add(`"l":%d`, rng.Int64()-1<<62)
	add(`"f":%g`, float32(rng.NormFloat64()))
	add(`"d":%g`, rng.NormFloat64()*1e9)
	add(`"b":%v`, rng.IntN(2) == 0)
	add(`"d9":%d.%02d`, rng.IntN(2000)-1000, rng.IntN(100))
	add(`"d18":%d.%03d`, rng.Int64N(2e14)-1e14, rng.IntN(1000))
	add(`"d38":%d%018d.5`, rng.IntN(1e9), rng.Int64N(1e18))
	add(`"day":"19%02d-%02d-%02d"`, rng.IntN(100), 1+rng.IntN(12), 1+rng.IntN(28))
	add(`"at":"20%02d-01-02T03:04:05.%06dZ"`, rng.IntN(100), rng.IntN(1e6))
	add(`"local":"19%02d-01-02T03:04:05"`, rng.IntN(100))
	add(`"s":"%s"`, strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(30)))
	add(`"u":"%08x-0000-4000-8000-%012x"`, rng.Uint32(), rng.Uint64N(1<<48))
	add(`"raw":"AAEC"`)
	add(`"any":{"x":[1,%d]}`, rng.IntN(9))
	add(`"st":{"a":%d,"n":"x%d"}`, rng.IntN(9), rng.IntN(9))
	add(`"ls":[{"k":"a","v":%d},{"v":2},{}]`, rng.IntN(9))
	add(`"mp":{"a":1,"b":%d}`, rng.IntN(9))
	return "{" + strings.Join(parts, ",") + "}"
}

// kindsFile writes a file of random bodies into a bucket.
func kindsFile(t testing.TB, b *mem.Bucket, name string, l *typed.Layout, r mq.Range, group int) (DataFile, []mq.Record) {
	t.Helper()
	var buf bytes.Buffer
	w := NewFileWriter(&buf, typedQueue, FileOptions{Epoch: 1, RowGroupRows: group, Typed: l})
	rng := rand.New(rand.NewPCG(uint64(r.From), 7))
	var recs []mq.Record
	for off := r.From; off < r.To; off++ {
		recs = append(recs, typedRecord(typedQueue, off, kindsBody(rng)))
	}
	for _, rec := range recs {
		if err := w.Add(rec); err != nil {
			t.Fatal(err)
		}
	}
	f, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if f.Name = name; name == "" {
		f.Name = fmt.Sprintf("typed-%d-%d", r.From, r.To)
	}
	putBytes(t, b, f.Name, buf.Bytes())
	return f, recs
}

func putBytes(t testing.TB, b *mem.Bucket, name string, data []byte) {
	t.Helper()
	if err := b.Put(t.Context(), name, bytes.NewReader(data), int64(len(data)), objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
}

var typedQueue = mq.Queue{Broker: "varve-a", Topic: "typed"}

// rowsOf gives a file's rows as another reader has them.
func rowsOf(t testing.TB, b *mem.Bucket, f DataFile) []any {
	t.Helper()
	rows, err := parquet.Read[any](bytes.NewReader(object(t, b, f.Name)), f.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestMergeTypedFiles: typed columns of every kind come through a merge, copied
// and encoded anew, with the records and what the manifest says of them.
func TestMergeTypedFiles(t *testing.T) {
	b := mem.New()
	l := kindsLayout(t)
	at := int64(0)
	var parts []DataFile
	var recs []mq.Record
	var want []any
	for i, n := range []int{3, 300, 40, 8192, 1, 300} {
		f, more := kindsFile(t, b, "", l, mq.Range{From: at, To: at + int64(n)}, []int{16384, 100, 7}[i%3])
		parts, recs, at = append(parts, f), append(recs, more...), f.Offsets.To
		want = append(want, rowsOf(t, b, f)...)
	}
	m := mergeOf(t, b, parts)
	if m.Stats.CopiedRows != 8192 || m.Stats.EncodedRows != 644 || m.File.Schema != 1 {
		t.Errorf("%+v of schema version %d", m.Stats, m.File.Schema)
	}
	sameRows(t, b, m, parts)
	if got := rowsOf(t, b, m.File); !reflect.DeepEqual(got, want) {
		t.Error("the merged file's rows are others")
	}
	file, err := OpenFile(t.Context(), b, m.File)
	if err != nil {
		t.Fatal(err)
	}
	if have, err := file.TypedColumns(); err != nil || !typed.SameColumns(have, l.Columns) {
		t.Errorf("columns %v, %v", have, err)
	}
	whole, _ := kindsWhole(t, recs, l)
	if got := joinStats(m.File.Columns, parts); !reflect.DeepEqual(plainStats(got), plainStats(whole.Columns)) {
		t.Errorf("bounds %+v\nwant %+v", plainStats(got), plainStats(whole.Columns))
	}
	if m.File.Hashes != whole.Hashes {
		t.Error("the proof's hashes are not those of the rows")
	}
	again, _ := kindsFile(t, b, "", l, mq.Range{From: at, To: at + 5}, 0)
	if m := mergeOf(t, b, []DataFile{m.File, again}); m.Stats.CopiedRows < 8192 {
		t.Errorf("a merged file can't be copied: %+v", m.Stats)
	}
}

// kindsWhole writes all records as one file.
func kindsWhole(t testing.TB, recs []mq.Record, l *typed.Layout) (DataFile, []byte) {
	t.Helper()
	var buf bytes.Buffer
	w := NewFileWriter(&buf, typedQueue, FileOptions{Epoch: 1, Typed: l})
	for _, r := range recs {
		if err := w.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	f, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return f, buf.Bytes()
}

func plainStats(s *ColumnStats) map[string]string {
	out := map[string]string{"misfits": fmt.Sprint(s.Misfits)}
	for id, n := range s.nulls {
		out[fmt.Sprint("nulls ", id)] = fmt.Sprint(n)
	}
	for id := range s.low {
		out[fmt.Sprint("bounds ", id)] = fmt.Sprintf("%x %x", s.low[id], s.high[id])
	}
	return out
}

// TestMergedEntryHasTheBounds: the manifest entry of a merged file is that of a
// file that was written at once, also where another process reads it.
func TestMergedEntryHasTheBounds(t *testing.T) {
	b := mem.New()
	a := openArchive(t, b, Options{})
	tbl := createTable(t, a, "typed")
	l := kindsLayout(t)
	if err := tbl.Evolve(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	var recs []mq.Record
	var old []string
	for i := range int64(5) {
		r := mq.Range{From: i * 50, To: i*50 + 50}
		f, more := kindsFile(t, b, FileName(typedQueue, tbl.Root(), r.From, r.Len(), 1), l, r, 0)
		mustAppend(t, tbl, Commit{ID: f.Name, Broker: "varve-a", Epoch: 1, Files: []DataFile{f}})
		recs, old = append(recs, more...), append(old, f.Name)
	}
	var buf bytes.Buffer
	planned := tbl.Index().Files(typedQueue, mq.Range{To: 250})
	if slices.ContainsFunc(planned, func(f DataFile) bool { return f.Schema != 1 || f.Columns != nil }) {
		t.Errorf("the index has %+v", planned)
	}
	m, err := MergeFiles(t.Context(), &buf, b, planned, MergeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m.File.Name = FileName(typedQueue, tbl.Root(), 0, m.File.Rows, 1)
	putBytes(t, b, m.File.Name, buf.Bytes())
	if _, err := tbl.Replace(t.Context(), Replacement{ID: "r", Old: old, New: []DataFile{m.File}, Op: ReplaceFiles}); err != nil {
		t.Fatal(err)
	}
	other, err := openArchive(t, b, Options{}).Table(t.Context(), "typed")
	if err != nil {
		t.Fatal(err)
	}
	for _, tbl := range []*Table{tbl, other} {
		st := tbl.current()
		entries, err := tbl.entries(t.Context(), tbl.location(st.meta), st.manifests)
		if err != nil || len(entries) != 1 {
			t.Fatal(len(entries), err)
		}
		whole, _ := kindsWhole(t, recs, l)
		whole.Name = m.File.Name
		want, err := icebergFile(tbl.location(st.meta), whole)
		if err != nil {
			t.Fatal(err)
		}
		if got := entries[0].DataFile(); !reflect.DeepEqual(plainStats(statsOf(got)), plainStats(statsOf(want))) {
			t.Errorf("the entry has %v\nwant %v", plainStats(statsOf(got)), plainStats(statsOf(want)))
		}
		if f := tbl.Index().All()[0]; f.Schema != 1 || f.Parts != 5 {
			t.Errorf("%+v", f)
		}
	}
}

// TestMergeErasedTypedRows: what erasure left of a row stays as it is, its
// columns and its leaf with it.
func TestMergeErasedTypedRows(t *testing.T) {
	b := mem.New()
	l := kindsLayout(t)
	first, _ := kindsFile(t, b, "", l, mq.Range{To: 40}, 0)
	second, _ := kindsFile(t, b, "", l, mq.Range{From: 40, To: 60}, 0)
	file, err := OpenFile(t.Context(), b, first)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	made, rows, err := file.Erase(t.Context(), &buf, FileOptions{Epoch: 1, Typed: l}, "e1", func(off int64) bool { return off == 7 || off == 39 })
	if err != nil || len(rows) != 2 {
		t.Fatal(rows, err)
	}
	made.Name = "erased"
	putBytes(t, b, made.Name, buf.Bytes())
	if made.Hashes != first.Hashes {
		t.Error("an erasure changed the leaves")
	}
	if had := first.Columns.Misfits; made.Columns.Misfits > had {
		t.Errorf("%d bodies don't fit, %d did not before the erasure", made.Columns.Misfits, had)
	}
	m := mergeOf(t, b, []DataFile{made, second})
	want := slices.Concat(rowsOf(t, b, made), rowsOf(t, b, second))
	if got := rowsOf(t, b, m.File); !reflect.DeepEqual(got, want) {
		t.Error("the merged file's rows are others")
	}
	merged, err := OpenFile(t.Context(), b, m.File)
	if err != nil {
		t.Fatal(err)
	}
	var erased []int64
	if err := merged.Audit(t.Context(), func(row *AuditedRow) error {
		if row.Wrong != "" {
			t.Errorf("offset %d: %s", row.Offset, row.Wrong)
		}
		if row.Erased != nil {
			erased = append(erased, row.Offset)
		}
		return nil
	}); err != nil || !slices.Equal(erased, []int64{7, 39}) {
		t.Errorf("erased %v, %v", erased, err)
	}
}

// TestOtherColumnsDontMerge: files of other columns are refused, and which one.
func TestOtherColumnsDontMerge(t *testing.T) {
	b := mem.New()
	a := openArchive(t, b, Options{})
	tbl, _ := storeTyped(t, a, "typed")
	files := tbl.Index().All()
	if got := []int64{files[0].Schema, files[1].Schema, files[2].Schema, files[3].Schema}; !slices.Equal(got, []int64{0, 1, 2, 1}) {
		t.Errorf("schema versions %v", got)
	}
	for i := range 3 {
		_, err := MergeFiles(t.Context(), &bytes.Buffer{}, b, files[i:i+2], MergeOptions{})
		var which *ObjectError
		if !errors.Is(err, ErrUnmergeable) || !errors.As(err, &which) || which.Name != files[i+1].Name {
			t.Errorf("files %d and %d: %v", i, i+1, err)
		}
	}
}

func TestJoinedBounds(t *testing.T) {
	leaf := func(k typed.Kind, precision int) typed.Leaf {
		return typed.Leaf{Field: typed.Field{ID: 1000, Type: typed.Type{Kind: k, Precision: precision}}, MaxDef: 1}
	}
	of := func(rows, nulls int64, low, high []byte) DataFile {
		s := &ColumnStats{nulls: map[int]int64{1000: nulls}, low: map[int][]byte{}, high: map[int][]byte{}}
		if low != nil {
			s.low[1000], s.high[1000] = low, high
		}
		return DataFile{Rows: rows, Columns: s}
	}
	num := func(n int64) []byte { return shortest(n) }
	for what, c := range map[string]struct {
		leaf  typed.Leaf
		files []DataFile
		want  string
	}{
		"decimals":               {leaf(typed.Decimal, 9), []DataFile{of(1, 0, num(-129), num(5)), of(1, 0, num(-2), num(300))}, "0: ff7f 012c"},
		"ints":                   {leaf(typed.Int, 0), []DataFile{of(1, 0, int32Bytes(-5), int32Bytes(5)), of(1, 0, int32Bytes(-70000), int32Bytes(1))}, "0: 90eefeff 05000000"},
		"negative floats":        {leaf(typed.Float, 0), []DataFile{of(1, 0, floatBytes(-5), floatBytes(-4)), of(1, 0, floatBytes(-9), floatBytes(-8))}, "0: 09000080 04000080"},
		"all null in one":        {leaf(typed.Long, 0), []DataFile{of(3, 3, nil, nil), of(2, 1, int64Bytes(1), int64Bytes(2))}, "4: 0100000000000000 0200000000000000"},
		"no number in one":       {leaf(typed.Double, 0), []DataFile{of(3, 0, nil, nil), of(2, 1, doubleBytes(1), doubleBytes(2))}, "1: none"},
		"empty and other texts":  {leaf(typed.String, 0), []DataFile{of(1, 0, []byte{}, []byte{}), of(1, 0, []byte("b"), []byte("c"))}, "0:  63"},
		"a bound of wrong width": {leaf(typed.Long, 0), []DataFile{of(1, 0, int32Bytes(1), int32Bytes(2))}, "0: none"},
	} {
		counted := &ColumnStats{join: []typed.Leaf{c.leaf}, nulls: map[int]int64{}}
		for _, f := range c.files {
			counted.nulls[1000] += f.Columns.nulls[1000]
		}
		s := joinStats(counted, c.files)
		got := fmt.Sprintf("%d: none", s.nulls[1000])
		if low, ok := s.low[1000]; ok {
			got = fmt.Sprintf("%d: %x %x", s.nulls[1000], low, s.high[1000])
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", what, got, c.want)
		}
	}
	if s := joinStats(&ColumnStats{}, []DataFile{{Rows: 1}}); s != nil {
		t.Errorf("of a file that nothing is known of: %+v", s)
	}
}
