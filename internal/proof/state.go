package proof

import (
	"encoding/binary"
	"fmt"
)

// State is a queue up to an offset: all that is needed to go on.
type State struct {
	// From is where the proof begins: nothing before it is in the chain.
	From int64
	// Next is the first offset that is not in it.
	Next int64
	// Chain holds the blocks before Next's.
	Chain Hash
	// Open has the subtrees of Next's block that are there already.
	Open []Tree
}

// Begin is the state of a queue whose proof begins at an offset.
func Begin(at int64) State { return State{From: at, Next: at} }

// Append adds a run of messages that ends before an offset. It may begin behind
// Next where what is between is absent by declaration.
func (s State) Append(parts Parts, from, to int64) (State, error) {
	if from < s.Next {
		return s, fmt.Errorf("%w: messages from offset %d on, the chain is at %d", ErrBad, from, s.Next)
	}
	if err := parts.Check(from, to); err != nil {
		return s, err
	}
	s = s.skip(from)
	for _, p := range parts {
		trees, err := behind(s.Open, p.Trees, BlockLevel)
		if err != nil {
			return s, fmt.Errorf("block %d: %w", p.Block, err)
		}
		s.Open = trees
		s = s.skip(min((p.Block+1)<<BlockLevel, to))
	}
	return s, nil
}

// skip moves on to an offset without a message, and closes the block that it
// leaves. A block without any message is not in the chain.
func (s State) skip(to int64) State {
	block, _ := BlockOf(s.Next)
	if next, _ := BlockOf(to); next != block && len(s.Open) > 0 {
		s.Chain, s.Open = link(s.Chain, block, root(s.Open)), nil
	}
	s.Next = to
	return s
}

func link(chain Hash, block int64, root Hash) Hash {
	b := append(make([]byte, 0, 1+32+8+32), kindChain)
	b = append(b, chain[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(block))
	return sum(append(b, root[:]...))
}

// Head is the queue's one hash.
func (s State) Head() Hash {
	open := root(s.Open)
	return headOf(s.From, s.Next, s.Chain, open)
}

func headOf(from, next int64, chain, open Hash) Hash {
	b := append(make([]byte, 0, 1+16+64), kindHead)
	b = binary.BigEndian.AppendUint64(b, uint64(from))
	b = binary.BigEndian.AppendUint64(b, uint64(next))
	b = append(b, chain[:]...)
	return sum(append(b, open[:]...))
}

// Equal reports whether two states are the same.
func (s State) Equal(o State) bool { return string(s.Encode()) == string(o.Encode()) }
