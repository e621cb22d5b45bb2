package archive

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"

	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
)

// plainValues lays values out as a page has them.
func plainValues(values ...string) []byte {
	var p []byte
	for _, v := range values {
		p = append(binary.LittleEndian.AppendUint32(p, uint32(len(v))), v...)
	}
	return p
}

func compressPage(t *testing.T, page []byte) []byte {
	t.Helper()
	out, err := codec.Encode(nil, page)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPlainPage(t *testing.T) {
	good := plainValues("one", "", "three")
	p := new(plainPage)
	for range 2 { // the second time in the same memory
		if err := p.decode(compressPage(t, good), len(good), 3); err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{"one", "", "three"} {
			if got := string(p.data[p.offs[i]+lengthBytes : p.offs[i+1]]); got != want {
				t.Errorf("value %d: %q, want %q", i, got, want)
			}
		}
	}
	cut := good[:len(good)-1]
	huge := binary.LittleEndian.AppendUint32(nil, 1<<32-1)
	for name, c := range map[string]struct {
		data       []byte
		size, rows int
	}{
		"fewer values":        {compressPage(t, good), len(good), 4},
		"more values":         {compressPage(t, good), len(good), 2},
		"many values":         {compressPage(t, good), len(good), 1 << 30},
		"a value cut off":     {compressPage(t, cut), len(cut), 3},
		"a huge value":        {compressPage(t, huge), len(huge), 1},
		"shorter than said":   {compressPage(t, good), len(good) + 1, 3},
		"longer than said":    {compressPage(t, good), len(good) - 1, 3},
		"longer than allowed": {compressPage(t, good), maxPageBytes + 1, 3},
		"negative":            {compressPage(t, good), -1, 3},
		"not zstd":            {good, len(good), 3},
	} {
		if err := new(plainPage).decode(c.data, c.size, c.rows); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestBodiesAreDecodedHere: our own files take the short way, and those of
// another writer of the same schema are read the general way.
func TestBodiesAreDecodedHere(t *testing.T) {
	recs := testRecords(testQueue, mq.Range{From: 0, To: 3000})
	want := bytes.Join(asBytes(recs), nil)
	for name, c := range map[string]struct {
		codec   compress.Codec
		version int
		own     bool
	}{
		"ours":         {codec, 2, true},
		"snappy":       {&parquet.Snappy, 2, false},
		"uncompressed": {&parquet.Uncompressed, 2, false},
		"pages v1":     {codec, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			var buf bytes.Buffer
			w := NewFileWriter(&buf, testQueue, FileOptions{RowGroupRows: 1000})
			w.pw = parquet.NewWriter(&w.out, append(writerOptions(w.opts), parquet.Compression(c.codec), parquet.DataPageVersion(c.version))...)
			w.cols = w.pw.ColumnWriters()
			for _, r := range recs {
				if err := w.Add(r); err != nil {
					t.Fatal(err)
				}
			}
			f, err := w.Close()
			if err != nil {
				t.Fatal(err)
			}
			f.Name = "data"
			b := mem.New()
			if err := b.Put(context.Background(), f.Name, bytes.NewReader(buf.Bytes()), f.Bytes, objstore.IfAbsent); err != nil {
				t.Fatal(err)
			}
			file, err := OpenFile(context.Background(), b, f)
			if err != nil {
				t.Fatal(err)
			}
			if got := readAll(t, file, mq.Limit{Messages: 100}); !bytes.Equal(got, want) {
				t.Error("records differ")
			}
			col, err := file.column(context.Background(), &file.groups[0], colBody, 0, 1)
			if err != nil {
				t.Fatal(err)
			}
			defer col.close()
			if err := col.load(0); err != nil {
				t.Fatal(err)
			}
			if got := col.own != nil; got != c.own {
				t.Errorf("decoded here: %v, want %v", got, c.own)
			}
		})
	}
}

// TestABodyPageHasAChecksum: a bit that turns in a page of bodies is found
// before anything is made of it.
func TestABodyPageHasAChecksum(t *testing.T) {
	b := mem.New()
	f := writeFile(t, b, testQueue, FileOptions{}, testRecords(testQueue, mq.Range{From: 0, To: 100})...)
	file, err := OpenFile(context.Background(), b, f)
	if err != nil {
		t.Fatal(err)
	}
	pages := file.groups[0].pages[colBody]
	data, err := getObject(context.Background(), b, f.Name, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	data[pages.Offset(0)+pages.CompressedPageSize(0)-1] ^= 1
	replace(t, b, f.Name, data)
	if _, err := file.Read(context.Background(), 0, mq.Limit{}); !errors.Is(err, ErrDamaged) || !bytes.Contains([]byte(err.Error()), []byte("checksum")) {
		t.Errorf("read gave %v", err)
	}
}
