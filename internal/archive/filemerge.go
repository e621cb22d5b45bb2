package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/parquet-go/parquet-go"

	"varve/internal/proof"
	"varve/internal/typed"
)

// ErrUnmergeable says that files can't become one: their columns are not the
// same, or they don't follow each other. An ObjectError in it names the file.
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
	sums   []uint32 // of each column's values, where they were encoded anew; else nil
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
// describes it; Name is left to the caller. Their columns must be the same, the
// typed ones too. Every page that it reads is compared with its checksum. Row
// groups that are large enough are copied as they are; only runs of small ones
// are decoded.
func MergeFiles(ctx context.Context, out io.Writer, rr RangeReader, files []DataFile, o MergeOptions) (*Merge, error) {
	if o.Pace == nil {
		o.Pace = func() error { return nil }
	}
	m := &Merge{files: sortFiles(files), want: map[int]run{}, pace: o.Pace}
	if err := m.describe(); err != nil {
		return nil, err
	}
	opened, err := m.open(ctx, rr)
	if err != nil {
		return nil, err
	}
	layout, err := m.columns(opened)
	if err != nil {
		return nil, err
	}
	pieces, joined, err := piecesOf(opened)
	if err != nil {
		return nil, err
	}
	w := NewFileWriter(out, m.File.Queue, FileOptions{Epoch: m.File.Epoch, SpillDir: o.SpillDir, Typed: layout})
	w.typed = nil // the columns come from the files, not from bodies
	w.proof.Set(joined)
	if err := m.write(ctx, w, pieces); err != nil {
		w.Abort()
		return nil, err
	}
	return m, nil
}

// piecesOf gives the row groups of files, and the hashes of their rows together.
func piecesOf(files []*File) (pieces []piece, joined proof.Parts, err error) {
	var hashes []proof.Parts
	for _, file := range files {
		own, err := file.Parts()
		if err != nil {
			return nil, nil, err
		}
		hashes = append(hashes, own)
		from, to := file.groupRange()
		for i, rg := range file.pf.Metadata().RowGroups[from:to] {
			pieces = append(pieces, piece{file, from + i, rg.NumRows, rg.TotalByteSize})
		}
	}
	joined, err = joinHashes(hashes)
	return pieces, joined, err
}

// open opens the files and compares each of their pages with its checksum.
func (m *Merge) open(ctx context.Context, rr RangeReader) ([]*File, error) {
	var out []*File
	for _, f := range m.files {
		file, err := OpenFile(ctx, rr, f)
		if err == nil {
			err = file.Check(ctx, AllColumns)
		}
		if err == nil {
			err = m.pace()
		}
		if err != nil {
			return nil, err
		}
		out = append(out, file)
	}
	return out, nil
}

// columns gives the files' typed columns, nil where they have none, and keeps
// the schema that all of them have.
func (m *Merge) columns(files []*File) (*typed.Layout, error) {
	layout, err := files[0].layout()
	if err != nil {
		return nil, err
	}
	m.schema = fileSchema(layout)
	paths := m.schema.Columns()
	for _, f := range files {
		other, err := f.layout()
		switch {
		case err != nil:
			return nil, err
		case !sameLayout(layout, other):
			return nil, unmergeable(f.data.Name, "its typed columns are not those of %s", files[0].data.Name)
		case !slices.EqualFunc(paths, f.pf.Schema().Columns(), slices.Equal):
			return nil, unmergeable(f.data.Name, "its columns are not those of a file of this program")
		case layout != nil:
			layout.Version = max(layout.Version, other.Version)
		}
	}
	if layout != nil {
		for i := range layout.Leaves {
			l := &layout.Leaves[i]
			l.Text = l.Type.Kind == typed.String && !slices.ContainsFunc(files, func(f *File) bool { return f.hasBounds(int(numColumns) + 1 + i) })
		}
		return layout, m.count(files, layout)
	}
	return layout, nil
}

// count notes what is known of the typed columns of all files together.
func (m *Merge) count(files []*File, layout *typed.Layout) error {
	stats := &ColumnStats{join: layout.Leaves, nulls: map[int]int64{}}
	for _, f := range files {
		if err := f.countNulls(layout.Leaves, stats.nulls); err != nil {
			return err
		}
		stats.Misfits += f.rows
	}
	stats.Misfits -= stats.nulls[idBodyError]
	m.File.Schema, m.File.Columns = int64(layout.Version), stats
	return nil
}

// hasBounds reports whether a column's pages have bounds.
func (f *File) hasBounds(col int) bool {
	for _, rg := range f.pf.RowGroups() {
		index, err := rg.ColumnChunks()[col].ColumnIndex()
		if err != nil {
			return false
		}
		for p := range index.NumPages() {
			if !index.NullPage(p) && len(index.MaxValue(p).ByteArray()) > 0 {
				return true
			}
		}
	}
	return false
}

