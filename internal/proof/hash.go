package proof

import (
	"crypto/sha256"
	"encoding/binary"
)

// Hash is a SHA-256.
type Hash = [sha256.Size]byte

// What a hash is of: its first byte.
const (
	kindLeaf      = 0x00 // a message
	kindNode      = 0x01 // two subtrees
	kindChain     = 0x02 // a block and the chain before it
	kindHead      = 0x03 // a queue
	kindQueue     = 0x04 // a queue among those of its broker group
	kindSelection = 0x05 // the leaves that a proof of some messages is about
)

// Hasher hashes messages; its memory is used again. It isn't safe for
// concurrent use.
type Hasher struct{ buf []byte }

// Leaf hashes a message: its record in the three parts that mq.Record.Parts
// gives, what stands before the body's length, the body, and what follows it.
func (h *Hasher) Leaf(head, body, tail []byte) Hash {
	return h.LeafOf(head, len(body), sha256.Sum256(body), tail)
}

// LeafOf is Leaf where only the body's length and hash are known.
func (h *Hasher) LeafOf(head []byte, bodyLen int, body Hash, tail []byte) Hash {
	b := append(h.buf[:0], kindLeaf)
	b = append(b, head...)
	b = binary.BigEndian.AppendUint32(b, uint32(bodyLen))
	b = append(b, body[:]...)
	b = append(b, tail...)
	h.buf = b
	return sha256.Sum256(b)
}

func node(left, right *Hash) Hash {
	var b [1 + 2*sha256.Size]byte
	b[0] = kindNode
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}

// absent are the subtrees without a message, by level.
var absent = func() (out [maxLevels]Hash) {
	for i := 1; i < len(out); i++ {
		out[i] = node(&out[i-1], &out[i-1])
	}
	return out
}()

// maxLevels bounds a tree: block trees have BlockLevel levels, trees over queues
// at most as many as there are queue ids.
const maxLevels = 33

// Digest is what a selection of messages comes to: the hash of their leaves in
// the order given.
func Digest(leaves []Hash) Hash {
	d := sha256.New()
	d.Write([]byte{kindSelection})
	for i := range leaves {
		d.Write(leaves[i][:])
	}
	return Hash(d.Sum(nil))
}
