package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"varve/internal/mq"
)

// Version is the format version that this package writes; it reads no newer.
const Version = 1

// Sizes and limits of the format.
const (
	// HeaderLen is the length of a segment's header; its first batch follows.
	HeaderLen = 64
	// TrailerLen is the length of a batch's trailer.
	TrailerLen = 48
	// MaxBatchLen bounds a batch with its trailer.
	MaxBatchLen = 32 << 20
	// minRecordLen is a record's length with nothing in it.
	minRecordLen = 91

	headerMagic  uint32 = 0x56415256 // "VARV"
	trailerMagic uint32 = 0x56425443 // "VBTC"
)

// Errors of the decoders, wrapped with what differs.
var (
	// ErrInvalid says that the bytes are not what they should be.
	ErrInvalid = errors.New("invalid")
	// ErrVersion says that the segment was written by a newer version.
	ErrVersion = errors.New("newer format version")
	// errShort says that more bytes are needed to decide.
	errShort = errors.New("cut off")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header is the head of a segment file.
type Header struct {
	Base          int64  // position of the file's first byte
	PrevEnd       int64  // where the segment before ended; Base but where positions were skipped
	Epoch         uint64 // opening that began the segment
	CreatedMillis int64
}

// AppendHeader encodes h.
//
//	 0 u32 magic      4 u16 version    6 u16 header length
//	 8 i64 base      16 i64 end of the segment before
//	24 u64 epoch     32 i64 created    40 zero       60 u32 CRC-32C of 0..60
func AppendHeader(dst []byte, h Header) []byte {
	be := binary.BigEndian
	at := len(dst)
	dst = be.AppendUint32(dst, headerMagic)
	dst = be.AppendUint16(dst, Version)
	dst = be.AppendUint16(dst, HeaderLen)
	dst = be.AppendUint64(dst, uint64(h.Base))
	dst = be.AppendUint64(dst, uint64(h.PrevEnd))
	dst = be.AppendUint64(dst, h.Epoch)
	dst = be.AppendUint64(dst, uint64(h.CreatedMillis))
	dst = append(dst, make([]byte, HeaderLen-4-(len(dst)-at))...)
	return be.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
}

// ParseHeader decodes a header: ErrVersion for one of a newer version, whose
// other fields are unknown, else ErrInvalid.
func ParseHeader(b []byte) (Header, error) {
	be := binary.BigEndian
	if len(b) < HeaderLen {
		return Header{}, fmt.Errorf("%w segment header: %d bytes", ErrInvalid, len(b))
	}
	if m := be.Uint32(b); m != headerMagic {
		return Header{}, fmt.Errorf("%w segment header: magic %08x", ErrInvalid, m)
	}
	if v := be.Uint16(b[4:]); v > Version {
		return Header{}, fmt.Errorf("%w: segment has version %d, this program reads up to %d", ErrVersion, v, Version)
	}
	if crc32.Checksum(b[:HeaderLen-4], castagnoli) != be.Uint32(b[HeaderLen-4:]) {
		return Header{}, fmt.Errorf("%w segment header: checksum differs", ErrInvalid)
	}
	h := Header{
		Base:          int64(be.Uint64(b[8:])),
		PrevEnd:       int64(be.Uint64(b[16:])),
		Epoch:         be.Uint64(b[24:]),
		CreatedMillis: int64(be.Uint64(b[32:])),
	}
	if h.Base < 0 || h.PrevEnd > h.Base {
		return Header{}, fmt.Errorf("%w segment header: base %d after an end of %d", ErrInvalid, h.Base, h.PrevEnd)
	}
	return h, nil
}

// Trailer ends a batch.
type Trailer struct {
	Start   int64  // position of the batch's first record
	Epoch   uint64 // opening that wrote the batch
	Durable int64  // position up to which the log was synced when the batch was written
	Count   uint32 // records in the batch
}

// AppendTrailer ends the batch of the given records, which must be what stands
// before it.
//
//	 0 u32 trailer length   4 u32 magic       8 i64 start    16 u64 epoch
//	24 i64 durable         32 u32 count      36 u32 length of the records
//	40 u32 CRC-32C of the records            44 u32 CRC-32C of 0..44
func AppendTrailer(dst, records []byte, t Trailer) []byte {
	be := binary.BigEndian
	at := len(dst)
	dst = be.AppendUint32(dst, TrailerLen)
	dst = be.AppendUint32(dst, trailerMagic)
	dst = be.AppendUint64(dst, uint64(t.Start))
	dst = be.AppendUint64(dst, t.Epoch)
	dst = be.AppendUint64(dst, uint64(t.Durable))
	dst = be.AppendUint32(dst, t.Count)
	dst = be.AppendUint32(dst, uint32(len(records)))
	dst = be.AppendUint32(dst, crc32.Checksum(records, castagnoli))
	return be.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
}

// parseTrailer checks the trailer at the start of b and gives the length and
// the checksum of the records before it.
func parseTrailer(b []byte) (t Trailer, length int, sum uint32, err error) {
	be := binary.BigEndian
	if len(b) < TrailerLen {
		return t, 0, 0, errShort
	}
	if be.Uint32(b) != TrailerLen || be.Uint32(b[4:]) != trailerMagic {
		return t, 0, 0, fmt.Errorf("%w trailer: magic %08x", ErrInvalid, be.Uint32(b[4:]))
	}
	if crc32.Checksum(b[:TrailerLen-4], castagnoli) != be.Uint32(b[TrailerLen-4:]) {
		return t, 0, 0, fmt.Errorf("%w trailer: checksum differs", ErrInvalid)
	}
	t = Trailer{
		Start:   int64(be.Uint64(b[8:])),
		Epoch:   be.Uint64(b[16:]),
		Durable: int64(be.Uint64(b[24:])),
		Count:   be.Uint32(b[32:]),
	}
	return t, int(be.Uint32(b[36:])), be.Uint32(b[40:]), nil
}

// Batch is one whole batch as it lies in the log.
type Batch struct {
	Trailer
	Records []byte // concatenated mq.Records
	Len     int    // bytes of records and trailer
}

// End is the position after the batch.
func (b Batch) End() int64 { return b.Start + int64(b.Len) }

// parseBatch reads the batch that starts at position pos with b[0]. errShort
// means that b may be the start of a batch: need is how many bytes to come
// back with.
func parseBatch(b []byte, pos int64) (batch Batch, need int, err error) {
	at, count := 0, uint32(0)
	for {
		if len(b) < at+8 {
			return Batch{}, at + TrailerLen, errShort
		}
		if isTrailer(b[at:]) {
			break
		}
		n, err := peekRecord(b[at:], pos+int64(at))
		if err != nil {
			return Batch{}, 0, err
		}
		at += n
		count++
		if at+TrailerLen > MaxBatchLen {
			return Batch{}, 0, fmt.Errorf("%w batch: over %d bytes", ErrInvalid, MaxBatchLen)
		}
	}
	t, length, sum, err := parseTrailer(b[at:])
	switch {
	case errors.Is(err, errShort):
		return Batch{}, at + TrailerLen, err
	case err != nil:
		return Batch{}, 0, err
	case t.Start != pos || length != at || t.Count != count || count == 0:
		return Batch{}, 0, fmt.Errorf("%w trailer: it ends %d records in %d bytes at %d, found %d in %d at %d",
			ErrInvalid, t.Count, length, t.Start, count, at, pos)
	case crc32.Checksum(b[:at], castagnoli) != sum:
		return Batch{}, 0, fmt.Errorf("%w batch: checksum differs", ErrInvalid)
	}
	for rest := b[:at]; len(rest) > 0; {
		if _, rest, err = mq.NextRecord(rest); err != nil {
			return Batch{}, 0, fmt.Errorf("%w batch: %w", ErrInvalid, err)
		}
	}
	return Batch{Trailer: t, Records: b[:at:at], Len: at + TrailerLen}, 0, nil
}

func isTrailer(b []byte) bool {
	return binary.BigEndian.Uint32(b) == TrailerLen && binary.BigEndian.Uint32(b[4:]) == trailerMagic
}

// peekRecord gives the length of the record at the start of b. Where enough
// bytes are there it also checks that the record belongs at pos.
func peekRecord(b []byte, pos int64) (int, error) {
	n := int(binary.BigEndian.Uint32(b))
	if magic := binary.BigEndian.Uint32(b[4:]); magic != mq.MagicV1 || n < minRecordLen || n > mq.MaxRecordLen {
		return 0, fmt.Errorf("%w record: length %d, magic %08x", ErrInvalid, n, magic)
	}
	if len(b) >= minRecordLen {
		if p := mq.Record(b).PhysicalOffset(); p != pos {
			return 0, fmt.Errorf("%w record: it belongs at %d", ErrInvalid, p)
		}
	}
	return n, nil
}
