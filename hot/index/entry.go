package index

import "encoding/binary"

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
}

// AppendEntry encodes e.
func AppendEntry(dst []byte, e Entry) []byte {
	be := binary.BigEndian
	dst = be.AppendUint64(dst, uint64(e.Pos))
	dst = be.AppendUint64(dst, uint64(e.Time))
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
	return Entry{
		Pos:  int64(be.Uint64(p)),
		Time: int64(be.Uint64(p[8:])),
		Size: int32(be.Uint32(p[16:])),
		Tag:  int32(be.Uint32(p[20:])),
	}
}
