package proof

import (
	"crypto/sha256"
	"encoding/binary"

	"varve/internal/sha256pair"
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
type Hasher struct {
	buf    []byte // what leaves are hashes of, one behind the other
	added  []added
	bodies [][]byte // of the messages added
	msgs   [][]byte
	sums   []Hash
	leaves []Hash
}

// added is where a message that was added stands in buf.
type added struct {
	body int // the body's hash is put there
	end  int
}

// Leaf hashes a message: its record in the three parts that mq.Record.Parts
// gives, what stands before the body's length, the body, and what follows it.
func (h *Hasher) Leaf(head, body, tail []byte) Hash {
	return h.LeafOf(head, len(body), sha256.Sum256(body), tail)
}

// LeafOf is Leaf where only the body's length and hash are known.
func (h *Hasher) LeafOf(head []byte, bodyLen int, body Hash, tail []byte) Hash {
	at := len(h.buf)
	copy(h.buf[h.put(head, bodyLen, tail):], body[:])
	leaf := sha256.Sum256(h.buf[at:])
	h.buf = h.buf[:at]
	return leaf
}

// put appends what a leaf is the hash of to buf, and says where the body's own
// hash goes.
func (h *Hasher) put(head []byte, bodyLen int, tail []byte) (body int) {
	b := append(h.buf, kindLeaf)
	b = append(b, head...)
	b = binary.BigEndian.AppendUint32(b, uint32(bodyLen))
	body = len(b)
	b = append(b, absent[0][:]...)
	h.buf = append(b, tail...)
	return body
}

// Add takes a message for Leaves, in the parts that Leaf takes. The body's memory
// must stay until then. Many messages take half the time that each would alone.
func (h *Hasher) Add(head, body, tail []byte) {
	at := h.put(head, len(body), tail)
	h.added = append(h.added, added{at, len(h.buf)})
	h.bodies = append(h.bodies, body)
}

// Leaves gives the leaves of the messages that were added since the last Leaves or
// Drop, in their order. They live until the next one.
func (h *Hasher) Leaves() []Hash {
	h.sums = sha256pair.Sums(h.sums[:0], h.bodies)
	at := 0
	for i, one := range h.added {
		copy(h.buf[one.body:], h.sums[i][:])
		h.msgs = append(h.msgs, h.buf[at:one.end])
		at = one.end
	}
	h.leaves = sha256pair.Sums(h.leaves[:0], h.msgs)
	h.Drop()
	return h.leaves
}

// Drop forgets the messages that were added.
func (h *Hasher) Drop() {
	clear(h.bodies)
	h.buf, h.added, h.bodies, h.msgs = h.buf[:0], h.added[:0], h.bodies[:0], h.msgs[:0]
}

func node(left, right *Hash) Hash {
	var b [1 + 2*sha256.Size]byte
	b[0] = kindNode
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}

// nodesAtOnce is how many nodes are laid out for hashing.
const nodesAtOnce = 16

// nodes hashes each two neighbours of a level, an even number of subtrees, and
// gives the level above in the same memory.
func nodes(level []Hash) []Hash {
	var buf [nodesAtOnce][1 + 2*sha256.Size]byte
	var msgs [nodesAtOnce][]byte
	out := level[:0]
	for done := 0; done < len(level); done += 2 * nodesAtOnce {
		pairs := level[done:min(done+2*nodesAtOnce, len(level))]
		n := len(pairs) / 2
		for i := range n {
			b := &buf[i]
			b[0] = kindNode
			copy(b[1:], pairs[2*i][:])
			copy(b[1+sha256.Size:], pairs[2*i+1][:])
			msgs[i] = b[:]
		}
		out = sha256pair.Sums(out, msgs[:n])
	}
	return out
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
