package archive

import (
	"context"
	"encoding/binary"
	"fmt"
	"sort"
	"strconv"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// RangeReader reads ranges of objects. objstore.Bucket is one, and so is a
// cache in front of it. It may be called concurrently.
type RangeReader interface {
	// ReadAt fills p from an offset of an object, or fails.
	ReadAt(ctx context.Context, name string, p []byte, off int64) error
}

// Limits of a data file's tail: footer and page indexes.
const (
	firstTailBytes = 128 << 10
	maxFooterBytes = 64 << 20
)

// File is an open data file: its footer and page index in memory. It may be
// used concurrently.
type File struct {
	*footer
	data    DataFile
	rr      RangeReader
	rows    int64
	groups  []group // the file's, by its own rows
	cursors *cursors
}

// group is one row group.
type group struct {
	from, to int64 // rows of the file, or of the object
	chunks   [numColumns]*parquet.FileColumnChunk
	pages    [numColumns]parquet.OffsetIndex
	dicts    [numColumns]int64 // where the dictionary page is, 0 if there is none
	blooms   [numColumns]span  // where the bloom filter is, empty if there is none
	codecs   [numColumns]format.CompressionCodec
	perRow   int // bytes of a record, about
}

// ObjectError is an error of which one object is the cause.
type ObjectError struct {
	Name string // of the object
	Err  error  // says the name too
}

func (e *ObjectError) Error() string { return e.Err.Error() }
func (e *ObjectError) Unwrap() error { return e.Err }

// damaged makes an error that names the file and what is wrong with it.
func damaged(name, format string, args ...any) error {
	return &ObjectError{name, fmt.Errorf("%w: %s: %w", ErrDamaged, name, fmt.Errorf(format, args...))}
}

// guard runs a decoder over bytes that may be anything: its panics become
// ErrDamaged.
func guard(name string, decode func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = damaged(name, "decoder stopped: %v", r)
		}
	}()
	return decode()
}

// OpenFile reads a data file's footer and indexes, with one request where
// they fit 128 KiB, and checks that the file is what f says.
func OpenFile(ctx context.Context, rr RangeReader, f DataFile) (*File, error) {
	return openFile(ctx, rr, f, newCursors(defaultCursorBytes, nil))
}

func openFile(ctx context.Context, rr RangeReader, f DataFile, c *cursors) (*File, error) {
	o, err := openFooter(ctx, rr, f)
	if err != nil {
		return nil, err
	}
	return o.file(rr, f, c)
}

