package archive

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"varve/internal/proof"

	"github.com/parquet-go/parquet-go"
)

// ErrUnmergeable says that files can't become one: a column is not of the
// schema of today, or they don't follow each other.
var ErrUnmergeable = errors.New("files can't be merged")

// MergeStats says how a file was made of others.
type MergeStats struct {
	CopiedRows  int64 // taken over as they are, compressed
	EncodedRows int64 // of small row groups that became larger ones
	Groups      int   // row groups of the new file
}

// piece is one row group of a file that is merged.
type piece struct {
	file  *File
	group int
	rows  int64
	bytes int64 // uncompressed
}

// run is one row group of the new file: a piece that is copied, or several that
// are encoded anew.
type run struct {
	pieces []piece
	sums   [numColumns]uint32 // of the values, where they were encoded anew
}

func (r *run) rows() (n int64) {
	for _, p := range r.pieces {
		n += p.rows
	}
	return n
}

// mergeRuns plans the row groups of a merged file. A full row group is copied,
// small ones are put together as far as one row group goes: so the new file has
// about as many as if it had been written at once, and most bytes are never
// decoded.
func mergeRuns(pieces []piece, maxRows, maxBytes int64) []run {
	var out []run
	var open run
	var size int64
	end := func() {
		if len(open.pieces) > 0 {
			out = append(out, open)
		}
		open, size = run{}, 0
	}
	for _, p := range pieces {
		full := p.rows*2 >= maxRows || p.bytes*2 >= maxBytes
		if full || open.rows()+p.rows > maxRows || size+p.bytes > maxBytes {
			end()
		}
		if full {
			out = append(out, run{pieces: []piece{p}})
			continue
		}
		open.pieces, size = append(open.pieces, p), size+p.bytes
	}
	end()
	return out
}

// MergeOptions configure MergeFiles. The zero value is ready to use.
type MergeOptions struct {
	SpillDir string // where finished pages wait for their row group; memory if empty
	// Pace, if set, is called between two pieces of work. It may wait; its error
	// ends the work.
	Pace func() error
}

// MergeFiles writes one file with the rows of consecutive files of a queue, and
// describes it; Name is left to the caller. Every page that it reads is
// compared with its checksum. Row groups that are large enough are copied as
// they are; only runs of small ones are decoded.
func MergeFiles(ctx context.Context, out io.Writer, rr RangeReader, files []DataFile, o MergeOptions) (*Merge, error) {
	if o.Pace == nil {
		o.Pace = func() error { return nil }
	}
	m := &Merge{files: sortFiles(files), want: map[int]run{}, pace: o.Pace}
	if err := m.describe(); err != nil {
		return nil, err
	}
	var pieces []piece
	var hashes []proof.Parts
	for _, f := range m.files {
		file, err := OpenFile(ctx, rr, f)
		if err == nil {
			err = file.Check(ctx, AllColumns)
		}
		if err == nil {
			err = o.Pace()
		}
		if err != nil {
			return nil, err
		}
		if n := len(file.pf.Schema().Columns()); n != int(numColumns) {
			return nil, fmt.Errorf("%w: %s has %d columns, want %d", ErrUnmergeable, f.Name, n, numColumns)
		}
		own, err := file.Parts()
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, own)
		for i, rg := range file.pf.Metadata().RowGroups {
			pieces = append(pieces, piece{file, i, rg.NumRows, rg.TotalByteSize})
		}
	}
	w := NewFileWriter(out, m.File.Queue, FileOptions{Epoch: m.File.Epoch, SpillDir: o.SpillDir})
	joined, err := joinHashes(hashes)
	if err == nil {
		w.proof.Set(joined)
		err = guard(m.files[0].Name, func() error { return m.write(ctx, w, pieces) })
	}
	if err != nil {
		w.Abort()
		return nil, err
	}
	return m, nil
}

// Merge is a file that was made of others.
type Merge struct {
	File  DataFile
	Stats MergeStats
	files []DataFile
	pace  func() error
	want  map[int]run // by row group of the new file
}

