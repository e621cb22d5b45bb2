package archive

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// checkBytes is how much of a file Check reads at a time; a single page may be
// larger.
const checkBytes = 1 << 20

// ColumnSet is a set of a data file's leaf columns.
type ColumnSet uint32

// AllColumns has every column, TypedColumns those that are made of bodies.
const (
	AllColumns   = ColumnSet(1<<(numColumns+1) - 1)
	TypedColumns = ColumnSet(1 << numColumns)
)

// ColumnsNamed gives the columns below the schema's fields of these names; other
// names give none.
func ColumnsNamed(names []string) ColumnSet {
	var set ColumnSet
	for i, path := range leafPaths() {
		if slices.Contains(names, path[0]) {
			set |= 1 << i
		}
	}
	return set
}

// Check reads the columns' pages and compares them with their checksums and
// with what the file says of them, for a reader that doesn't. It decodes none.
// Of a shared object it reads all sections.
func (f *File) Check(ctx context.Context, columns ColumnSet) error {
	return guard(f.data.Name, func() error {
		c := checker{f: f, ctx: ctx}
		for col := range numColumns {
			if columns&(1<<col) == 0 {
				continue
			}
			if err := f.checkType(col); err != nil {
				return err
			}
			for i := range f.all {
				g := &f.all[i]
				if err := c.chunk(i, leafChunk{leafPaths()[col], g.chunks[col], g.pages[col], g.dicts[col]}); err != nil {
					return err
				}
			}
		}
		if columns&TypedColumns != 0 {
			return c.typed()
		}
		return nil
	})
}

// CheckBounds compares the bounds of numbers in the footer with the page
// indexes, for a reader that reads the rows itself and not by them.
func (f *File) CheckBounds() error {
	return guard(f.data.Name, func() error {
		for i := range f.all {
			g := &f.all[i]
			for col := range numColumns {
				l := leafChunk{leafPaths()[col], g.chunks[col], g.pages[col], g.dicts[col]}
				if err := l.checkBounds(&f.pf.Metadata().RowGroups[i].Columns[l.chunk.Column()].MetaData); err != nil {
					return damaged(f.data.Name, "column %v from row %d on: %w", l.path, g.from, err)
				}
			}
		}
		return nil
	})
}

// leafChunk is a leaf column of a row group.
type leafChunk struct {
	path  []string
	chunk *parquet.FileColumnChunk
	pages parquet.OffsetIndex
	dict  int64 // where the dictionary is, 0 if there is none
}

// end is the row of the group after a page.
func (l leafChunk) end(g *group, page int) int64 {
	if page+1 < l.pages.NumPages() {
		return l.pages.FirstRowIndex(page + 1)
	}
	return g.to - g.from
}

