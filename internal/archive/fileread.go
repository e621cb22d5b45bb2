package archive

import (
	"bytes"
	"context"
	"fmt"

	"github.com/parquet-go/parquet-go/bloom"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"varve/internal/mq"
)

// maxReadBytes bounds a batch whose caller set no bound.
const maxReadBytes = 4 << 20

// Read gives records from an offset on, as mq.Reader does; Range is the
// file's.
func (f *File) Read(ctx context.Context, at int64, lim mq.Limit) (mq.Batch, error) {
	b := mq.Batch{Next: at, Range: f.data.Offsets}
	switch {
	case at < b.Range.From:
		return mq.Batch{}, fmt.Errorf("read %s at %d: %w", f.data.Name, at, mq.ErrTooLow)
	case at > b.Range.To:
		return mq.Batch{}, fmt.Errorf("read %s at %d: %w", f.data.Name, at, mq.ErrTooHigh)
	case at == b.Range.To:
		return b, nil
	}
	if lim.Bytes <= 0 || lim.Bytes > maxReadBytes {
		lim.Bytes = maxReadBytes
	}
	if err := f.readInto(ctx, lim, &b); err != nil {
		return mq.Batch{}, err
	}
	return b, nil
}

// readInto goes on with a batch at b.Next, which is in the file.
func (f *File) readInto(ctx context.Context, lim mq.Limit, b *mq.Batch) error {
	c := f.cursors.take(f, b.Next-f.data.Offsets.From)
	if b.Body == nil {
		f.reserve(c.row, lim, b)
	}
	if err := c.read(ctx, lim, b); err != nil {
		c.close()
		return fmt.Errorf("read archive of %s at %d: %w", f.data.Queue, b.Next, err)
	}
	if c.row < f.rows {
		f.cursors.give(c)
	} else {
		c.close()
	}
	return nil
}

// reserve gives a batch the memory that it will need, about. A body that
// outgrows what it was lent moves to memory of its own.
func (f *File) reserve(row int64, lim mq.Limit, b *mq.Batch) {
	n := f.estimate(row, lim)
	if lim.Lend {
		if l := lend(n); l != nil {
			b.Body, b.Free = l.buf[:0], l.free
			return
		}
	}
	b.Body = make([]byte, 0, n)
}

// estimate guesses the length of a batch from the row group's own numbers.
func (f *File) estimate(row int64, lim mq.Limit) int {
	per := f.groups[f.groupOf(row)].perRow
	n := lim.Bytes
	if lim.Messages > 0 {
		n = min(n, lim.Messages*per+per/2)
	}
	left := int(min(f.rows-row, int64(n))) // rows of at least a byte
	return max(0, min(n, left*per+per/2))
}

// column opens a column of a row group and fetches the pages of rows
// [from, to) of it.
func (f *File) column(ctx context.Context, g *group, col int, from, to int64) (*column, error) {
	seg := &segments{rr: f.rr, name: f.data.Name, size: f.size, pace: f.cursors.pace}
	if err := seg.fetch(ctx, g.spans(nil, col, from, to, true)); err != nil {
		return nil, err
	}
	return newColumn(col, g, seg), nil
}

// pageBounds gives the lowest and highest number of a page.
func (g *group) pageBounds(col, page int) (low, high int64, err error) {
	index, err := g.chunks[col].ColumnIndex()
	if err != nil {
		return 0, 0, err
	}
	return index.MinValue(page).Int64(), index.MaxValue(page).Int64(), nil
}

// OffsetAt finds an offset by store time as mq.Reader does, within the file:
// Lower gives the end of the file where no message is that late, Upper its
// start where none is that early; ok is false then.
func (f *File) OffsetAt(ctx context.Context, millis int64, b mq.Bound) (offset int64, ok bool, err error) {
	err = guard(f.data.Name, func() error {
		var row int64
		if b == mq.Upper {
			row, ok, err = f.searchLast(ctx, colStoreTime, func(low, _ int64) bool { return low <= micros(millis) },
				func(v int64) bool { return v <= micros(millis) })
		} else {
			row, ok, err = f.searchFirst(ctx, colStoreTime, func(_, high int64) bool { return high >= micros(millis) },
				func(v int64) bool { return v >= micros(millis) })
		}
		offset = f.data.Offsets.From + row
		return err
	})
	if err != nil {
		return 0, false, fmt.Errorf("search %s by time: %w", f.data.Name, err)
	}
	return offset, ok, nil
}

