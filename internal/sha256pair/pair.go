package sha256pair

import (
	"crypto/sha256"
	"slices"
)

// Hash is a SHA-256.
type Hash = [sha256.Size]byte

// Sums appends the hash of each message to dst.
func Sums(dst []Hash, msgs [][]byte) []Hash {
	at, n := len(dst), len(msgs)
	dst = slices.Grow(dst, n)[:at+n]
	if n < 2 {
		alone(dst[at:], msgs)
	} else {
		sums(dst[at:], msgs)
	}
	return dst
}

// alone hashes one message after the other.
func alone(dst []Hash, msgs [][]byte) {
	for i, m := range msgs {
		dst[i] = sha256.Sum256(m)
	}
}
