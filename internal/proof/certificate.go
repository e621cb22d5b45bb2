package proof

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Certificate says what an erasure erased. It is stored before the erasure is
// committed, and counts for the rows that are erased.
type Certificate struct {
	Version     int           `json:"version"` // 1
	ID          string        `json:"id"`      // also in the erased messages' property VARVE_ERASED
	Archive     string        `json:"archive"`
	Topic       string        `json:"topic"`
	Incarnation int           `json:"incarnation"`
	At          time.Time     `json:"at"`
	Who         string        `json:"who"`
	Why         string        `json:"why"`
	Asked       string        `json:"asked"` // for which messages; without the key that was asked for
	Covers      string        `json:"covers,omitempty"`
	Rows        []ErasedRow   `json:"rows"`
	Files       []ErasedFiles `json:"files"`
}

// ErasedRow is one erased message.
type ErasedRow struct {
	Broker string `json:"broker"`
	Queue  int32  `json:"queue"`
	Offset int64  `json:"offset"`
	MsgID  string `json:"msg_id"`
	Leaf   string `json:"leaf"` // of the message as it was
	Left   string `json:"left"` // leaf of what is left of it
}

// ErasedFiles are a data file and the one that took its place.
type ErasedFiles struct {
	Before string `json:"before"`
	After  string `json:"after"`
}

// SignedCertificate is a certificate as it is stored. What is signed is the
// certificate's JSON without white space, behind a line of its own.
type SignedCertificate struct {
	Certificate json.RawMessage `json:"certificate"`
	Key         string          `json:"key,omitempty"`
	Signature   []byte          `json:"signature,omitempty"`
}

const certificateLine = "varve erasure 1\n"

// Seal makes what is stored of a certificate; key may be nil.
func (c *Certificate) Seal(key ed25519.PrivateKey) ([]byte, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	s := SignedCertificate{Certificate: text}
	if key != nil {
		s.Key = KeyID(key.Public().(ed25519.PublicKey))
		s.Signature = ed25519.Sign(key, append([]byte(certificateLine), text...))
	}
	return json.MarshalIndent(s, "", "  ")
}

// OpenCertificate reads a stored certificate and, where there are keys, demands
// that one of them signed it.
func OpenCertificate(data []byte, keys []ed25519.PublicKey) (*Certificate, error) {
	var s SignedCertificate
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBad, err)
	}
	var text bytes.Buffer
	text.WriteString(certificateLine)
	if err := json.Compact(&text, s.Certificate); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBad, err)
	}
	if len(keys) > 0 && !slices.ContainsFunc(keys, func(k ed25519.PublicKey) bool { return verify(k, text.Bytes(), s.Signature) == nil }) {
		return nil, ErrSignature
	}
	c := new(Certificate)
	if err := json.Unmarshal(s.Certificate, c); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBad, err)
	}
	if c.Version != version {
		return nil, fmt.Errorf("%w: version %d, this program knows %d", ErrBad, c.Version, version)
	}
	return c, nil
}
