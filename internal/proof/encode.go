package proof

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

func sum(b []byte) Hash { return sha256.Sum256(b) }

// version begins everything that is encoded here.
const version = 1

// Encode gives the state as bytes.
func (s State) Encode() []byte {
	b := append(make([]byte, 0, 64+len(s.Open)*36), version)
	b = binary.AppendUvarint(b, uint64(s.From))
	b = binary.AppendUvarint(b, uint64(s.Next))
	b = append(b, s.Chain[:]...)
	return appendTrees(b, s.Open)
}

// DecodeState is the reverse of State.Encode.
func DecodeState(b []byte) (State, error) {
	d := decoder{b: b}
	d.version()
	s := State{From: d.int(), Next: d.int(), Chain: d.hash(), Open: d.trees()}
	if d.err == nil && (s.From > s.Next || s.Next < 0 || s.From < 0) {
		d.err = fmt.Errorf("%w: a state from offset %d to %d", ErrBad, s.From, s.Next)
	}
	if _, place := BlockOf(s.Next); d.err == nil && len(s.Open) > 0 && s.Open[len(s.Open)-1].to() > place {
		d.err = fmt.Errorf("%w: a state up to offset %d has messages behind it", ErrBad, s.Next)
	}
	return s, d.end()
}

// Encode gives the parts as bytes.
func (p Parts) Encode() []byte {
	b := []byte{version}
	b = binary.AppendUvarint(b, uint64(len(p)))
	for _, part := range p {
		b = binary.AppendUvarint(b, uint64(part.Block))
		b = appendTrees(b, part.Trees)
	}
	return b
}

// DecodeParts is the reverse of Parts.Encode.
func DecodeParts(b []byte) (Parts, error) {
	d := decoder{b: b}
	d.version()
	n := d.int()
	var out Parts
	for range n {
		p := Part{Block: d.int(), Trees: d.trees()}
		if d.err == nil && (len(p.Trees) == 0 || p.Block < 0 || p.Block > 1<<50 || len(out) > 0 && out[len(out)-1].Block >= p.Block) {
			d.err = fmt.Errorf("%w: block %d with %d subtrees", ErrBad, p.Block, len(p.Trees))
		}
		if d.err != nil {
			break
		}
		out = append(out, p)
	}
	return out, d.end()
}

func appendTrees(b []byte, trees []Tree) []byte {
	b = binary.AppendUvarint(b, uint64(len(trees)))
	for i := range trees {
		b = append(b, trees[i].Level)
		b = binary.AppendUvarint(b, uint64(trees[i].Index))
		b = append(b, trees[i].Hash[:]...)
	}
	return b
}

// decoder takes values off bytes until the first error.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) take(n int) []byte {
	if d.err == nil && len(d.b) < n {
		d.err = fmt.Errorf("%w: cut off", ErrBad)
	}
	if d.err != nil {
		return make([]byte, n)
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) version() {
	if v := d.take(1)[0]; d.err == nil && v != version {
		d.err = fmt.Errorf("%w: version %d, this program knows %d", ErrBad, v, version)
	}
}

func (d *decoder) int() int64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 || int64(v) < 0 {
		d.err = fmt.Errorf("%w: a number that is none", ErrBad)
		return 0
	}
	d.b = d.b[n:]
	return int64(v)
}

func (d *decoder) hash() Hash { return Hash(d.take(sha256.Size)) }

// trees gives subtrees of a block, in order and apart.
func (d *decoder) trees() []Tree {
	n := d.int()
	if n > maxTrees {
		d.err = fmt.Errorf("%w: %d subtrees in a block", ErrBad, n)
	}
	var out []Tree
	for range n {
		level, index := d.take(1)[0], d.int()
		t := Tree{level, uint16(index), d.hash()}
		switch {
		case d.err != nil:
			return nil
		case level > BlockLevel || index >= 1<<(BlockLevel-level) || len(out) > 0 && out[len(out)-1].to() > t.from():
			d.err = fmt.Errorf("%w: subtree %d of level %d", ErrBad, index, level)
			return nil
		}
		out = append(out, t)
	}
	return out
}

func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.err = fmt.Errorf("%w: %d bytes too many", ErrBad, len(d.b))
	}
	return d.err
}