// describe makes the new file's description of the old ones'.
func (m *Merge) describe() error {
	if len(m.files) < 2 {
		return fmt.Errorf("%w: %d files", ErrUnmergeable, len(m.files))
	}
	d := m.files[0]
	d.Name, d.Bytes, d.Parts = "", 0, 0
	raw := d.RawBytes > 0
	for _, f := range m.files[1:] {
		if f.Queue != d.Queue || f.Offsets.From != d.Offsets.To {
			return fmt.Errorf("%w: %s does not go on where offset %d of %s ends", ErrUnmergeable, f.Name, d.Offsets.To, d.Queue)
		}
		d.Offsets.To, d.Rows = f.Offsets.To, d.Rows+f.Rows
		d.FirstStoreMillis, d.LastStoreMillis = min(d.FirstStoreMillis, f.FirstStoreMillis), max(d.LastStoreMillis, f.LastStoreMillis)
		d.FirstPhysical, d.LastPhysical = min(d.FirstPhysical, f.FirstPhysical), max(d.LastPhysical, f.LastPhysical)
		d.RawBytes, d.Epoch = d.RawBytes+f.RawBytes, max(d.Epoch, f.Epoch)
		raw = raw && f.RawBytes > 0
	}
	if !raw { // a sum without one of them would be no sum
		d.RawBytes = 0
	}
	m.File = d
	return nil
}

func (m *Merge) write(ctx context.Context, w *FileWriter, pieces []piece) error {
	for i, r := range mergeRuns(pieces, defaultRowGroupRows, defaultRowGroupBytes) {
		if err := errors.Join(ctx.Err(), m.pace()); err != nil {
			return err
		}
		if len(r.pieces) == 1 && copyable(r.pieces[0]) {
			p := r.pieces[0]
			if _, err := w.pw.WriteRowGroup(p.file.pf.RowGroups()[p.group]); err != nil {
				return w.fail(fmt.Errorf("copy row group %d of %s: %w", p.group, p.file.data.Name, err))
			}
			w.cols = w.pw.ColumnWriters()
			m.Stats.CopiedRows += p.rows
		} else {
			if err := w.encode(&r, m.pace); err != nil {
				return err
			}
			m.Stats.EncodedRows += r.rows()
		}
		m.want[i] = r
		m.Stats.Groups++
	}
	w.stats = m.File
	f, err := w.Close()
	m.File = f
	return err
}

// copyable reports whether a row group can be taken over byte by byte: it is
// written as a FileWriter of today writes.
func copyable(p piece) bool {
	for i, c := range p.file.pf.Metadata().RowGroups[p.group].Columns {
		leaf, _ := schema.Lookup(leafPaths()[i]...)
		m := &c.MetaData
		if m.Codec != codec.CompressionCodec() || len(m.EncodingStats) == 0 {
			return false
		}
		want := leaf.Node.Encoding()
		dict := false
		for _, s := range m.EncodingStats {
			if s.PageType.String() == "DICTIONARY_PAGE" {
				dict = true
			} else if s.PageType.String() != "DATA_PAGE_V2" || s.Encoding != want.Encoding() {
				return false
			}
		}
		if dict != (want.Encoding() == parquet.RLEDictionary.Encoding()) {
			return false
		}
	}
	return true
}

// encode writes row groups of files as one.
func (w *FileWriter) encode(r *run, pace func() error) error {
	for col := range numColumns {
		for _, p := range r.pieces {
			chunk := p.file.pf.RowGroups()[p.group].ColumnChunks()[col]
			err := eachRows(chunk, func(values []parquet.Value) error {
				r.sums[col] = sumValues(r.sums[col], values)
				if err := pace(); err != nil {
					return err
				}
				_, err := w.cols[col].WriteRowValues(values)
				return err
			})
			if err != nil {
				return w.fail(fmt.Errorf("column %v of %s: %w", leafPaths()[col], p.file.data.Name, err))
			}
		}
	}
	if err := w.pw.Flush(); err != nil {
		return w.fail(err)
	}
	w.cols = w.pw.ColumnWriters()
	return nil
}

// eachRows gives the values of a column chunk in batches of whole rows, as
// large as those of which a FileWriter makes pages.
func eachRows(chunk parquet.ColumnChunk, give func([]parquet.Value) error) error {
	values := parquet.NewColumnChunkValueReader(chunk)
	defer values.Close()
	buf := make([]parquet.Value, 0, 2*batchRows)
	for {
		n, err := values.ReadValues(buf[len(buf):min(cap(buf), len(buf)+batchRows)])
		buf = buf[:len(buf)+n]
		end := err == io.EOF
		if err != nil && !end {
			return err
		}
		rest, gerr := giveRows(buf, end, give)
		if gerr != nil || end {
			return gerr
		}
		// The last row may go on in what is read next, which takes its memory.
		for i := range rest {
			rest[i] = rest[i].Clone()
		}
		buf = append(buf[:0], rest...)
		if cap(buf)-len(buf) < batchRows {
			buf = slices.Grow(buf, max(batchRows, len(buf)))
		}
	}
}

