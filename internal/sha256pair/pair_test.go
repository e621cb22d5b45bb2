package sha256pair

import (
	"crypto/sha256"
	"math/rand/v2"
	"strconv"
	"testing"
)

func noise(n int) []byte {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// check compares the hashes of messages, and that they are put behind what was
// there.
func check(t *testing.T, msgs ...[]byte) {
	t.Helper()
	before := Hash{1, 2, 3}
	got := Sums([]Hash{before}, msgs)
	if len(got) != 1+len(msgs) || got[0] != before {
		t.Fatalf("%d hashes behind %x, want %d behind %x", len(got)-1, got[0], len(msgs), before)
	}
	for i, m := range msgs {
		if want := sha256.Sum256(m); got[1+i] != want {
			t.Fatalf("message %d of %d, %d bytes: %x, want %x", i, len(msgs), len(m), got[1+i], want)
		}
	}
}

func TestSums(t *testing.T) {
	data := noise(1 << 20)
	for name, lengths := range map[string][]int{
		"none":               {},
		"one":                {1000},
		"two empty ones":     {0, 0},
		"equal":              {1000, 1000},
		"three":              {65, 65, 65},
		"a long one first":   {1 << 20, 0, 1, 2, 3, 64, 128},
		"a long one last":    {0, 1, 2, 3, 64, 128, 1 << 20},
		"two long ones":      {1 << 20, 1<<20 - 1},
		"whole blocks":       {64, 128, 192, 640, 64},
		"around the padding": {54, 55, 56, 57, 63, 64, 65, 118, 119, 120, 121},
	} {
		t.Run(name, func(t *testing.T) {
			var msgs [][]byte
			for _, n := range lengths {
				msgs = append(msgs, data[:n])
			}
			check(t, msgs...)
		})
	}
}

// TestPairsOfAllLengths has every pair of short lengths, at all kinds of places in
// memory.
func TestPairsOfAllLengths(t *testing.T) {
	data := noise(1 << 10)
	for n := range 301 {
		for m := range 301 {
			check(t, data[n%17:n%17+n], data[400+m%13:400+m%13+m])
		}
	}
}

func TestRandomRuns(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	data := noise(1 << 16)
	for range 300 {
		msgs := make([][]byte, rng.IntN(20))
		for i := range msgs {
			at := rng.IntN(len(data))
			msgs[i] = data[at : at+rng.IntN(1+min(len(data)-at, 1<<rng.IntN(16)))]
		}
		check(t, msgs...)
	}
}

// TestGrown has hashes put where there is room for them, and where there is none.
func TestGrown(t *testing.T) {
	msgs := [][]byte{[]byte("a"), []byte("b"), []byte("c")}
	room := make([]Hash, 1, 8)
	if got := Sums(room, msgs); &got[0] != &room[0] {
		t.Fatal("moved, though there was room")
	}
	if got := Sums(room[:1:1], msgs); len(got) != 4 || got[3] != sha256.Sum256(msgs[2]) {
		t.Fatalf("%x", got)
	}
	if n := testing.AllocsPerRun(100, func() { Sums(room, msgs) }); n > 0 {
		t.Fatalf("%v allocations where there is room", n)
	}
}

func FuzzSums(f *testing.F) {
	f.Add([]byte("one message"), []byte("and another"), uint16(5))
	f.Add(noise(200), noise(119), uint16(64))
	f.Fuzz(func(t *testing.T, a, b []byte, cut uint16) {
		n := min(int(cut), len(a))
		check(t, a, b)
		check(t, a[:n], b, a[n:])
	})
}

func BenchmarkSums(b *testing.B) {
	for _, n := range []int{65, 250, 1000, 16 << 10} {
		msgs := make([][]byte, 64)
		for i := range msgs {
			msgs[i] = noise(n)
		}
		out := make([]Hash, 0, len(msgs))
		b.Run("pairs/"+strconv.Itoa(n), func(b *testing.B) {
			b.SetBytes(int64(n * len(msgs)))
			for b.Loop() {
				Sums(out, msgs)
			}
		})
		b.Run("alone/"+strconv.Itoa(n), func(b *testing.B) {
			b.SetBytes(int64(n * len(msgs)))
			for b.Loop() {
				for i, m := range msgs {
					out[:cap(out)][i] = sha256.Sum256(m)
				}
			}
		})
	}
}
