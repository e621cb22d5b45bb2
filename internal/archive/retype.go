package archive

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"varve/internal/mq"
	"varve/internal/typed"
)

// retypeBytes is how much of a file's records is read at a time.
const retypeBytes = 1 << 20

// Retype writes a data file once more with the typed columns of a layout: every
// row and all else of it stays, that rows were erased too. pace is called between pieces of work with the
// bytes of records read; it may be nil.
func Retype(ctx context.Context, w io.Writer, rr RangeReader, f DataFile, l *typed.Layout, spillDir string, pace func(int) error) (DataFile, error) {
	file, err := OpenFile(ctx, rr, f)
	if err != nil {
		return DataFile{}, err
	}
	out := NewFileWriter(w, f.Queue, FileOptions{Epoch: f.Epoch, SpillDir: spillDir, Typed: l})
	if err := file.copyRows(ctx, out, pace); err != nil {
		out.Abort()
		return DataFile{}, fmt.Errorf("give %s typed columns: %w", f.Name, err)
	}
	return out.Close()
}

// RetypeShared is Retype for an object that several queues share: files are all
// of its sections, in order.
func RetypeShared(ctx context.Context, w io.Writer, rr RangeReader, files []DataFile, l *typed.Layout, spillDir string, pace func(int) error) ([]DataFile, error) {
	opened, err := OpenFiles(ctx, rr, files)
	if err != nil {
		return nil, err
	}
	out := NewSharedWriter(w, FileOptions{Epoch: files[0].Epoch, SpillDir: spillDir, Typed: l})
	for _, file := range opened {
		err := out.Section(file.data.Queue)
		if err == nil {
			err = file.copyRows(ctx, out.w, pace)
		}
		if err != nil {
			out.Abort()
			return nil, fmt.Errorf("give %s typed columns: %w", files[0].Name, err)
		}
	}
	return out.Close()
}

// copyRows adds the file's rows to another.
func (f *File) copyRows(ctx context.Context, out *FileWriter, pace func(int) error) error {
	return f.pieces(ctx, pace, func(b mq.Batch, kept map[int64]rewritten) error {
		out.kept = kept
		return out.AddAll(b.Body)
	})
}

// pieces gives the file's records piece by piece, with what isn't in them, by offset.
func (f *File) pieces(ctx context.Context, pace func(int) error, each func(b mq.Batch, kept map[int64]rewritten) error) error {
	defer f.cursors.drop(f)
	for at := f.data.Offsets.From; at < f.data.Offsets.To; {
		b, err := f.Read(ctx, at, mq.Limit{Bytes: retypeBytes})
		if err != nil {
			return err
		}
		if b.Next <= at {
			return damaged(f.data.Name, "no record at offset %d", at)
		}
		kept, err := f.kept(ctx, mq.Range{From: at, To: b.Next})
		if err == nil {
			err = each(b, kept)
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

// kept reads body_encoding and erased_hash of the rows of offsets, where there is
// one.
func (f *File) kept(ctx context.Context, r mq.Range) (map[int64]rewritten, error) {
	out := map[int64]rewritten{}
	err := guard(f.data.Name, func() error {
		for row := r.From - f.data.Offsets.From; row < r.To-f.data.Offsets.From; {
			g := &f.groups[f.groupOf(row)]
			end := min(g.to, r.To-f.data.Offsets.From)
			err := f.eachOf(ctx, g, colErasedHash, row, end, func(row int64, c *column) {
				out[f.data.Offsets.From+row] = rewritten{erased: bytes.Clone(c.fixed())}
			})
			if err == nil {
				err = f.eachOf(ctx, g, colBodyEncoding, row, end, func(row int64, c *column) {
					one := out[f.data.Offsets.From+row]
					one.encoding = bytes.Clone(c.bytes(0))
					out[f.data.Offsets.From+row] = one
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
func (f *File) eachOf(ctx context.Context, g *group, col int, from, to int64, each func(row int64, c *column)) error {
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
		each(row, c)
	}
	return nil
}

// SameRows compares two objects of the same offsets, record by record: each has
// one file, or the same sections.
func SameRows(ctx context.Context, old, fresh RangeReader, a, b []DataFile, pace func(int) error) error {
	if len(a) != len(b) {
		return damaged(b[0].Name, "%d files, %s has %d", len(b), a[0].Name, len(a))
	}
	was, err := OpenFiles(ctx, old, a)
	if err != nil {
		return err
	}
	is, err := OpenFiles(ctx, fresh, b)
	if err != nil {
		return err
	}
	if err := is[0].Check(ctx, AllColumns); err != nil {
		return err
	}
	for i := range is {
		if err := is[i].same(ctx, was[i], pace); err != nil {
			return err
		}
	}
	return nil
}

// same compares the file's rows with those of the one that it was made of.
func (f *File) same(ctx context.Context, was *File, pace func(int) error) error {
	defer f.cursors.drop(f)
	if f.data.Queue != was.data.Queue || f.data.Offsets != was.data.Offsets {
		return damaged(f.data.Name, "it has offsets %v of %v, %s has %v of %v", f.data.Offsets, f.data.Queue, was.data.Name, was.data.Offsets, was.data.Queue)
	}
	return was.pieces(ctx, pace, func(want mq.Batch, kept map[int64]rewritten) error {
		from := want.Next - int64(want.Count)
		var have []byte
		for at := from; at < want.Next; {
			got, err := f.Read(ctx, at, mq.Limit{Bytes: retypeBytes, Messages: int(want.Next - at)})
			if err != nil {
				return err
			}
			if got.Next <= at {
				return damaged(f.data.Name, "no record at offset %d", at)
			}
			have, at = append(have, got.Body...), got.Next
		}
		theirs, err := f.kept(ctx, mq.Range{From: from, To: want.Next})
		if err != nil {
			return err
		}
		if !bytes.Equal(have, want.Body) || len(theirs) != len(kept) {
			return damaged(f.data.Name, "its rows from offset %d on are not those of %s", from, was.data.Name)
		}
		for at, k := range kept {
			if !bytes.Equal(theirs[at].encoding, k.encoding) || !bytes.Equal(theirs[at].erased, k.erased) {
				return damaged(f.data.Name, "offset %d was compressed with %q in %s, with %q there, or erased otherwise", at, k.encoding, was.data.Name, theirs[at].encoding)
			}
		}
		return nil
	})
}
