package archive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// Limits of a page that is decoded here.
const (
	// maxPageBytes bounds what one page may become; ours end soon after
	// 256 KiB, with at most one body of mq.MaxBodyLen on top.
	maxPageBytes = 64 << 20
	// largePageBytes is the length from which on a page gets no room to spare.
	largePageBytes = 2 << 20
	// decodeSlack is what the decoder may write behind the end.
	decodeSlack = 64
)

// plainPage is a page of a required column of byte arrays, decompressed and
// left as it is: each value behind its length of four bytes. Bodies are most of
// what a cold read decodes, so they and the ids take this way: the compressed bytes aren't
// copied first, the values aren't copied after, and the memory is used again.
type plainPage struct {
	data []byte
	offs []uint32 // where each value's length stands, then the end
}

// lengthBytes is what stands before each value of a plainPage.
const lengthBytes = 4

var plainPages = sync.Pool{New: func() any { return new(plainPage) }}

// pageDecoder decodes pages for the whole process. Each processor has a
// decoder of its own in it.
var pageDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)), zstd.WithDecoderMaxMemory(maxPageBytes))
})

// plain reports whether a column's pages may be what plainPage is for.
func (g *group) plain(col int) bool {
	return (col == colBody || col == colMsgID) && g.codecs[col] == format.Zstd
}

// loadPlain decodes page n of a plain column. ok is false where the page is
// written in another way, which the general reader then knows or refuses.
func (c *column) loadPlain(n int, rows int64) (ok bool, err error) {
	pages := c.g.pages[c.col]
	raw, err := c.seg.view(pages.Offset(n), pages.CompressedPageSize(n))
	if err != nil {
		return false, err
	}
	var h format.PageHeader
	protocol := thrift.CompactProtocol{}
	r := protocol.NewReaderFromBytes(raw)
	if err := thrift.NewDecoder(r).Decode(&h); err != nil {
		return false, fmt.Errorf("page header: %w", err)
	}
	v2 := h.DataPageHeaderV2
	data := raw[r.BytesRead():]
	if h.Type != format.DataPageV2 || !v2.Valid || v2.V.Encoding != format.Plain || v2.V.NumNulls != 0 ||
		v2.V.DefinitionLevelsByteLength != 0 || v2.V.RepetitionLevelsByteLength != 0 ||
		v2.V.IsCompressed.Valid && !v2.V.IsCompressed.V || int(h.CompressedPageSize) != len(data) {
		return false, nil
	}
	if sum := crc32.ChecksumIEEE(data); h.CRC != 0 && sum != uint32(h.CRC) {
		return false, fmt.Errorf("page has checksum %08x, its header says %08x", sum, uint32(h.CRC))
	}
	if int64(v2.V.NumRows) != rows || v2.V.NumValues != v2.V.NumRows {
		return false, fmt.Errorf("page of %d rows and %d values, its index says %d", v2.V.NumRows, v2.V.NumValues, rows)
	}
	if c.own == nil {
		c.own = plainPages.Get().(*plainPage)
	}
	if err := c.own.decode(data, int(h.UncompressedPageSize), int(rows)); err != nil {
		return false, err
	}
	c.data, c.offs, c.head = c.own.data, c.own.offs, lengthBytes
	return true, nil
}

var errPageEnd = errors.New("values run past the page's end")

// decode fills the page with size bytes that hold rows values.
func (p *plainPage) decode(data []byte, size, rows int) error {
	if size < 0 || size > maxPageBytes {
		return fmt.Errorf("page of %d bytes is over the limit of %d", size, maxPageBytes)
	}
	d, err := pageDecoder()
	if err != nil {
		return err
	}
	// The decoder copies in whole words only where the room behind what it has
	// written so far could take the page once more.
	room := size + decodeSlack
	if size <= largePageBytes {
		room += size
	}
	if cap(p.data) < room {
		p.data = make([]byte, 0, room)
	}
	out, err := d.DecodeAll(data, p.data[:0])
	if err != nil {
		return fmt.Errorf("decompress page: %w", err)
	}
	if len(out) != size {
		return fmt.Errorf("page of %d bytes, its header says %d", len(out), size)
	}
	p.data = out
	return p.index(rows)
}

// index finds the values.
func (p *plainPage) index(rows int) error {
	if rows > len(p.data)/lengthBytes {
		return errPageEnd
	}
	offs := p.offs[:0]
	at := 0
	for range rows {
		if len(p.data)-at < lengthBytes {
			return errPageEnd
		}
		n := int(binary.LittleEndian.Uint32(p.data[at:]))
		if n > len(p.data)-at-lengthBytes {
			return errPageEnd
		}
		offs = append(offs, uint32(at))
		at += lengthBytes + n
	}
	if at != len(p.data) {
		return fmt.Errorf("page has %d bytes behind its last value", len(p.data)-at)
	}
	p.offs = append(offs, uint32(at))
	return nil
}

// free lets the page's memory be used again, unless it is unusually large.
func (p *plainPage) free() {
	if cap(p.data) <= 2*largePageBytes+decodeSlack {
		plainPages.Put(p)
	}
}

// unpackPage takes the values of a page of the general reader.
func (c *column) unpackPage(row int64, page parquet.Page) error {
	v := page.Data()
	if len(page.RepetitionLevels()) > 0 {
		c.rep = page.RepetitionLevels()
	}
	if len(page.DefinitionLevels()) > 0 {
		c.def = page.DefinitionLevels()
	}
	if dict := page.Dictionary(); dict != nil {
		c.dict = true
		c.index = v.Int32()
		if dict.Type().Kind() != parquet.ByteArray {
			return c.fail(row, errors.New("dictionary of numbers"))
		}
		values := dict.Page().Data()
		c.data, c.offs = values.ByteArray()
		return nil
	}
	switch c.g.chunks[c.col].Type().Kind() {
	case parquet.Int32:
		c.i32 = v.Int32()
	case parquet.Int64:
		c.i64 = v.Int64()
	case parquet.ByteArray:
		c.data, c.offs = v.ByteArray()
	case parquet.FixedLenByteArray:
		c.data, c.width = v.FixedLenByteArray()
	}
	return nil
}