// searchFirst finds the first row whose number satisfies match, among the
// pages that may hold one; the number of rows where there is none.
func (f *File) searchFirst(ctx context.Context, col int, may func(low, high int64) bool, match func(int64) bool) (int64, bool, error) {
	for i := range f.groups {
		g := &f.groups[i]
		for p := range g.pages[col].NumPages() {
			low, high, err := g.pageBounds(col, p)
			if err != nil {
				return 0, false, damaged(f.data.Name, "column index: %w", err)
			}
			if !may(low, high) {
				continue
			}
			from, to := g.pages[col].FirstRowIndex(p), g.pageEnd(col, p)
			row, err := f.inPage(ctx, g, col, from, func(c *column) int64 { return c.firstRow(from, match) })
			if err != nil {
				return 0, false, err
			}
			if row < to {
				return g.from + row, true, nil
			}
		}
	}
	return f.rows, false, nil
}

// searchLast finds the last row whose number satisfies match; row 0 where
// there is none.
func (f *File) searchLast(ctx context.Context, col int, may func(low, high int64) bool, match func(int64) bool) (int64, bool, error) {
	for i := len(f.groups) - 1; i >= 0; i-- {
		g := &f.groups[i]
		for p := g.pages[col].NumPages() - 1; p >= 0; p-- {
			low, high, err := g.pageBounds(col, p)
			if err != nil {
				return 0, false, damaged(f.data.Name, "column index: %w", err)
			}
			if !may(low, high) {
				continue
			}
			found := false
			row, err := f.inPage(ctx, g, col, g.pages[col].FirstRowIndex(p), func(c *column) (row int64) {
				row, found = c.lastRow(match)
				return row
			})
			if err != nil {
				return 0, false, err
			}
			if found {
				return g.from + row, true, nil
			}
		}
	}
	return 0, false, nil
}

// inPage decodes the page of a row and looks into it.
func (f *File) inPage(ctx context.Context, g *group, col int, row int64, look func(*column) int64) (int64, error) {
	c, err := f.column(ctx, g, col, row, row+1)
	if err != nil {
		return 0, err
	}
	defer c.close()
	if err := c.load(row); err != nil {
		return 0, err
	}
	return look(c), nil
}

