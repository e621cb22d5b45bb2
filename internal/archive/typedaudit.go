package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/parquet-go/parquet-go"

	"varve/internal/typed"
)

// typedReadBytes is how much of a typed column is read at a time.
const typedReadBytes = 128 << 10

// SchemaVersion is the version of the schema that made the file's typed columns,
// as the file itself says; 0 where it has none.
func (f *File) SchemaVersion() (int, error) {
	l, err := f.layout()
	if err != nil || l == nil {
		return 0, err
	}
	return l.Version, nil
}

// TypedAudit compares the typed columns of a file with what a schema makes of its
// bodies. It is given the rows of an Audit, all of them.
type TypedAudit struct {
	// Wrong hears of each row that differs, and why.
	wrong func(offset int64, id, why string)

	f      *File
	pf     *parquet.File
	ctx    context.Context
	rows   *typedRows
	values []parquet.Value
	cols   []leafReader // body_error, then the leaves, of the row group
	group  int
	count  int64 // rows that were given
	first  int64 // offset of the batch's first
	ids    []string
	arena  []byte // the batch's bodies
}

// ErrOtherColumns says that a file hasn't the columns of the schema's version by
// which it says it was made.
var ErrOtherColumns = errors.New("its typed columns are not those of its version of the schema")

// NewTypedAudit makes a TypedAudit of a file whose columns are a layout's.
func (f *File) NewTypedAudit(ctx context.Context, l *typed.Layout, wrong func(offset int64, id, why string)) (*TypedAudit, error) {
	have, err := f.TypedColumns()
	if err != nil {
		return nil, err
	}
	if !typed.SameColumns(have, l.Columns) || !slices.EqualFunc(fileSchema(l).Columns(), f.pf.Schema().Columns(), slices.Equal) {
		return nil, fmt.Errorf("%w: %s, version %d", ErrOtherColumns, f.data.Name, l.Version)
	}
	a := &TypedAudit{wrong: wrong, f: f, ctx: ctx, rows: newTypedRows(l), group: -1, cols: make([]leafReader, 1+len(l.Leaves))}
	err = guard(f.data.Name, func() error {
		seg := &segments{ctx: ctx, rr: f.rr, name: f.name, size: f.size}
		a.pf, err = parquet.OpenFile(seg, f.size, parquet.SkipMagicBytes(true), parquet.SkipBloomFilters(true), parquet.SkipPageIndex(true), parquet.ReadBufferSize(typedReadBytes))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the typed columns of %s: %w", f.data.Name, err)
	}
	a.rows.begin()
	return a, nil
}

// Row takes the next row.
func (a *TypedAudit) Row(r *AuditedRow) error {
	if len(a.ids) == 0 {
		a.first = r.Offset
	}
	at := len(a.arena)
	a.arena = append(a.arena, r.Record.Body()...)
	one := row{body: a.arena[at:len(a.arena):len(a.arena)], sysFlag: r.Record.SysFlag()}
	if r.Erased != nil {
		one.erased = r.Erased[:]
	}
	a.rows.add(&one)
	a.ids = append(a.ids, r.MsgID())
	a.count++
	if len(a.ids) == batchRows || len(a.arena) >= batchBytes || a.count == a.groupEnd() {
		return guard(a.f.data.Name, a.compare)
	}
	return nil
}

// groupEnd is the row behind the row group of the last row that was given.
func (a *TypedAudit) groupEnd() int64 { return a.f.groups[a.f.groupOf(a.count-1)].to }

// Close lets the file go. All of its rows were given.
func (a *TypedAudit) Close() {
	for i := range a.cols {
		a.cols[i].close()
	}
}

// compare compares the batch's columns.
func (a *TypedAudit) compare() error {
	if g := a.f.groupOf(a.count - 1); g != a.group {
		a.group = g
		base, _ := a.f.groupRange()
		chunks := a.pf.RowGroups()[base+g].ColumnChunks()
		for i := range a.cols {
			a.cols[i].open(chunks[colBodyError+i])
		}
	}
	leaves := a.rows.dec.Layout().Leaves
	why := make([]string, len(a.ids))
	note := func(row int, column string) {
		if why[row] == "" {
			why[row] = column
		}
	}
	a.values = a.values[:0]
	for _, reason := range a.rows.reasons {
		a.values = optional(a.values, reason)
	}
	if err := a.cols[0].same(a.values, func(row int) { note(row, bodyError) }); err != nil {
		return damaged(a.f.data.Name, "column %s: %w", bodyError, err)
	}
	for i := range leaves {
		a.values = appendTyped(a.values[:0], &leaves[i], a.rows.dec.Leaf(i))
		if err := a.cols[1+i].same(a.values, func(row int) { note(row, leaves[i].Path[0]) }); err != nil {
			return damaged(a.f.data.Name, "column %v: %w", leaves[i].Path, err)
		}
	}
	for row, column := range why {
		if column != "" {
			a.wrong(a.first+int64(row), a.ids[row], fmt.Sprintf("column %s is not what the body gives by version %d of the schema", column, a.rows.dec.Layout().Version))
		}
	}
	a.rows.clear()
	a.arena, a.ids = a.arena[:0], a.ids[:0]
	return a.ctx.Err()
}

// leafReader gives the values of a column chunk.
type leafReader struct {
	values parquet.ColumnChunkValueReader
	buf    []parquet.Value
	at     int
	end    error
}

func (r *leafReader) open(c parquet.ColumnChunk) {
	r.close()
	if r.buf == nil {
		r.buf = make([]parquet.Value, 0, batchRows)
	}
	r.values = parquet.NewColumnChunkValueReader(c)
	r.buf, r.at, r.end = r.buf[:0], 0, nil
}

func (r *leafReader) close() {
	if r.values != nil {
		_ = r.values.Close()
		r.values = nil
	}
}

// next is the value that comes next, nil at the end. It lives until the following
// call.
func (r *leafReader) next() (*parquet.Value, error) {
	for r.at == len(r.buf) {
		if r.end != nil {
			if errors.Is(r.end, io.EOF) {
				return nil, nil
			}
			return nil, r.end
		}
		var n int
		n, r.end = r.values.ReadValues(r.buf[:cap(r.buf)])
		r.buf, r.at = r.buf[:n], 0
	}
	return &r.buf[r.at], nil
}

// same compares the chunk's next rows with those of want, and says which differ.
func (r *leafReader) same(want []parquet.Value, differs func(row int)) error {
	for row, from := 0, 0; from < len(want); row++ {
		to := from + 1
		for to < len(want) && want[to].RepetitionLevel() > 0 {
			to++
		}
		same, n := true, from
		for first := true; ; first = false {
			v, err := r.next()
			if err != nil {
				return err
			}
			if v == nil || !first && v.RepetitionLevel() == 0 {
				break
			}
			same = same && n < to && sameValue(v, &want[n])
			n++
			r.at++
		}
		if !same || n != to {
			differs(row)
		}
		from = to
	}
	return nil
}

// sameValue compares two values of a column, with their levels.
func sameValue(a, b *parquet.Value) bool {
	if a.DefinitionLevel() != b.DefinitionLevel() || a.RepetitionLevel() != b.RepetitionLevel() || a.IsNull() != b.IsNull() {
		return false
	}
	if a.IsNull() {
		return true
	}
	if a.Kind() != b.Kind() {
		return false
	}
	switch a.Kind() {
	case parquet.Boolean:
		return a.Boolean() == b.Boolean()
	case parquet.Int32:
		return a.Int32() == b.Int32()
	case parquet.Int64:
		return a.Int64() == b.Int64()
	case parquet.Float:
		return math.Float32bits(a.Float()) == math.Float32bits(b.Float())
	case parquet.Double:
		return math.Float64bits(a.Double()) == math.Float64bits(b.Double())
	}
	return bytes.Equal(a.ByteArray(), b.ByteArray())
}
