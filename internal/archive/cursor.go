package archive

import (
	"context"

	"varve/internal/mq"
)

// Columns that a record is rebuilt from; the others repeat them for SQL.
var recordColumns = []int{
	colStoreTime, colBornTime, colPropertyKey, colPropertyValue, colBody,
	colReconsumeTimes, colSysFlag, colFlag, colBodyCRC, colBornHost, colStoreHost,
	colPhysicalOffset, colPreparedOffset, colStoredForm,
}

// How far a cursor fetches ahead of the rows that a call asks for. A reader
// that goes on where it stopped gets twice as much each time.
const (
	minWindowBytes = 64 << 10
	maxWindowBytes = 8 << 20
	// A window is at most this part of the budget of all idle cursors, so that
	// a few readers don't drive each other out.
	windowsPerBudget = 32
	// decodedBytes is a guess of what a cursor's decoded pages hold.
	decodedBytes = 2 << 20
)

// cursor rebuilds records of one file in order. It belongs to one goroutine at
// a time; between calls the file's cursors keep it by the row it stands at.
type cursor struct {
	file   *File
	row    int64 // of the file: the next one
	group  int   // of the columns; -1 before the first
	cols   [numColumns]*column
	seg    *segments
	limit  int64 // rows of the group below it are fetched
	window int64 // compressed bytes to fetch next time
	tags   bool  // the tag column is fetched too
	all    bool  // every column is fetched

	msg     mq.Message
	props   []byte
	tag     string
	tagHash int64
	spans   []span
}

func newCursor(f *File, row int64) *cursor {
	c := &cursor{
		file: f, row: row, group: -1, window: minWindowBytes,
		seg: &segments{rr: f.rr, name: f.data.Name, size: f.size, pace: f.cursors.pace},
	}
	c.msg.Topic = f.data.Queue.Topic
	c.msg.QueueID = f.data.Queue.ID
	return c
}

func (c *cursor) close() {
	for i, col := range c.cols {
		if col != nil {
			col.close()
			c.cols[i] = nil
		}
	}
	c.seg.drop()
	c.group = -1
}

// bytes estimates the memory that the cursor holds.
func (c *cursor) bytes() int64 { return c.seg.bytes() + decodedBytes }

// read appends records to the batch until a limit is reached or the file ends.
func (c *cursor) read(ctx context.Context, lim mq.Limit, b *mq.Batch) error {
	return guard(c.file.data.Name, func() error { return c.readRows(ctx, lim, b) })
}

func (c *cursor) readRows(ctx context.Context, lim mq.Limit, b *mq.Batch) error {
	c.seg.ctx = ctx
	from := c.file.data.Offsets.From
	for scanned := 0; c.row < c.file.rows; scanned++ {
		if lim.Messages > 0 && b.Count >= lim.Messages || lim.Scan > 0 && scanned >= lim.Scan {
			return nil
		}
		if err := c.ready(ctx, lim); err != nil {
			return err
		}
		row := c.row - c.file.groups[c.group].from
		if lim.Filter != nil {
			hash, err := c.hash(row)
			if err != nil {
				return err
			}
			if !lim.Filter.MatchTag(hash) {
				c.row++
				b.Next = from + c.row
				continue
			}
		}
		at := len(b.Body)
		fits, err := c.rebuild(row, lim, b)
		if err != nil || !fits {
			return err
		}
		if lim.Filter != nil && !lim.Filter.MatchRecord(mq.Record(b.Body[at:])) {
			b.Body = b.Body[:at]
		} else {
			b.Count++
		}
		c.row++
		b.Next = from + c.row
	}
	return nil
}

// ready makes the current row's group current and its bytes present.
func (c *cursor) ready(ctx context.Context, lim mq.Limit) error {
	tags := c.tags || lim.Filter != nil
	if c.group < 0 || c.row >= c.file.groups[c.group].to || c.row < c.file.groups[c.group].from {
		c.close()
		c.group = c.file.groupOf(c.row)
		c.limit = 0
	}
	g := &c.file.groups[c.group]
	row := c.row - g.from
	if row < c.limit && tags == c.tags {
		return nil
	}
	c.tags = tags
	cols := recordColumns
	switch {
	case c.all:
		cols = everyColumn
	case tags:
		cols = append(cols[:len(cols):len(cols)], colTag)
	}
	c.limit = c.reach(g, row, lim)
	c.spans = c.spans[:0]
	for _, col := range cols {
		known := c.cols[col] != nil && c.cols[col].dict
		c.spans = g.spans(c.spans, col, row, c.limit, !known)
	}
	if err := c.seg.fetch(ctx, c.spans); err != nil {
		c.limit = 0
		return err
	}
	for _, col := range cols {
		if c.cols[col] == nil {
			c.cols[col] = newColumn(col, g, c.seg)
		}
	}
	c.window = min(4*c.window, c.file.cursors.window)
	return nil
}

