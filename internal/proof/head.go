package proof

import (
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
)

// QueueHead is a queue as its broker group's statement has it.
type QueueHead struct {
	ID   int32
	From int64 // where its proof begins
	Next int64
	Head Hash
}

func (q *QueueHead) leaf() Hash {
	b := append(make([]byte, 0, 1+4+16+32), kindQueue)
	b = binary.BigEndian.AppendUint32(b, uint32(q.ID))
	b = binary.BigEndian.AppendUint64(b, uint64(q.From))
	b = binary.BigEndian.AppendUint64(b, uint64(q.Next))
	return sum(append(b, q.Head[:]...))
}

// QueuesRoot is the root of the tree over a broker group's queues, which are in
// order of their ids: padded with absent ones to a power of two.
func QueuesRoot(queues []QueueHead) Hash {
	row := make([]Hash, len(queues))
	for i := range queues {
		row[i] = queues[i].leaf()
	}
	for level := range treeHeight(len(queues)) {
		row = fold(row, level)
	}
	if len(row) == 0 {
		return absent[0]
	}
	return row[0]
}

// treeHeight is how many levels a tree of n leaves has above them.
func treeHeight(n int) int { return bits.Len(uint(max(n, 1) - 1)) }

// fold makes a level of a tree of the one below it, in place.
func fold(row []Hash, level int) []Hash {
	n := (len(row) + 1) / 2
	for i := range n {
		right := &absent[level]
		if 2*i+1 < len(row) {
			right = &row[2*i+1]
		}
		row[i] = node(&row[2*i], right)
	}
	return row[:n]
}

// Statement is what a connector signs: the heads of a topic's queues in its
// broker group after a commit.
type Statement struct {
	Archive     string // identity of the archive
	Topic       string
	Incarnation int
	Broker      string
	Epoch       int64 // of the connector
	Millis      int64 // when the commit was made
	Queues      int
	Root        Hash // of the queues, see QueuesRoot
}

// signed is the statement in the bytes that are signed.
func (s *Statement) signed() []byte {
	b := []byte("varve proof head 1\n")
	for _, text := range []string{s.Archive, s.Topic, s.Broker} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
		b = append(b, text...)
	}
	for _, n := range []int64{int64(s.Incarnation), s.Epoch, s.Millis, int64(s.Queues)} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return append(b, s.Root[:]...)
}

// ErrSignature says that a signature is not of the key and the words that it
// should be of.
var ErrSignature = errors.New("signature does not fit")

// ErrUnsigned says that a head has no signature.
var ErrUnsigned = errors.New("not signed: the server that made it had no proof.key-file")

// Sign signs the statement.
func (s *Statement) Sign(key ed25519.PrivateKey) []byte { return ed25519.Sign(key, s.signed()) }

// Verify checks a signature of the statement.
func (s *Statement) Verify(key ed25519.PublicKey, signature []byte) error {
	return verify(key, s.signed(), signature)
}

func verify(key ed25519.PublicKey, text, signature []byte) error {
	if len(key) != ed25519.PublicKeySize {
		return fmt.Errorf("%w: a public key of %d bytes", ErrSignature, len(key))
	}
	if !ed25519.Verify(key, text, signature) {
		return ErrSignature
	}
	return nil
}

// KeyID names a public key in few letters: the first 8 bytes of its SHA-256, in
// hex.
func KeyID(key ed25519.PublicKey) string {
	h := sum(key)
	return hex.EncodeToString(h[:8])
}
