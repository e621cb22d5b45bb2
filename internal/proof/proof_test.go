package proof

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

func leafOf(offset int64) Hash {
	var h Hasher
	return h.Leaf([]byte("head"), []byte{byte(offset), byte(offset >> 8), byte(offset >> 16)}, []byte("tail"))
}

func partsOf(from, to int64) Parts {
	var b Builder
	for o := from; o < to; o++ {
		b.Add(o, leafOf(o))
	}
	return b.Parts()
}

// slowState is a queue's head by the book: every leaf in its place of a whole
// tree.
func slowState(from int64, absent func(int64) bool, next int64) Hash {
	var chain, open Hash
	open = emptyRoot(BlockLevel)
	for block := from >> BlockLevel; block<<BlockLevel < next; block++ {
		row := make([]Hash, BlockLen)
		any := false
		for i := range row {
			if o := block<<BlockLevel + int64(i); o >= from && o < next && !absent(o) {
				row[i], any = leafOf(o), true
			}
		}
		for len(row) > 1 {
			for i := range len(row) / 2 {
				row[i] = node(&row[2*i], &row[2*i+1])
			}
			row = row[:len(row)/2]
		}
		switch {
		case (block+1)<<BlockLevel > next:
			open = row[0]
		case any:
			chain = link(chain, block, row[0])
		}
	}
	return headOf(from, next, chain, open)
}

func emptyRoot(level int) Hash {
	var h Hash
	for range level {
		h = node(&h, &h)
	}
	return h
}

// TestHeadsDoNotDependOnHowAQueueIsCut: any cut into files, joined or not,
// through encoding or not, gives the head of the definition.
func TestHeadsDoNotDependOnHowAQueueIsCut(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 30 {
		from := int64(rng.IntN(9000))
		next := from + 1 + int64(rng.IntN(12_000))
		if round == 0 {
			from, next = 4096, 3*4096
		}
		want := slowState(from, func(int64) bool { return false }, next)
		s := Begin(from)
		var pending Parts
		pendingFrom := from
		for at := from; at < next; {
			to := min(next, at+1+int64(rng.IntN(5000)))
			p, err := DecodeParts(partsOf(at, to).Encode())
			if err != nil {
				t.Fatal(err)
			}
			if pending, err = Join(pending, p); err != nil {
				t.Fatal(err)
			}
			at = to
			if at < next && rng.IntN(2) == 0 {
				continue
			}
			if string(pending.Encode()) != string(partsOf(pendingFrom, at).Encode()) {
				t.Fatalf("parts of %d to %d depend on the cut", pendingFrom, at)
			}
			if s, err = s.Append(pending, pendingFrom, at); err != nil {
				t.Fatal(err)
			}
			if s, err = DecodeState(s.Encode()); err != nil {
				t.Fatal(err)
			}
			pending, pendingFrom = nil, at
		}
		if s.Head() != want {
			t.Fatalf("head of %d to %d depends on the cut", from, next)
		}
	}
}

// TestAbsentOffsets: what is left out by declaration is absent in its place.
func TestAbsentOffsets(t *testing.T) {
	for _, gap := range [][2]int64{{100, 200}, {4000, 4200}, {4096, 8192}, {5, 20_000}, {4000, 4096}, {4096, 4100}} {
		s, err := Begin(3).Append(partsOf(3, gap[0]), 3, gap[0])
		if err != nil {
			t.Fatal(err)
		}
		if s, err = s.Append(partsOf(gap[1], gap[1]+5000), gap[1], gap[1]+5000); err != nil {
			t.Fatal(err)
		}
		want := slowState(3, func(o int64) bool { return o >= gap[0] && o < gap[1] }, gap[1]+5000)
		if s.Head() != want {
			t.Errorf("gap %v", gap)
		}
	}
}

func TestBadParts(t *testing.T) {
	p := partsOf(10, 5000)
	if _, err := Begin(10).Append(p, 10, 5001); !errors.Is(err, ErrBad) {
		t.Errorf("short parts: %v", err)
	}
	if _, err := Begin(11).Append(p, 10, 5000); !errors.Is(err, ErrBad) {
		t.Errorf("parts behind the chain: %v", err)
	}
	if _, err := Join(p, p); !errors.Is(err, ErrBad) {
		t.Errorf("joined twice: %v", err)
	}
	data := p.Encode()
	for n := range data {
		if _, err := DecodeParts(data[:n]); err == nil {
			t.Fatalf("%d of %d bytes were taken", n, len(data))
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(partsOf(10, 5000).Encode())
	s, _ := Begin(0).Append(partsOf(0, 5000), 0, 5000)
	f.Add(s.Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, err := DecodeParts(data); err == nil {
			_, _ = Begin(0).Append(p, 0, 1<<40)
			_, _ = Join(p, p)
			_ = string(p.Encode())
		}
		if s, err := DecodeState(data); err == nil {
			_ = s.Head()
			_, _ = s.Append(partsOf(s.Next%1000+s.Next, s.Next%1000+s.Next+10), s.Next%1000+s.Next, s.Next%1000+s.Next+10)
		}
	})
}

// TestGolden holds the hashes of the format's first version; docs/format/proof.md
// lists them.
func TestGolden(t *testing.T) {
	var h Hasher
	leaf := h.Leaf([]byte("head"), []byte("body"), []byte("tail"))
	s, err := Begin(4000).Append(partsOf(4000, 10_000), 4000, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	queues := []QueueHead{{0, 4000, 10_000, s.Head()}, {1, 0, 0, Begin(0).Head()}, {5, 7, 7, Begin(7).Head()}}
	st := Statement{Archive: "id", Topic: "orders", Incarnation: 1, Broker: "varve-a", Epoch: 3, Millis: 1_750_000_000_000, Queues: 3, Root: QueuesRoot(queues)}
	key := ed25519.NewKeyFromSeed([]byte("0123456789abcdef0123456789abcdef"))
	head, chain := s.Head(), s.Chain
	for _, c := range []struct {
		name, want string
		got        []byte
	}{
		{"leaf", goldenLeaf, leaf[:]},
		{"absent block", goldenAbsent, absent[BlockLevel][:]},
		{"chain", goldenChain, chain[:]},
		{"head", goldenHead, head[:]},
		{"root", goldenRoot, st.Root[:]},
		{"signature", goldenSignature, st.Sign(key)},
	} {
		if got := hex.EncodeToString(c.got); got != c.want {
			t.Errorf("%s is %s", c.name, got)
		}
	}
	pub := key.Public().(ed25519.PublicKey)
	if err := st.Verify(pub, st.Sign(key)); err != nil {
		t.Error(err)
	}
	st.Queues++
	if err := st.Verify(pub, st.Sign(ed25519.NewKeyFromSeed(make([]byte, 32)))); !errors.Is(err, ErrSignature) {
		t.Errorf("another key's signature: %v", err)
	}
}

func TestKeys(t *testing.T) {
	private, public, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParsePrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := ParsePublicKeys(append(public, public...))
	if err != nil || len(pub) != 2 || !pub[0].Equal(key.Public()) {
		t.Errorf("%d keys, %v", len(pub), err)
	}
	if _, err := ParsePrivateKey(public); err == nil || strings.Contains(err.Error(), string(public)) {
		t.Errorf("a public key as private one: %v", err)
	}
	if _, err := ParsePublicKeys(private); err == nil {
		t.Error("a private key was taken for a public one")
	}
}