// OpenFiles opens the files that share an object, with one look at it.
func OpenFiles(ctx context.Context, rr RangeReader, files []DataFile) ([]*File, error) {
	o, err := openFooter(ctx, rr, files[0])
	if err != nil {
		return nil, err
	}
	c := newCursors(defaultCursorBytes, nil)
	out := make([]*File, len(files))
	for i, f := range files {
		if f.Name != o.name {
			return nil, fmt.Errorf("%s is not in %s", f.Name, o.name)
		}
		if out[i], err = o.file(rr, f, c); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// openFooter reads the footer and the indexes of the object that has a file.
func openFooter(ctx context.Context, rr RangeReader, f DataFile) (*footer, error) {
	o := &footer{name: f.Name, size: f.ObjectBytes()}
	seg, err := readTail(ctx, rr, f.Object())
	if err != nil {
		return nil, err
	}
	err = guard(f.Name, func() error {
		var err error
		o.pf, err = parquet.OpenFile(seg, o.size,
			parquet.SkipMagicBytes(true), parquet.SkipBloomFilters(true))
		if err != nil {
			return damaged(f.Name, "%w", err)
		}
		if err := o.readSections(); err != nil {
			return err
		}
		if err := o.checkMetadata(f); err != nil {
			return err
		}
		return o.mapColumns()
	})
	if err != nil {
		return nil, err
	}
	return o, nil
}

// readTail fetches the end of the file: enough for the footer and the page
// indexes in front of it.
func readTail(ctx context.Context, rr RangeReader, f DataFile) (*segments, error) {
	if f.Bytes < 12 {
		return nil, damaged(f.Name, "%d bytes are no Parquet file", f.Bytes)
	}
	seg := &segments{ctx: ctx, rr: rr, name: f.Name, size: f.Bytes}
	n := min(f.Bytes, firstTailBytes)
	if err := seg.fetch(ctx, []span{{f.Bytes - n, f.Bytes}}); err != nil {
		return nil, fmt.Errorf("open data file: %w", err)
	}
	end := seg.parts[0].data[n-8:]
	if string(end[4:]) != "PAR1" {
		return nil, damaged(f.Name, "it doesn't end as a Parquet file of %d bytes does (%q): cut off, or not Parquet", f.Bytes, end[4:])
	}
	footer := int64(binary.LittleEndian.Uint32(end))
	if footer > maxFooterBytes || footer+8 > f.Bytes {
		return nil, damaged(f.Name, "footer of %d bytes in a file of %d", footer, f.Bytes)
	}
	if footer+8 > n {
		from := max(0, f.Bytes-2*(footer+8))
		if err := seg.fetch(ctx, []span{{from, f.Bytes}}); err != nil {
			return nil, fmt.Errorf("open data file: %w", err)
		}
	}
	return seg, nil
}

// checkMetadata compares the object's own description with the table's.
func (o *footer) checkMetadata(d DataFile) error {
	if d.Shared() {
		return o.checkShared(d)
	}
	for key, want := range map[string]string{
		metaTopic:   d.Queue.Topic,
		metaBroker:  d.Queue.Broker,
		metaQueueID: strconv.Itoa(int(d.Queue.ID)),
		metaFrom:    strconv.FormatInt(d.Offsets.From, 10),
		metaTo:      strconv.FormatInt(d.Offsets.To, 10),
	} {
		got, ok := o.pf.Lookup(key)
		if !ok {
			return damaged(d.Name, "not a file of this archive: it has no %s", key)
		}
		if got != want {
			return damaged(d.Name, "its %s is %q, the table says %q", key, got, want)
		}
	}
	if v, _ := o.pf.Lookup(metaFormat); v != strconv.Itoa(FormatVersion) {
		return fmt.Errorf("%w: %s has version %q, this program reads %d", ErrFormat, d.Name, v, FormatVersion)
	}
	if n := o.pf.NumRows(); n != d.Offsets.Len() {
		return damaged(d.Name, "%d rows for the offsets %d to %d", n, d.Offsets.From, d.Offsets.To)
	}
	return nil
}

// mapColumns finds the schema's columns by path, so that columns beside them
// do no harm.
func (o *footer) mapColumns() error {
	var index [numColumns]int
	want := leafPaths()
	for i, path := range want {
		leaf, ok := o.pf.Schema().Lookup(path...)
		if !ok {
			return damaged(o.name, "column %v is missing", path)
		}
		ours, _ := schema.Lookup(path...)
		if leaf.Node.Type().Kind() != ours.Node.Type().Kind() ||
			leaf.MaxDefinitionLevel != ours.MaxDefinitionLevel || leaf.MaxRepetitionLevel != ours.MaxRepetitionLevel {
			return damaged(o.name, "column %v is %s", path, leaf.Node)
		}
		index[i] = leaf.ColumnIndex
	}
	row := int64(0)
	for n, rg := range o.pf.RowGroups() {
		meta := &o.pf.Metadata().RowGroups[n]
		columns := meta.Columns
		g := group{from: row, to: row + rg.NumRows(), perRow: int(meta.TotalByteSize/max(1, meta.NumRows)) + 64}
		row = g.to
		chunks := rg.ColumnChunks()
		for i := range g.chunks {
			chunk, ok := chunks[index[i]].(*parquet.FileColumnChunk)
			if !ok {
				return damaged(o.name, "column %v is not readable", want[i])
			}
			pages, err := chunk.OffsetIndex()
			if err != nil {
				return damaged(o.name, "column %v has no page index: %w", want[i], err)
			}
			if n := pages.NumPages(); g.to > g.from && (n == 0 || pages.FirstRowIndex(0) != 0) {
				return damaged(o.name, "column %v has a page index of %d pages that doesn't begin at row 0", want[i], n)
			}
			g.chunks[i], g.pages[i], g.codecs[i] = chunk, pages, columns[index[i]].MetaData.Codec
			if m := columns[index[i]].MetaData; m.DictionaryPageOffset < m.DataPageOffset {
				g.dicts[i] = m.DictionaryPageOffset
			}
			if m := columns[index[i]].MetaData; m.BloomFilterOffset > 0 && m.BloomFilterLength > 0 {
				g.blooms[i] = span{m.BloomFilterOffset, m.BloomFilterOffset + int64(m.BloomFilterLength)}
			}
		}
		o.all = append(o.all, g)
	}
	if row != o.pf.NumRows() {
		return damaged(o.name, "row groups of %d rows, footer says %d", row, o.pf.NumRows())
	}
	return nil
}

// DataFile is what the file was opened as.
func (f *File) DataFile() DataFile { return f.data }

// groupOf finds the row group of a row that is in the file.
func (f *File) groupOf(row int64) int {
	return sort.Search(len(f.groups), func(i int) bool { return f.groups[i].to > row })
}

// pageOf finds the page of a row of the group.
func pageOf(pages parquet.OffsetIndex, row int64) int {
	lo, hi := 0, pages.NumPages()
	for lo+1 < hi {
		mid := (lo + hi) / 2
		if pages.FirstRowIndex(mid) <= row {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// pageEnd is the row of the group after a page.
func (g *group) pageEnd(col, page int) int64 {
	if page+1 < g.pages[col].NumPages() {
		return g.pages[col].FirstRowIndex(page + 1)
	}
	return g.to - g.from
}

// spans appends the byte ranges of a column's pages for rows [from, to) of the
// group, and of its dictionary where withDict.
func (g *group) spans(dst []span, col int, from, to int64, withDict bool) []span {
	pages := g.pages[col]
	first, last := pageOf(pages, from), pageOf(pages, to-1)
	if d := g.dicts[col]; d > 0 && withDict {
		dst = append(dst, span{d, pages.Offset(0)})
	}
	return append(dst, span{pages.Offset(first), pages.Offset(last) + pages.CompressedPageSize(last)})
}
