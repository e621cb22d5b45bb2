package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/parquet-go/parquet-go"
)

// column reads one leaf column of one row group, a page at a time. Its values
// alias the page and live until the next load or close.
type column struct {
	seg   *segments
	col   int
	g     *group
	pages *parquet.FilePages
	page  parquet.Page // of the general reader
	own   *plainPage   // where pages are decoded here; kept from page to page
	from  int64        // rows of the group that are decoded
	to    int64
	dict  bool // the dictionary was read

	i32      []int32
	i64      []int64
	data     []byte // values of a byte column or of its dictionary
	offs     []uint32
	head     uint32  // bytes of data before each value that aren't its own
	width    int     // of a value where all are of one length
	index    []int32 // into the dictionary; nil where there is none
	def, rep []byte
	addrs    []netip.AddrPort // of a dictionary's values, as far as they were asked for
	// even says that all rows of the page have as many values as its first, as
	// they nearly always do: a row's place is known without going over the levels.
	even bool

	// Where the current row begins: its first level and its first value.
	row    int64
	level  int
	value  int
	values int // values of the current row
}

func newColumn(col int, g *group, seg *segments) *column {
	return &column{seg: seg, col: col, g: g, pages: g.chunks[col].PagesFrom(seg)}
}

func (c *column) close() {
	c.drop()
	if c.own != nil {
		c.own.free()
		c.own = nil
	}
	_ = c.pages.Close()
}

func (c *column) drop() {
	if c.page != nil {
		parquet.Release(c.page)
	}
	c.page, c.from, c.to = nil, 0, 0
	c.i32, c.i64, c.data, c.offs, c.index, c.def, c.rep = nil, nil, nil, nil, nil, nil, nil
	c.head, c.even = 0, false
}

// load decodes the page of a row of the group, unless it is there already.
func (c *column) load(row int64) error {
	if row >= c.from && row < c.to {
		return nil
	}
	n := pageOf(c.g.pages[c.col], row)
	first, end := c.g.pages[c.col].FirstRowIndex(n), c.g.pageEnd(c.col, n)
	c.drop()
	if c.seg.pace != nil {
		c.seg.pace()
	}
	own := false
	if c.g.plain(c.col) {
		var err error
		if own, err = c.loadPlain(n, end-first); err != nil {
			return c.fail(row, err)
		}
	}
	if !own {
		if err := c.loadPage(row, first, end-first); err != nil {
			return err
		}
	}
	c.from, c.to = first, end
	c.row, c.level, c.value = c.from, 0, 0
	c.values = c.count()
	c.even = c.same()
	return nil
}

// loadPage lets the general reader decode the page that begins at a row.
func (c *column) loadPage(row, first, rows int64) error {
	if err := c.pages.SeekToRow(first); err != nil {
		return c.fail(row, err)
	}
	page, err := c.pages.ReadPage()
	if err != nil {
		return c.fail(row, err)
	}
	c.page = page
	if page.NumRows() != rows {
		return c.fail(row, fmt.Errorf("page of %d rows, its index says %d", page.NumRows(), rows))
	}
	return c.unpackPage(row, page)
}

// fail says which page of which column is damaged. A failure to fetch is not
// damage: it keeps its own error.
func (c *column) fail(row int64, err error) error {
	if c.seg.failed != nil {
		return fmt.Errorf("read %s: %w", c.seg.name, c.seg.failed)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return damaged(c.seg.name, "column %v, row %d: %w", leafPaths()[c.col], c.g.from+row, err)
}

// count is the number of values in the row that begins at level.
func (c *column) count() int {
	if c.def == nil {
		return 1
	}
	if c.rep == nil {
		return int(c.def[c.level])
	}
	n := int(c.def[c.level])
	for i := c.level + 1; i < len(c.rep) && c.rep[i] != 0; i++ {
		n++
	}
	return n
}

// same reports whether each row of the page has as many values as the first.
func (c *column) same() bool {
	if c.def == nil {
		return true
	}
	if bytes.Count(c.def, c.def[:1]) != len(c.def) {
		return false
	}
	n := max(1, c.values)
	return c.rep == nil || len(c.rep) == n*int(c.to-c.from) && bytes.Equal(c.rep[n:], c.rep[:len(c.rep)-n])
}

// seek moves to a row of the group and loads its page.
func (c *column) seek(row int64) error {
	if err := c.load(row); err != nil {
		return err
	}
	if c.even {
		c.row, c.value = row, int(row-c.from)*c.values
		return nil
	}
	if row < c.row {
		c.row, c.level, c.value = c.from, 0, 0
		c.values = c.count()
	}
	for c.row < row {
		c.value += c.values
		if c.rep == nil {
			c.level++
		} else {
			c.level += max(1, c.values)
		}
		c.row++
		c.values = c.count()
	}
	return nil
}

func (c *column) int32() int32 { return c.i32[c.value] }
func (c *column) int64() int64 { return c.i64[c.value] }

// bytes gives the i-th value of the current row.
func (c *column) bytes(i int) []byte {
	n := c.value + i
	if c.index != nil {
		n = int(c.index[n])
	}
	return c.data[c.offs[n]+c.head : c.offs[n+1]]
}

// fixed gives the current row's value of a column whose values are of one length.
func (c *column) fixed() []byte { return c.data[c.value*c.width : (c.value+1)*c.width] }

// addr is the current row's value as an address. Each of a dictionary is parsed
// once: brokers and producers are few.
func (c *column) addr() (netip.AddrPort, error) {
	if c.index == nil {
		return netip.ParseAddrPort(string(c.bytes(0)))
	}
	if c.addrs == nil {
		c.addrs = make([]netip.AddrPort, len(c.offs)-1)
	}
	memo := &c.addrs[c.index[c.value]]
	if !memo.IsValid() {
		a, err := netip.ParseAddrPort(string(c.bytes(0)))
		if err != nil {
			return a, err
		}
		*memo = a
	}
	return *memo, nil
}

// firstRow finds the first row at or after row of the page whose number
// satisfies ok, or the page's end. The column must be required int64.
func (c *column) firstRow(row int64, ok func(int64) bool) int64 {
	vals := c.i64[row-c.from:]
	for i, v := range vals {
		if ok(v) {
			return row + int64(i)
		}
	}
	return c.to
}

// lastRow finds the last row of the page whose number satisfies ok; found is
// false where none does.
func (c *column) lastRow(ok func(int64) bool) (row int64, found bool) {
	for i := len(c.i64) - 1; i >= 0; i-- {
		if ok(c.i64[i]) {
			return c.from + int64(i), true
		}
	}
	return 0, false
}
