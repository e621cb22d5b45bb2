package index

import (
	"encoding/binary"
	"fmt"
)

// BlockEntries is the number of offsets that a block covers; block k has the
// offsets from k × BlockEntries on.
const BlockEntries = 512

// entryLen is the stored length of an Entry.
const entryLen = 24

// Entry says where one message of a queue lies.
type Entry struct {
	Pos  int64 // position in the log
	Time int64 // store time, milliseconds
	Size int32 // record length
	Tag  int32 // hash of the tag; 0 where there is none
	// Sum is the checksum of the record around its body, 0 where it is not
	// known: entries of version 1 have none.
	Sum uint32
}

// entryBits is how many bits an entry has for a position and for a time. The
// 16 above each hold the halves of the checksum, which are zero in version 1.
const entryBits = 48

// CheckFits reports why a record that ends at a position can have no entry.
func CheckFits(end, millis int64) error {
	switch {
	case end < 0 || end >= 1<<entryBits:
		return fmt.Errorf("position %d is over the index's limit of %d", end, int64(1)<<entryBits-1)
	case millis < 0 || millis >= 1<<entryBits:
		return fmt.Errorf("store time %d is outside the index's range up to %d", millis, int64(1)<<entryBits-1)
	}
	return nil
}

// AppendEntry encodes e, of which CheckFits has approved.
func AppendEntry(dst []byte, e Entry) []byte {
	be := binary.BigEndian
	dst = be.AppendUint64(dst, uint64(e.Sum>>16)<<entryBits|uint64(e.Pos))
	dst = be.AppendUint64(dst, uint64(e.Sum&0xFFFF)<<entryBits|uint64(e.Time))
	dst = be.AppendUint32(dst, uint32(e.Size))
	return be.AppendUint32(dst, uint32(e.Tag))
}

// Block is a block's stored bytes.
type Block []byte

// Len is the number of entries that the block has so far.
func (b Block) Len() int { return len(b) / entryLen }

// At is the block's i-th entry.
func (b Block) At(i int) Entry {
	be := binary.BigEndian
	p := b[i*entryLen : (i+1)*entryLen]
	const low = 1<<entryBits - 1
	pos, time := be.Uint64(p), be.Uint64(p[8:])
	return Entry{
		Pos:  int64(pos & low),
		Time: int64(time & low),
		Sum:  uint32(pos>>entryBits)<<16 | uint32(time>>entryBits),
		Size: int32(be.Uint32(p[16:])),
		Tag:  int32(be.Uint32(p[20:])),
	}
}
