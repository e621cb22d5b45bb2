package proof

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestLeavesTogether: messages that are hashed together have the leaves that they
// have alone, also where one is hashed between them.
func TestLeavesTogether(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	text := make([]byte, 3000)
	for i := range text {
		text[i] = byte(rng.Uint32())
	}
	var together, alone Hasher
	for range 50 {
		var want []Hash
		for range rng.IntN(20) {
			head, body, tail := text[:rng.IntN(100)], text[rng.IntN(1000):1000+rng.IntN(2000)], text[:rng.IntN(300)]
			together.Add(head, body, tail)
			want = append(want, alone.Leaf(head, body, tail))
			if one := together.Leaf(head, body, tail); one != want[len(want)-1] {
				t.Fatal("a message between others has another leaf")
			}
		}
		if got := together.Leaves(); !slices.Equal(got, want) {
			t.Fatalf("%d messages together: %x, alone %x", len(want), got, want)
		}
		together.Add(text, text, text)
		together.Drop()
	}
	if got := together.Leaves(); len(got) > 0 {
		t.Fatalf("%d leaves of messages that were dropped", len(got))
	}
}

// TestBuilderJoinsAsOneByOne compares a builder's parts with those of leaves that
// are joined one by one, wherever runs begin and end and whatever is absent.
func TestBuilderJoinsAsOneByOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 200 {
		var b Builder
		var want Parts
		gaps := rng.IntN(3) * 20
		for at, to := int64(rng.IntN(9000)), int64(rng.IntN(12_000)); at < to; at++ {
			if gaps > 0 && rng.IntN(100*gaps) < gaps {
				at += int64(rng.IntN(600))
			}
			leaf := Hash{byte(at), byte(at >> 8), 1}
			b.Add(at, leaf)
			block, place := BlockOf(at)
			if n := len(want); n == 0 || want[n-1].Block != block {
				want = append(want, Part{Block: block})
			}
			p := &want[len(want)-1]
			p.Trees = join(p.Trees, Tree{0, uint16(place), leaf}, RunLevel)
			if rng.IntN(1000) == 0 && string(b.Copy().Encode()) != string(want.Encode()) {
				t.Fatalf("parts up to offset %d are others", at)
			}
		}
		if got := b.Parts(); string(got.Encode()) != string(want.Encode()) {
			t.Fatalf("%v, want %v", got, want)
		}
		if len(b.Parts()) > 0 {
			t.Fatal("a builder that was emptied gives parts")
		}
	}
}
