package proof

import (
	"errors"
	"fmt"
)

const (
	// BlockLevel is the level of a block's root.
	BlockLevel = 12
	// BlockLen is how many offsets a block has room for.
	BlockLen = 1 << BlockLevel
	// RunLevel is the level of the largest subtrees that a data file keeps: what
	// differs from them is known to 256 messages.
	RunLevel = 8
	// maxTrees bounds the subtrees of a block: every message apart.
	maxTrees = BlockLen
)

// ErrBad says that encoded proof data is not what it should be.
var ErrBad = errors.New("bad proof data")

// Tree is an aligned subtree of a block: the messages at the places from
// Index<<Level on, 1<<Level of them, some of which may be absent by declaration.
type Tree struct {
	Level uint8
	Index uint16
	Hash  Hash
}

// from and to are the places that a subtree covers.
func (t *Tree) from() int { return int(t.Index) << t.Level }
func (t *Tree) to() int   { return (int(t.Index) + 1) << t.Level }

// Part is what a run of messages gives to one block: subtrees in the order of
// their places.
type Part struct {
	Block int64 // offset / BlockLen
	Trees []Tree
}

// Parts are of one run of messages, in the order of the blocks.
type Parts []Part

// BlockOf gives an offset's block and its place there.
func BlockOf(offset int64) (block int64, place int) {
	return offset >> BlockLevel, int(offset & (BlockLen - 1))
}

// join appends a subtree behind those of a block, and joins siblings up to a
// level.
func join(trees []Tree, t Tree, level uint8) []Tree {
	for t.Level < level && t.Index&1 == 1 && len(trees) > 0 {
		left := &trees[len(trees)-1]
		if left.Level != t.Level || left.Index != t.Index-1 {
			break
		}
		t = Tree{t.Level + 1, t.Index >> 1, node(&left.Hash, &t.Hash)}
		trees = trees[:len(trees)-1]
	}
	return append(trees, t)
}

// Builder makes the parts of consecutive messages. The zero value is ready.
type Builder struct {
	parts Parts
	// leaves are those from an offset on that are not in parts yet, at most one
	// run: all of them together are hashed faster.
	leaves []Hash
	from   int64
}

// runLen is how many messages the largest subtrees are of.
const runLen = 1 << RunLevel

// Add takes the leaf of an offset; offsets ascend.
func (b *Builder) Add(offset int64, leaf Hash) {
	if n := len(b.leaves); n > 0 && (offset != b.from+int64(n) || offset%runLen == 0) {
		b.build()
	}
	if len(b.leaves) == 0 {
		b.from = offset
		if b.leaves == nil {
			b.leaves = make([]Hash, 0, runLen)
		}
	}
	b.leaves = append(b.leaves, leaf)
}

// build makes subtrees of the leaves that wait, level by level. Those at the ends
// of a level whose sibling is not among them are as large as they get.
func (b *Builder) build() {
	if len(b.leaves) == 0 {
		return
	}
	block, index := BlockOf(b.from)
	n := len(b.parts)
	if n == 0 || b.parts[n-1].Block != block {
		b.parts = append(b.parts, Part{Block: block})
		n++
	}
	p := &b.parts[n-1]
	add := func(t Tree) { p.Trees = join(p.Trees, t, RunLevel) }
	var last [RunLevel]Tree // at the right ends, the lowest first
	ends := 0
	row, level := b.leaves, uint8(0)
	for ; level < RunLevel && len(row) > 0; level++ {
		if index&1 == 1 {
			add(Tree{level, uint16(index), row[0]})
			row, index = row[1:], index+1
		}
		if n := len(row); n&1 == 1 {
			last[ends] = Tree{level, uint16(index + n - 1), row[n-1]}
			row, ends = row[:n-1], ends+1
		}
		row, index = nodes(row), index>>1
	}
	for i := range row {
		add(Tree{level, uint16(index + i), row[i]})
	}
	for ends > 0 {
		ends--
		add(last[ends])
	}
	b.leaves = b.leaves[:0]
}

// Set begins with parts that are known already.
func (b *Builder) Set(p Parts) { b.parts, b.leaves = p, b.leaves[:0] }

// Copy gives what was made so far, and goes on.
func (b *Builder) Copy() Parts {
	b.build()
	out := make(Parts, len(b.parts))
	for i, p := range b.parts {
		out[i] = Part{p.Block, append([]Tree(nil), p.Trees...)}
	}
	return out
}

// Parts gives what was made; the builder is empty after.
func (b *Builder) Parts() Parts {
	b.build()
	out := b.parts
	b.parts = nil
	return out
}

// Join gives the parts of two runs, of which the second follows the first.
func Join(first, second Parts) (Parts, error) {
	out := make(Parts, 0, len(first)+len(second))
	for _, p := range append(first[:len(first):len(first)], second...) {
		n := len(out)
		if n > 0 && out[n-1].Block > p.Block {
			return nil, fmt.Errorf("%w: block %d behind block %d", ErrBad, p.Block, out[n-1].Block)
		}
		if n == 0 || out[n-1].Block < p.Block {
			out = append(out, Part{Block: p.Block})
			n++
		}
		trees, err := behind(out[n-1].Trees, p.Trees, RunLevel)
		if err != nil {
			return nil, fmt.Errorf("block %d: %w", p.Block, err)
		}
		out[n-1].Trees = trees
	}
	return out, nil
}

// behind joins more subtrees of a block to those that precede them.
func behind(trees, more []Tree, level uint8) ([]Tree, error) {
	trees = append(make([]Tree, 0, len(trees)+len(more)), trees...)
	for _, t := range more {
		if n := len(trees); n > 0 && trees[n-1].to() > t.from() {
			return nil, fmt.Errorf("%w: subtree at place %d behind one that ends at %d", ErrBad, t.from(), trees[n-1].to())
		}
		trees = join(trees, t, level)
	}
	return trees, nil
}

// Check reports whether the parts hold exactly the offsets [from, to).
func (p Parts) Check(from, to int64) error {
	at := from
	for _, part := range p {
		for i := range part.Trees {
			t := &part.Trees[i]
			base := part.Block << BlockLevel
			if base+int64(t.from()) != at {
				return fmt.Errorf("%w: subtree at offset %d, want one at %d", ErrBad, base+int64(t.from()), at)
			}
			at = base + int64(t.to())
		}
	}
	if at != to {
		return fmt.Errorf("%w: it ends at offset %d, want %d", ErrBad, at, to)
	}
	return nil
}

// root is the root of a block that has subtrees.
func root(trees []Tree) Hash { return subroot(trees, BlockLevel, 0) }

// subroot is the root of one subtree, of which trees are all that is there.
func subroot(trees []Tree, level uint8, index int) Hash {
	switch {
	case len(trees) == 0:
		return absent[level]
	case len(trees) == 1 && trees[0].Level == level:
		return trees[0].Hash
	case level == 0:
		return trees[0].Hash
	}
	middle := (2*index + 1) << (level - 1)
	cut := 0
	for cut < len(trees) && trees[cut].from() < middle {
		cut++
	}
	left, right := subroot(trees[:cut], level-1, 2*index), subroot(trees[cut:], level-1, 2*index+1)
	return node(&left, &right)
}
