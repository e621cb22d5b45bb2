package sha256pair

import (
	"crypto/fips140"
	"encoding/binary"

	"github.com/klauspost/cpuid/v2"
)

// paired says that the processor has the instructions. A program that must keep
// to the validated module uses that alone.
var paired = cpuid.CPU.Supports(cpuid.SHA, cpuid.SSSE3, cpuid.SSE4) && !fips140.Enabled()

// state is a hash that is under way, its words in the order in which the
// instructions take them: f, e, b, a, h, g, d, c.
type state [8]uint32

// begin is FIPS 180-4, 5.3.3.
var begin = state{0x9b05688c, 0x510e527f, 0xbb67ae85, 0x6a09e667, 0x5be0cd19, 0x1f83d9ab, 0xa54ff53a, 0x3c6ef372}

// blocks2 takes n blocks from p into a, and as many from q into b.
//
//go:noescape
func blocks2(a, b *state, p, q *byte, n int)

// blocks1 takes n blocks from p into a.
//
//go:noescape
func blocks1(a *state, p *byte, n int)

const blockLen = 64

// lane is a message that is being hashed. It holds no memory of others: what
// callers hand over may stay on their stacks.
type lane struct {
	state state
	msg   int // which one
	at    int // of its first whole bytes, what is still to come
	whole int
	tail  [2 * blockLen]byte // the rest of it, and what ends it
	from  int                // of the tail, likewise
	to    int
}

// set begins a message.
func (l *lane) set(i int, msg []byte) {
	l.state, l.msg = begin, i
	l.at, l.whole = 0, len(msg)&^(blockLen-1)
	l.tail = [2 * blockLen]byte{}
	n := copy(l.tail[:], msg[l.whole:])
	l.tail[n] = 0x80
	l.from, l.to = 0, blockLen
	if n >= blockLen-8 {
		l.to = 2 * blockLen
	}
	binary.BigEndian.PutUint64(l.tail[l.to-8:], uint64(len(msg))<<3)
}

// left is how many blocks follow each other in memory.
func (l *lane) left() int {
	if l.at < l.whole {
		return (l.whole - l.at) / blockLen
	}
	return (l.to - l.from) / blockLen
}

// next is where they begin.
func (l *lane) next(msgs [][]byte) *byte {
	if l.at < l.whole {
		return &msgs[l.msg][l.at]
	}
	return &l.tail[l.from]
}

// taken goes n blocks on, and says whether that was all of the message.
func (l *lane) taken(n int) bool {
	if l.at < l.whole {
		l.at += n * blockLen
		return false
	}
	l.from += n * blockLen
	return l.from == l.to
}

// sum puts the message's hash in its place.
func (l *lane) sum(dst []Hash) {
	s, out := &l.state, &dst[l.msg]
	for i, word := range [...]uint32{s[3], s[2], s[7], s[6], s[1], s[0], s[5], s[4]} {
		binary.BigEndian.PutUint32(out[4*i:], word)
	}
}

// sums hashes at least two messages: a lane that is through takes the next one.
func sums(dst []Hash, msgs [][]byte) {
	if !paired {
		alone(dst, msgs)
		return
	}
	var a, b lane
	a.set(0, msgs[0])
	b.set(1, msgs[1])
	for next := 2; ; {
		n := min(a.left(), b.left())
		blocks2(&a.state, &b.state, a.next(msgs), b.next(msgs), n)
		aDone, bDone := a.taken(n), b.taken(n)
		if aDone {
			a.sum(dst)
			if next < len(msgs) {
				a.set(next, msgs[next])
				next, aDone = next+1, false
			}
		}
		if bDone {
			b.sum(dst)
			if next < len(msgs) {
				b.set(next, msgs[next])
				next, bDone = next+1, false
			}
		}
		switch {
		case aDone && bDone:
			return
		case aDone:
			b.finish(dst, msgs)
			return
		case bDone:
			a.finish(dst, msgs)
			return
		}
	}
}

// finish hashes what is left of a message by itself.
func (l *lane) finish(dst []Hash, msgs [][]byte) {
	for done := false; !done; {
		n := l.left()
		blocks1(&l.state, l.next(msgs), n)
		done = l.taken(n)
	}
	l.sum(dst)
}
