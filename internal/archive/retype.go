package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"varve/internal/mq"
	"varve/internal/typed"
)

// ErrErased says that a file has erased bodies: nothing is made of those anew.
var ErrErased = errors.New("the file has erased bodies")

// retypeBytes is how much of a file's records is read at a time.
const retypeBytes = 1 << 20

// Retype writes a data file once more with the typed columns of a layout: every
// row and all else of it stays. pace is called between pieces of work with the
// bytes of records read; it may be nil.
func Retype(ctx context.Context, w io.Writer, rr RangeReader, f DataFile, l *typed.Layout, spillDir string, pace func(int) error) (DataFile, error) {
	file, err := OpenFile(ctx, rr, f)
	if err != nil {
		return DataFile{}, err
	}
	out := NewFileWriter(w, f.Queue, FileOptions{Epoch: f.Epoch, SpillDir: spillDir, Typed: l})
	out.encodings = map[int64][]byte{}
	err = file.pieces(ctx, pace, func(b mq.Batch, encodings map[int64][]byte) error {
		out.encodings = encodings
		return out.AddAll(b.Body)
	})
	if err != nil {
		out.Abort()
		return DataFile{}, fmt.Errorf("give %s typed columns: %w", f.Name, err)
	}
	return out.Close()
}

// pieces gives the file's records piece by piece, with what their clients
// compressed the bodies with, by offset.
func (f *File) pieces(ctx context.Context, pace func(int) error, each func(b mq.Batch, encodings map[int64][]byte) error) error {
	defer f.cursors.drop(f)
	for at := f.data.Offsets.From; at < f.data.Offsets.To; {
		b, err := f.Read(ctx, at, mq.Limit{Bytes: retypeBytes})
		if err != nil {
			return err
		}
		if b.Next <= at {
			return damaged(f.data.Name, "no record at offset %d", at)
		}
		encodings, err := f.encodings(ctx, mq.Range{From: at, To: b.Next})
		if err == nil {
			err = each(b, encodings)
		}
		if err == nil && pace != nil {
			err = pace(len(b.Body))
		}
		if err != nil {
			return err
		}
		at = b.Next
	}
	return nil
}

// encodings reads body_encoding of the rows of offsets, where there is one. A
// row that was erased is an error.
func (f *File) encodings(ctx context.Context, r mq.Range) (map[int64][]byte, error) {
	out := map[int64][]byte{}
	err := guard(f.data.Name, func() error {
		for row := r.From - f.data.Offsets.From; row < r.To-f.data.Offsets.From; {
			g := &f.groups[f.groupOf(row)]
			end := min(g.to, r.To-f.data.Offsets.From)
			err := f.eachOf(ctx, g, colErasedHash, row, end, func(row int64, _ []byte) error {
				return fmt.Errorf("%w: offset %d of %s", ErrErased, f.data.Offsets.From+row, f.data.Queue)
			})
			if err == nil {
				err = f.eachOf(ctx, g, colBodyEncoding, row, end, func(row int64, v []byte) error {
					out[f.data.Offsets.From+row] = bytes.Clone(v)
					return nil
				})
			}
			if err != nil {
				return err
			}
			row = end
		}
		return nil
	})
	return out, err
}

// eachOf goes through the values of an optional column that are there, of rows
// of one row group.
func (f *File) eachOf(ctx context.Context, g *group, col int, from, to int64, each func(row int64, v []byte) error) error {
	c, err := f.column(ctx, g, col, from-g.from, to-g.from)
	if err != nil {
		return err
	}
	defer c.close()
	for row := from; row < to; row++ {
		if err := c.seek(row - g.from); err != nil {
			return err
		}
		if c.values == 0 {
			continue
		}
		if err := each(row, c.bytes(0)); err != nil {
			return err
		}
	}
	return nil
}

// SameRows compares two files of the same offsets, record by record.
func SameRows(ctx context.Context, old, fresh RangeReader, a, b DataFile, pace func(int) error) error {
	was, err := OpenFile(ctx, old, a)
	if err != nil {
		return err
	}
	is, err := OpenFile(ctx, fresh, b)
	if err != nil {
		return err
	}
	defer is.cursors.drop(is)
	if err := is.Check(ctx, AllColumns); err != nil {
		return err
	}
	return was.pieces(ctx, pace, func(want mq.Batch, encodings map[int64][]byte) error {
		from := want.Next - int64(want.Count)
		var have []byte
		for at := from; at < want.Next; {
			got, err := is.Read(ctx, at, mq.Limit{Bytes: retypeBytes, Messages: int(want.Next - at)})
			if err != nil {
				return err
			}
			if got.Next <= at {
				return damaged(b.Name, "no record at offset %d", at)
			}
			have, at = append(have, got.Body...), got.Next
		}
		theirs, err := is.encodings(ctx, mq.Range{From: from, To: want.Next})
		if err != nil {
			return err
		}
		if !bytes.Equal(have, want.Body) || len(theirs) != len(encodings) {
			return damaged(b.Name, "its rows from offset %d on are not those of %s", from, a.Name)
		}
		for at, e := range encodings {
			if !bytes.Equal(theirs[at], e) {
				return damaged(b.Name, "offset %d was compressed with %q in %s, with %q there", at, e, a.Name, theirs[at])
			}
		}
		return nil
	})
}
