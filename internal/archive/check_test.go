package archive

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"varve/internal/mq"
	"varve/internal/objstore/mem"
)

// oneObject is a RangeReader of one object in memory.
type oneObject []byte

func (o oneObject) ReadAt(_ context.Context, _ string, p []byte, off int64) error {
	if n := copy(p, o[off:]); n < len(p) {
		return errors.New("short")
	}
	return nil
}

// TestCheckFindsFlippedBits: whatever bit of the pages is another one, either
// Check says so or it changes nothing of what the file holds.
func TestCheckFindsFlippedBits(t *testing.T) {
	var out bytes.Buffer
	w := NewFileWriter(&out, testQueue, FileOptions{RowGroupRows: 150})
	for _, r := range testRecords(testQueue, mq.Range{From: 10, To: 410}) {
		if err := w.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	d, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	d.Name = "f.parquet"
	open := func(data []byte) *File {
		f, err := OpenFile(t.Context(), oneObject(data), d)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	good := open(out.Bytes())
	if err := good.Check(t.Context(), AllColumns); err != nil {
		t.Fatal(err)
	}
	end := int64(0)
	for _, rg := range good.pf.Metadata().RowGroups {
		for _, c := range rg.Columns {
			end = max(end, c.MetaData.DataPageOffset+c.MetaData.TotalCompressedSize)
		}
	}
	want := readAll(t, good, mq.Limit{})
	var found, missed int
	for at := int64(4); at < end; at += 7 {
		data := slices.Clone(out.Bytes())
		data[at] ^= 1 << (at % 8)
		f := open(data)
		err := f.Check(t.Context(), AllColumns)
		switch {
		case errors.Is(err, ErrDamaged) && strings.Contains(err.Error(), d.Name):
			found++
		case err != nil:
			t.Errorf("byte %d: %v", at, err)
		case !sameOrRefused(t, f, want):
			t.Errorf("byte %d: other records, and nothing said", at)
		default:
			missed++
		}
	}
	if found == 0 || missed > found/5 { // the headers of small pages have a share
		t.Errorf("%d found, %d in what means nothing", found, missed)
	}
}

// sameOrRefused reads a file that may be refused by who decodes it.
func sameOrRefused(t *testing.T, f *File, want []byte) bool {
	var got []byte
	for at := f.data.Offsets.From; at < f.data.Offsets.To; {
		b, err := f.Read(t.Context(), at, mq.Limit{})
		if err != nil {
			return errors.Is(err, ErrDamaged)
		}
		got, at = append(got, b.Body...), b.Next
	}
	return bytes.Equal(got, want)
}

// TestCheckReadsNamedColumnsOnly: damage elsewhere is not looked for.
func TestCheckReadsNamedColumnsOnly(t *testing.T) {
	b := mem.New()
	d := writeFile(t, b, testQueue, FileOptions{}, testRecords(testQueue, mq.Range{To: 300})...)
	f, err := OpenFile(t.Context(), b, d)
	if err != nil {
		t.Fatal(err)
	}
	g := f.groups[0]
	at := g.pages[colBody].Offset(0) + g.pages[colBody].CompressedPageSize(0) - 3
	data := make([]byte, d.Bytes)
	if err := b.ReadAt(t.Context(), d.Name, data, 0); err != nil {
		t.Fatal(err)
	}
	data[at] ^= 4
	replace(t, b, d.Name, data)
	if err := f.Check(t.Context(), AllColumns&^ColumnsNamed([]string{"body"})); err != nil {
		t.Errorf("the others: %v", err)
	}
	for _, set := range []ColumnSet{AllColumns, ColumnsNamed([]string{"tag", "body"})} {
		if err := f.Check(t.Context(), set); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "[body], row 0") {
			t.Errorf("%b: %v", set, err)
		}
	}
	if got, want := ColumnsNamed([]string{"properties"}), ColumnSet(1<<colPropertyKey|1<<colPropertyValue); got != want {
		t.Errorf("properties are %b, want %b", got, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Check(ctx, AllColumns); !errors.Is(err, context.Canceled) || errors.Is(err, ErrDamaged) {
		t.Errorf("called off: %v", err)
	}
}