func sameLayout(a, b *typed.Layout) bool {
	if a == nil || b == nil {
		return a == b
	}
	return typed.SameColumns(a.Columns, b.Columns)
}

// unmergeable makes an error that names the file that can't join the others.
func unmergeable(name, format string, args ...any) error {
	return &ObjectError{name, fmt.Errorf("%w: %s: %w", ErrUnmergeable, name, fmt.Errorf(format, args...))}
}

// Merge is a file that was made of others.
type Merge struct {
	File   DataFile
	Stats  MergeStats
	files  []DataFile
	pace   func() error
	schema *parquet.Schema
	want   map[int]run // by row group of the new file
}

// describe makes the new file's description of the old ones'.
func (m *Merge) describe() error {
	if len(m.files) < 2 {
		return fmt.Errorf("%w: %d files", ErrUnmergeable, len(m.files))
	}
	for _, f := range m.files {
		if f.Shared() {
			return unmergeable(f.Name, "it shares an object with files of other queues")
		}
	}
	d, err := describeRun(m.files)
	m.File = d
	return err
}

// describeRun describes consecutive files of a queue as one.
func describeRun(files []DataFile) (DataFile, error) {
	d := files[0]
	d.Name, d.Bytes, d.Parts, d.Columns, d.Schema = "", 0, 0, nil, 0
	raw := d.RawBytes > 0
	for _, f := range files[1:] {
		if f.Queue != d.Queue || f.Offsets.From != d.Offsets.To {
			return d, unmergeable(f.Name, "it does not go on where offset %d of %s ends", d.Offsets.To, d.Queue)
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
	return d, nil
}

func (m *Merge) write(ctx context.Context, w *FileWriter, pieces []piece) error {
	if err := m.writeGroups(ctx, w, pieces); err != nil {
		return err
	}
	w.stats = m.File
	f, err := w.Close()
	m.File = f
	return err
}

// writeGroups copies or encodes the row groups of files.
func (m *Merge) writeGroups(ctx context.Context, w *FileWriter, pieces []piece) error {
	for _, r := range mergeRuns(pieces, defaultRowGroupRows, defaultRowGroupBytes) {
		if err := errors.Join(ctx.Err(), m.pace()); err != nil {
			return err
		}
		if len(r.pieces) == 1 && m.copyable(r.pieces[0]) {
			if err := w.copyGroup(r.pieces[0]); err != nil {
				return err
			}
			m.Stats.CopiedRows += r.rows()
		} else {
			if err := w.encode(&r, m.schema, m.pace); err != nil {
				return err
			}
			m.Stats.EncodedRows += r.rows()
		}
		m.want[m.Stats.Groups] = r
		m.Stats.Groups++
	}
	return nil
}

// copyable reports whether a row group can be taken over byte by byte: it is
// written as a FileWriter of today writes.
func (m *Merge) copyable(p piece) bool {
	for i, c := range p.file.pf.Metadata().RowGroups[p.group].Columns {
		leaf, _ := m.schema.Lookup(m.schema.Columns()[i]...)
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

// copyGroup takes a row group over as it is.
func (w *FileWriter) copyGroup(p piece) error {
	err := guard(p.file.data.Name, func() error {
		_, err := w.pw.WriteRowGroup(p.file.pf.RowGroups()[p.group])
		return err
	})
	if err != nil {
		return w.fail(fmt.Errorf("copy row group %d of %s: %w", p.group, p.file.data.Name, err))
	}
	w.cols = w.pw.ColumnWriters()
	return nil
}

// encode writes row groups of files as one.
func (w *FileWriter) encode(r *run, s *parquet.Schema, pace func() error) error {
	paths := s.Columns()
	r.sums = make([]uint32, len(paths))
	for col, path := range paths {
		for _, p := range r.pieces {
			if err := w.encodeColumn(r, p, col, pace); err != nil {
				return w.fail(fmt.Errorf("column %v of %s: %w", path, p.file.data.Name, err))
			}
		}
	}
	if err := w.pw.Flush(); err != nil {
		return w.fail(err)
	}
	w.cols = w.pw.ColumnWriters()
	return nil
}

// encodeColumn writes the values of a piece's column. What can't be decoded is
// the file's damage, for its pages are of their checksums.
func (w *FileWriter) encodeColumn(r *run, p piece, col int, pace func() error) error {
	var stopped error
	err := guard(p.file.data.Name, func() error {
		chunk := p.file.pf.RowGroups()[p.group].ColumnChunks()[col]
		return eachRows(chunk, func(values []parquet.Value) error {
			r.sums[col] = sumValues(r.sums[col], values)
			if stopped = pace(); stopped == nil {
				_, stopped = w.cols[col].WriteRowValues(values)
			}
			return stopped
		})
	})
	if err != nil && stopped == nil && !errors.Is(err, ErrDamaged) {
		return damaged(p.file.data.Name, "row group %d: %w", p.group, err)
	}
	return err
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