// reach is the row of the group up to which to fetch: whole body pages, at
// least the one of row, until the window is full.
func (c *cursor) reach(g *group, row int64, lim mq.Limit) int64 {
	pages := g.pages[colBody]
	n := pageOf(pages, row)
	size := pages.CompressedPageSize(n)
	end := g.pageEnd(colBody, n)
	for n+1 < pages.NumPages() {
		size += pages.CompressedPageSize(n + 1)
		if size > c.window && (lim.Messages == 0 || end-row >= int64(lim.Messages)) || size > c.file.cursors.window {
			break
		}
		n++
		end = g.pageEnd(colBody, n)
	}
	return end
}

// hash is the tag's hash of a row of the group.
func (c *cursor) hash(row int64) (int64, error) {
	col := c.cols[colTag]
	if err := col.seek(row); err != nil {
		return 0, err
	}
	if col.values == 0 {
		return 0, nil
	}
	if tag := col.bytes(0); string(tag) != c.tag {
		c.tag = string(tag)
		c.tagHash = mq.TagHash(c.tag)
	}
	return c.tagHash, nil
}

// rebuild appends the record of a row of the group; fits is false where the
// batch is full without it.
func (c *cursor) rebuild(row int64, lim mq.Limit, b *mq.Batch) (fits bool, err error) {
	for _, i := range recordColumns {
		col := c.cols[i]
		if col.even && row >= col.from && row < col.to {
			col.row, col.value = row, int(row-col.from)*col.values
			continue
		}
		if err := col.seek(row); err != nil {
			return false, err
		}
	}
	form := c.form()
	if form != nil && form[0] == formWhole {
		return c.whole(form[1:], row, lim, b)
	}
	m := &c.msg
	m.QueueOffset = c.file.data.Offsets.From + c.row
	m.PhysicalOffset = c.cols[colPhysicalOffset].int64()
	m.Flag = c.cols[colFlag].int32()
	m.SysFlag = c.cols[colSysFlag].int32()
	m.BornTimeMillis = millis(c.cols[colBornTime].int64())
	m.StoreTimeMillis = millis(c.cols[colStoreTime].int64())
	m.ReconsumeTimes = c.cols[colReconsumeTimes].int32()
	m.PreparedTransactionOffset = c.cols[colPreparedOffset].int64()
	m.Body = c.cols[colBody].bytes(0)
	if m.BornHost, err = c.cols[colBornHost].addr(); err != nil {
		return false, c.cols[colBornHost].fail(row, err)
	}
	if m.StoreHost, err = c.cols[colStoreHost].addr(); err != nil {
		return false, c.cols[colStoreHost].fail(row, err)
	}
	m.Properties = c.properties(form)
	if !roomFor(mq.RecordLen(m), lim, b) {
		return false, nil
	}
	b.Body = mq.AppendRecordCRC(b.Body, m, uint32(c.cols[colBodyCRC].int32()))
	return true, nil
}

// roomFor reports whether a batch takes a record of n bytes.
func roomFor(n int, lim mq.Limit, b *mq.Batch) bool {
	return lim.Bytes <= 0 || b.Count == 0 || len(b.Body)+n <= lim.Bytes
}

// form is the current row's stored_form, nil where it is null.
func (c *cursor) form() []byte {
	if col := c.cols[colStoredForm]; col.values > 0 {
		if b := col.bytes(0); len(b) > 0 {
			return b
		}
	}
	return nil
}

// properties joins the current row's pairs as they were stored.
func (c *cursor) properties(form []byte) []byte {
	keys, values := c.cols[colPropertyKey], c.cols[colPropertyValue]
	out := c.props[:0]
	for i := range keys.values {
		out = append(out, keys.bytes(i)...)
		out = append(out, 1)
		out = append(out, values.bytes(i)...)
		out = append(out, 2)
	}
	c.props = out
	if n := len(out); n > 0 && form != nil && form[0] == formOpenEnd {
		return out[:n-1]
	}
	return out
}

// whole appends a record whose bytes around the body were kept. Length, flags
// and checksum are those of the body as it is archived.
func (c *cursor) whole(form []byte, row int64, lim mq.Limit, b *mq.Batch) (fits bool, err error) {
	body := c.cols[colBody].bytes(0)
	n := len(form) + 4 + len(body)
	if !roomFor(n, lim, b) {
		return false, nil
	}
	at := len(b.Body)
	b.Body, err = mq.JoinRecord(b.Body, form, body,
		c.cols[colSysFlag].int32(), uint32(c.cols[colBodyCRC].int32()))
	if err != nil {
		return false, c.cols[colStoredForm].fail(row, err)
	}
	if err := mq.Record(b.Body[at:]).Check(false); err != nil {
		return false, c.cols[colStoredForm].fail(row, err)
	}
	return true, nil
}