// FindPhysical gives the record at a position of the broker's log,
// mq.ErrNotFound where there is none.
func (f *File) FindPhysical(ctx context.Context, pos int64) (mq.Record, error) {
	if pos < f.data.FirstPhysical || pos > f.data.LastPhysical {
		return nil, fmt.Errorf("find position %d in %s: %w", pos, f.data.Name, mq.ErrNotFound)
	}
	var row int64
	var found bool
	err := guard(f.data.Name, func() (err error) {
		row, found, err = f.searchFirst(ctx, colPhysicalOffset,
			func(low, high int64) bool { return low <= pos && pos <= high },
			func(v int64) bool { return v == pos })
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find position %d: %w", pos, err)
	}
	if !found {
		return nil, fmt.Errorf("find position %d in %s: %w", pos, f.data.Name, mq.ErrNotFound)
	}
	b, err := f.Read(ctx, f.data.Offsets.From+row, mq.Limit{Messages: 1})
	if err != nil {
		return nil, err
	}
	return mq.Record(b.Body), nil
}

// FindKey gives the offsets of the file's messages that carry a key, newest
// first and at most k.Max of them; those of messages stored outside of the
// query's times are left out by the row group only.
func (f *File) FindKey(ctx context.Context, k mq.KeyQuery) ([]int64, error) {
	var offsets []int64
	err := guard(f.data.Name, func() error {
		for i := len(f.groups) - 1; i >= 0; i-- {
			if k.Max > 0 && len(offsets) >= k.Max {
				return nil
			}
			rows, err := f.findInGroup(ctx, &f.groups[i], k)
			if err != nil {
				return err
			}
			for j := len(rows) - 1; j >= 0; j-- {
				offsets = append(offsets, f.data.Offsets.From+f.groups[i].from+rows[j])
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find key in %s: %w", f.data.Name, err)
	}
	return offsets, nil
}

// findInGroup gives the rows of a group that hold the key, in order.
func (f *File) findInGroup(ctx context.Context, g *group, k mq.KeyQuery) ([]int64, error) {
	if !f.groupInTime(g, k) {
		return nil, nil
	}
	key := text([]byte(k.Key))
	rows, err := f.match(ctx, g, colMsgID, key, nil)
	if err != nil || k.Unique {
		return rows, err
	}
	return f.match(ctx, g, colKeys, key, rows)
}

// groupInTime reports whether a group may hold a store time of the query's.
func (f *File) groupInTime(g *group, k mq.KeyQuery) bool {
	n := g.pages[colStoreTime].NumPages()
	for p := range n {
		low, high, err := g.pageBounds(colStoreTime, p)
		if err != nil || (k.ToMillis == 0 || low <= micros(k.ToMillis)) && (k.FromMillis == 0 || high >= micros(k.FromMillis)) {
			return true
		}
	}
	return false
}

// match merges rows whose column holds a value into rows, which is in order.
func (f *File) match(ctx context.Context, g *group, col int, value []byte, rows []int64) ([]int64, error) {
	may, err := f.bloom(ctx, g, col, value)
	if err != nil || !may {
		return rows, err
	}
	n := g.to - g.from
	c, err := f.column(ctx, g, col, 0, n)
	if err != nil {
		return nil, err
	}
	defer c.close()
	var out []int64
	for row := range n {
		if len(rows) > 0 && rows[0] == row {
			out, rows = append(out, row), rows[1:]
			continue
		}
		if err := c.seek(row); err != nil {
			return nil, err
		}
		for i := range c.values {
			if string(c.bytes(i)) == string(value) {
				out = append(out, row)
				break
			}
		}
	}
	return out, nil
}

// mayHaveKey reports whether a message of the file may carry a key, as one of
// its keys or its unique one: false is sure.
func (f *File) mayHaveKey(ctx context.Context, key string) (bool, error) {
	value := text([]byte(key))
	for i := range f.groups {
		for _, col := range []int{colMsgID, colKeys} {
			if may, err := f.bloom(ctx, &f.groups[i], col, value); err != nil || may {
				return may, err
			}
		}
	}
	return false, nil
}

// bloom asks a column's filter: false is sure.
func (f *File) bloom(ctx context.Context, g *group, col int, value []byte) (bool, error) {
	at := g.blooms[col]
	if at.from == at.to {
		return true, nil
	}
	data := make([]byte, at.to-at.from)
	if err := f.rr.ReadAt(ctx, f.data.Name, data, at.from); err != nil {
		return false, fmt.Errorf("read bloom filter: %w", err)
	}
	header := format.BloomFilterHeader{}
	protocol := thrift.CompactProtocol{}
	if err := thrift.NewDecoder(protocol.NewReader(bytes.NewReader(data))).Decode(&header); err != nil {
		return false, damaged(f.data.Name, "bloom filter of column %v: %w", leafPaths()[col], err)
	}
	n := int(header.NumBytes)
	if n < 0 || n > len(data) || n%bloom.BlockSize != 0 {
		return false, damaged(f.data.Name, "bloom filter of column %v has %d bytes in %d", leafPaths()[col], n, len(data))
	}
	if n == 0 {
		return false, nil
	}
	filter := bloom.MakeSplitBlockFilter(bytes.Clone(data[len(data)-n:])) // aligned
	return filter.Check(bloom.XXH64{}.Sum64(value)), nil
}
