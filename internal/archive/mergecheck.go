package archive

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"math"

	"github.com/parquet-go/parquet-go"
)

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
		case parquet.Float:
			binary.LittleEndian.PutUint32(b[4:], math.Float32bits(v.Float()))
			n = 8
		case parquet.Double:
			binary.LittleEndian.PutUint64(b[4:], math.Float64bits(v.Double()))
			n = 12
		case parquet.Boolean:
			if b[4] = 0; v.Boolean() {
				b[4] = 1
			}
			n = 5
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
	return m.check(ctx, file)
}

// check compares a file with what was written to it.
func (m *Merge) check(ctx context.Context, file *File) error {
	if err := file.Check(ctx, AllColumns); err != nil {
		return err
	}
	if n := len(file.groups); n != m.Stats.Groups {
		return damaged(file.data.Name, "%d row groups were written, it has %d", m.Stats.Groups, n)
	}
	return guard(file.data.Name, func() error {
		for i, r := range m.want {
			var err error
			if r.sums == nil {
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
	src, dst := p.file.pf.RowGroups()[p.group], f.pf.RowGroups()[i]
	if n := dst.NumRows(); n != p.rows {
		return damaged(f.data.Name, "row group %d has %d rows, want %d", i, n, p.rows)
	}
	for col, path := range f.pf.Schema().Columns() {
		a := &p.file.pf.Metadata().RowGroups[p.group].Columns[col].MetaData
		b := &f.pf.Metadata().RowGroups[i].Columns[col].MetaData
		have, err := dst.ColumnChunks()[col].OffsetIndex()
		if err != nil {
			return damaged(f.data.Name, "column %v has no page index: %w", path, err)
		}
		want, err := src.ColumnChunks()[col].OffsetIndex()
		if err != nil {
			return damaged(p.file.data.Name, "column %v has no page index: %w", path, err)
		}
		if a.TotalCompressedSize != b.TotalCompressedSize || a.NumValues != b.NumValues || a.BloomFilterLength != b.BloomFilterLength || !samePages(have, want) {
			return damaged(f.data.Name, "column %v of row group %d is not as in row group %d of %s", path, i, p.group, p.file.data.Name)
		}
	}
	return nil
}

func samePages(a, b parquet.OffsetIndex) bool {
	if a.NumPages() != b.NumPages() {
		return false
	}
	for n := range a.NumPages() {
		if a.FirstRowIndex(n) != b.FirstRowIndex(n) || a.CompressedPageSize(n) != b.CompressedPageSize(n) {
			return false
		}
	}
	return true
}

// sameValues compares a row group's values with those that were written to it.
func (f *File) sameValues(i int, r *run, pace func() error) error {
	for col, path := range f.pf.Schema().Columns() {
		sum := uint32(0)
		var stopped error
		err := eachRows(f.pf.RowGroups()[i].ColumnChunks()[col], func(values []parquet.Value) error {
			sum = sumValues(sum, values)
			stopped = pace()
			return stopped
		})
		switch {
		case stopped != nil:
			return stopped
		case err != nil:
			return damaged(f.data.Name, "column %v of row group %d: %w", path, i, err)
		case sum != r.sums[col]:
			return damaged(f.data.Name, "column %v of row group %d has other values than were written", path, i)
		}
	}
	return nil
}