// giveRows gives the whole rows of values in batches, and returns what follows
// the last one that is known to be whole.
func giveRows(values []parquet.Value, end bool, give func([]parquet.Value) error) ([]parquet.Value, error) {
	from, rows, size := 0, 0, 0
	for i, v := range values {
		if v.RepetitionLevel() == 0 && i > from {
			if rows++; rows >= batchRows || size >= batchBytes {
				if err := give(values[from:i]); err != nil {
					return nil, err
				}
				from, rows, size = i, 0, 0
			}
		}
		if k := v.Kind(); k == parquet.ByteArray || k == parquet.FixedLenByteArray {
			size += len(v.ByteArray())
		}
	}
	last := len(values)
	if !end {
		for last--; last > from && values[last].RepetitionLevel() != 0; last-- {
		}
	}
	if last > from {
		if err := give(values[from:last]); err != nil {
			return nil, err
		}
		from = last
	}
	return values[from:], nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumValues goes on with a checksum of a column's values and levels.
func sumValues(sum uint32, values []parquet.Value) uint32 {
	var b [16]byte
	for _, v := range values {
		binary.LittleEndian.PutUint32(b[:], uint32(v.DefinitionLevel())<<16|uint32(v.RepetitionLevel()))
		n := 4
		var data []byte
		switch v.Kind() {
		case parquet.Int32:
			binary.LittleEndian.PutUint32(b[4:], uint32(v.Int32()))
			n = 8
		case parquet.Int64:
			binary.LittleEndian.PutUint64(b[4:], uint64(v.Int64()))
			n = 12
		case parquet.ByteArray, parquet.FixedLenByteArray:
			data = v.ByteArray()
			binary.LittleEndian.PutUint32(b[4:], uint32(len(data)))
			n = 8
		}
		sum = crc32.Update(crc32.Update(sum, castagnoli, b[:n]), castagnoli, data)
	}
	return sum
}

// Check reads the new file where it was written to, before it is used: each
// page is compared with its checksum, a row group that was copied with the one
// that it is a copy of, and one that was encoded anew value by value.
func (m *Merge) Check(ctx context.Context, rr RangeReader) error {
	file, err := OpenFile(ctx, rr, m.File)
	if err != nil {
		return err
	}
	if err := file.Check(ctx, AllColumns); err != nil {
		return err
	}
	if n := len(file.groups); n != m.Stats.Groups {
		return damaged(m.File.Name, "%d row groups were written, it has %d", m.Stats.Groups, n)
	}
	return guard(m.File.Name, func() error {
		for i, r := range m.want {
			var err error
			if len(r.pieces) == 1 && r.sums == [numColumns]uint32{} {
				err = file.sameGroup(i, r.pieces[0])
			} else {
				err = file.sameValues(i, &r, m.pace)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// sameGroup compares what the footer and the page index say of a row group with
// those of the one that it was copied from.
func (f *File) sameGroup(i int, p piece) error {
	src := &p.file.groups[p.group]
	dst := &f.groups[i]
	if dst.to-dst.from != p.rows {
		return damaged(f.data.Name, "row group %d has %d rows, want %d", i, dst.to-dst.from, p.rows)
	}
	for col := range numColumns {
		a := &p.file.pf.Metadata().RowGroups[p.group].Columns[col].MetaData
		b := &f.pf.Metadata().RowGroups[i].Columns[col].MetaData
		same := a.TotalCompressedSize == b.TotalCompressedSize && a.NumValues == b.NumValues &&
			cmp.Compare(src.blooms[col].to-src.blooms[col].from, dst.blooms[col].to-dst.blooms[col].from) == 0 &&
			src.pages[col].NumPages() == dst.pages[col].NumPages()
		for n := 0; same && n < src.pages[col].NumPages(); n++ {
			same = src.pages[col].FirstRowIndex(n) == dst.pages[col].FirstRowIndex(n) &&
				src.pages[col].CompressedPageSize(n) == dst.pages[col].CompressedPageSize(n)
		}
		if !same {
			return damaged(f.data.Name, "column %v of row group %d is not as in row group %d of %s", leafPaths()[col], i, p.group, p.file.data.Name)
		}
	}
	return nil
}

// sameValues compares a row group's values with those that were written to it.
func (f *File) sameValues(i int, r *run, pace func() error) error {
	for col := range numColumns {
		sum := uint32(0)
		err := eachRows(f.pf.RowGroups()[i].ColumnChunks()[col], func(values []parquet.Value) error {
			sum = sumValues(sum, values)
			return pace()
		})
		if err != nil {
			return damaged(f.data.Name, "column %v of row group %d: %w", leafPaths()[col], i, err)
		}
		if sum != r.sums[col] {
			return damaged(f.data.Name, "column %v of row group %d has other values than were written", leafPaths()[col], i)
		}
	}
	return nil
}