// typed checks the columns that aren't the row's own. Their types are for who
// reads them to know (TypedColumns).
func (c *checker) typed() error {
	own := map[int]bool{}
	if len(c.f.all) > 0 {
		for _, chunk := range c.f.all[0].chunks {
			own[chunk.Column()] = true
		}
	}
	for i, rg := range c.f.pf.RowGroups() {
		for col, path := range c.f.pf.Schema().Columns() {
			if own[col] {
				continue
			}
			chunk, ok := rg.ColumnChunks()[col].(*parquet.FileColumnChunk)
			if !ok {
				return damaged(c.f.data.Name, "column %v is not readable", path)
			}
			pages, err := chunk.OffsetIndex()
			if err != nil {
				return damaged(c.f.data.Name, "column %v has no page index: %w", path, err)
			}
			l := leafChunk{path: path, chunk: chunk, pages: pages}
			if m := c.f.pf.Metadata().RowGroups[i].Columns[col].MetaData; m.DictionaryPageOffset < m.DataPageOffset {
				l.dict = m.DictionaryPageOffset
			}
			if err := c.chunk(i, l); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkType compares what a column's values mean with the schema.
func (f *File) checkType(col int) error {
	path := leafPaths()[col]
	leaf, _ := f.pf.Schema().Lookup(path...)
	ours, _ := schema.Lookup(path...)
	got, want := leaf.Node.Type().String(), ours.Node.Type().String()
	if width, plain := strings.CutPrefix(want, "INT"); plain && got == "INT("+width+",true)" {
		return nil // the same, in more words: so the writer writes it
	}
	if got != want {
		return damaged(f.data.Name, "column %v is %s, the schema says %s", path, got, want)
	}
	return nil
}

// checker reads a file for Check.
type checker struct {
	f    *File
	ctx  context.Context
	from int64 // where buf stands in the file
	buf  []byte
}

// chunk checks a column of a row group: its pages follow each other without a
// gap, as readers without a page index take them.
func (c *checker) chunk(group int, l leafChunk) error {
	g := &c.f.all[group]
	m := &c.f.pf.Metadata().RowGroups[group].Columns[l.chunk.Column()].MetaData
	bad := func(format string, args ...any) error {
		return damaged(c.f.data.Name, "column %v from row %d on: %w", l.path, g.from, fmt.Errorf(format, args...))
	}
	if err := l.checkBounds(m); err != nil {
		return bad("%w", err)
	}
	pages := l.pages
	start := m.DataPageOffset
	if l.dict > 0 {
		start = l.dict
	}
	end := start + m.TotalCompressedSize
	if start < 4 || end < start || end > c.f.size {
		return bad("bytes %d to %d of %d", start, end, c.f.size)
	}
	if l.dict > 0 {
		if _, err := c.page(m, start, m.DataPageOffset, end); err != nil {
			return c.failed(err, "column %v, dictionary of the rows from %d on", l.path, g.from)
		}
	}
	at, values := m.DataPageOffset, int64(0)
	for n := range pages.NumPages() {
		first := pages.FirstRowIndex(n)
		if pages.Offset(n) != at {
			return bad("page %d begins at byte %d, the page before ends at %d", n, pages.Offset(n), at)
		}
		at += pages.CompressedPageSize(n)
		h, err := c.page(m, pages.Offset(n), at, end)
		if err == nil {
			err = checkRows(h, l.end(g, n)-first)
		}
		if err != nil {
			return c.failed(err, "column %v, row %d", l.path, g.from+first)
		}
		values += valuesOf(h)
	}
	if at != end || values != m.NumValues {
		return bad("its pages end at byte %d with %d values, the footer says %d with %d", at, values, end, m.NumValues)
	}
	return nil
}

// badPage is a page that is not what it should be, other than one that could
// not be read.
type badPage struct{ error }

func badPagef(format string, args ...any) error { return badPage{fmt.Errorf(format, args...)} }

// failed says where it happened.
func (c *checker) failed(err error, format string, args ...any) error {
	where := fmt.Sprintf(format, args...)
	var p badPage
	if errors.As(err, &p) {
		return damaged(c.f.data.Name, "%s: %w", where, p.error)
	}
	return fmt.Errorf("read %s, %s: %w", c.f.data.Name, where, err)
}

// page checks the page at a byte range, in a chunk that ends at a byte.
func (c *checker) page(m *format.ColumnMetaData, from, to, end int64) (h *format.PageHeader, err error) {
	if from < 4 || to <= from || to > end || to-from > maxPageBytes {
		return nil, badPagef("page from byte %d to %d", from, to)
	}
	raw, err := c.bytes(from, to, end)
	if err != nil {
		return nil, err
	}
	h = new(format.PageHeader)
	protocol := thrift.CompactProtocol{}
	r := protocol.NewReaderFromBytes(raw)
	if err := thrift.NewDecoder(r).Decode(h); err != nil {
		return nil, badPagef("page at byte %d: its header: %w", from, err)
	}
	data := raw[r.BytesRead():]
	if int(h.CompressedPageSize) != len(data) {
		return nil, badPagef("page at byte %d has %d bytes, its header says %d", from, len(data), h.CompressedPageSize)
	}
	if sum := crc32.ChecksumIEEE(data); sum != uint32(h.CRC) {
		return nil, badPagef("page at byte %d has checksum %08x, its header says %08x", from, sum, uint32(h.CRC))
	}
	if isDict, wantDict := h.Type == format.DictionaryPage, from < m.DataPageOffset; isDict != wantDict {
		return nil, badPagef("page at byte %d is a %s", from, h.Type)
	}
	return h, checkEncoding(h, m, from, len(data))
}

// checkEncoding compares how a page says that it is written with its chunk.
func checkEncoding(h *format.PageHeader, m *format.ColumnMetaData, at int64, n int) error {
	enc := format.Plain
	switch {
	case h.Type == format.DictionaryPage && h.DictionaryPageHeader.Valid:
		enc = h.DictionaryPageHeader.V.Encoding
	case h.Type == format.DataPage && h.DataPageHeader.Valid:
		enc = h.DataPageHeader.V.Encoding
	case h.Type == format.DataPageV2 && h.DataPageHeaderV2.Valid:
		v := h.DataPageHeaderV2.V
		enc = v.Encoding
		levels := int64(v.DefinitionLevelsByteLength) + int64(v.RepetitionLevelsByteLength)
		if v.DefinitionLevelsByteLength < 0 || v.RepetitionLevelsByteLength < 0 || levels > int64(n) {
			return badPagef("page at byte %d has levels of %d bytes in %d", at, levels, n)
		}
	default:
		return badPagef("page at byte %d is a %s without its header", at, h.Type)
	}
	if !slices.Contains(m.Encoding, enc) {
		return badPagef("page at byte %d is written as %s, the footer says %v", at, enc, m.Encoding)
	}
	return nil
}

func valuesOf(h *format.PageHeader) int64 {
	if h.Type == format.DataPageV2 {
		return int64(h.DataPageHeaderV2.V.NumValues)
	}
	return int64(h.DataPageHeader.V.NumValues)
}

func checkRows(h *format.PageHeader, rows int64) error {
	if n := valuesOf(h); n < rows {
		return badPagef("page of %d values, its index says %d rows", n, rows)
	}
	if h.Type == format.DataPageV2 && int64(h.DataPageHeaderV2.V.NumRows) != rows {
		return badPagef("page of %d rows, its index says %d", h.DataPageHeaderV2.V.NumRows, rows)
	}
	return nil
}

// bytes gives a range of the file, reading on behind it, at most to end.
func (c *checker) bytes(from, to, end int64) ([]byte, error) {
	if from < c.from || to > c.from+int64(len(c.buf)) {
		if err := c.ctx.Err(); err != nil {
			return nil, err
		}
		n := int(max(to, min(end, from+checkBytes)) - from)
		c.from, c.buf = from, slices.Grow(c.buf[:0], n)[:n]
		if err := c.f.rr.ReadAt(c.ctx, c.f.data.Name, c.buf, from); err != nil {
			c.buf = c.buf[:0]
			return nil, err
		}
	}
	return c.buf[from-c.from : to-c.from], nil
}

// checkBounds compares the lowest and the highest number that the footer says
// with the page index: readers leave row groups out by the footer's.
func (l leafChunk) checkBounds(m *format.ColumnMetaData) error {
	width := 0
	switch l.chunk.Type().Kind() {
	case parquet.Int32:
		width = 4
	case parquet.Int64:
		width = 8
	}
	st := m.Statistics
	if width == 0 || len(st.MinValue) == 0 && len(st.MaxValue) == 0 {
		return nil
	}
	if len(st.MinValue) != width || len(st.MaxValue) != width {
		return fmt.Errorf("bounds of %d and %d bytes in the footer", len(st.MinValue), len(st.MaxValue))
	}
	index, err := l.chunk.ColumnIndex()
	if err != nil {
		return fmt.Errorf("column index: %w", err)
	}
	var low, high int64
	some := false
	for p := range index.NumPages() {
		if index.NullPage(p) {
			continue
		}
		from, to := index.MinValue(p), index.MaxValue(p)
		if !some {
			low, high, some = number(from), number(to), true
		}
		low, high = min(low, number(from)), max(high, number(to))
	}
	if from, to := littleEndian(st.MinValue), littleEndian(st.MaxValue); some && (from != low || to != high) {
		return fmt.Errorf("values from %d to %d in the footer, %d to %d in the page index", from, to, low, high)
	}
	return nil
}

func number(v parquet.Value) int64 {
	if v.Kind() == parquet.Int32 {
		return int64(v.Int32())
	}
	return v.Int64()
}

func littleEndian(b []byte) int64 {
	if len(b) == 4 {
		return int64(int32(binary.LittleEndian.Uint32(b)))
	}
	return int64(binary.LittleEndian.Uint64(b))
}
