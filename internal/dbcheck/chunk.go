package dbcheck

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// Pebble's log files are blocks of 32 KiB, in which chunks follow each other:
// checksum (4), length of the payload (2), type (1); in write-ahead logs also
// the log's number (4) and, but for the first log of a new database, up to where
// it was synced (8); the payload. The checksum covers all from the type on.
const (
	blockSize     = 32 << 10
	plainHeader   = 7
	numberHeader  = 11
	syncHeader    = 19
	plainFull     = 1 // then first, middle and last
	numberFull    = 5
	syncFull      = 9
	behindAll     = 13
	chunksOfAKind = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type chunk struct {
	length  int    // with its header
	first   bool   // a record begins with it
	synced  uint64 // write-ahead logs only
	payload []byte
}

// shortest is the length of the shortest chunk.
func (s *scan) shortest() int {
	if s.wal {
		return numberHeader
	}
	return plainHeader
}

// header gives the length of a header of a type, 0 for types that the file
// doesn't have.
func (s *scan) header(kind byte) int {
	switch {
	case !s.wal && kind >= plainFull && kind < numberFull:
		return plainHeader
	case s.wal && kind >= numberFull && kind < syncFull:
		return numberHeader
	case s.wal && kind >= syncFull && kind < behindAll:
		return syncHeader
	}
	return 0
}

// chunk reads the chunk at the beginning of b, which ends with its block.
func (s *scan) chunk(b []byte) (c chunk, ok bool) {
	if len(b) < s.shortest() {
		return c, false
	}
	h := s.header(b[6])
	c.length = h + int(binary.LittleEndian.Uint16(b[4:]))
	if h == 0 || c.length > len(b) || s.wal && binary.LittleEndian.Uint32(b[7:]) != s.number {
		return c, false
	}
	if h == syncHeader {
		c.synced = binary.LittleEndian.Uint64(b[11:])
	}
	c.first = (b[6]-plainFull)%chunksOfAKind <= 1
	c.payload = b[h:c.length]
	return c, crc32.Checksum(b[6:c.length], castagnoli) == storedSum(b)
}

// storedSum undoes what Pebble does to a checksum before it stores it.
func storedSum(b []byte) uint32 {
	return bits.RotateLeft32(binary.LittleEndian.Uint32(b)-0xa282ead8, 15)
}

// isTrailer reports whether b begins with what a log ends with that was closed:
// an empty chunk of the next log.
func isTrailer(b []byte, number uint32) bool {
	return len(b) >= 11 && binary.LittleEndian.Uint32(b) == 0 && binary.LittleEndian.Uint16(b[4:]) == 0 &&
		b[6] == numberFull && binary.LittleEndian.Uint32(b[7:]) == number+1
}

// oneBitOff reports whether b begins with a chunk of which one bit is wrong.
func (s *scan) oneBitOff(b []byte) bool {
	if len(b) < s.shortest() {
		return false
	}
	whole := func(bit int) bool {
		b[bit/8] ^= 1 << (bit % 8)
		_, ok := s.chunk(b)
		b[bit/8] ^= 1 << (bit % 8)
		return ok
	}
	const tried = 7 * 8 // the bits that the checksum doesn't cover, or that say what it covers
	for bit := range tried {
		if whole(bit) {
			return true
		}
	}
	h := s.header(b[6])
	end := h + int(binary.LittleEndian.Uint16(b[4:]))
	if h == 0 || end > len(b) {
		return false
	}
	// A wrong bit changes a checksum by what depends only on the bit's
	// distance from the end.
	diff := storedSum(b) ^ crc32.Checksum(b[6:end], castagnoli)
	var by [8]uint32
	for i := range by {
		by[i] = castagnoli[1<<i]
	}
	for at := end - 1; at > 6; at-- {
		for i, d := range by {
			if d == diff && whole(at*8+i) {
				return true
			}
			by[i] = castagnoli[byte(d)] ^ d>>8
		}
	}
	return false
}
