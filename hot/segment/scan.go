package segment

import (
	"errors"
	"fmt"
	"io"
)

// scanChunk is how much a Scanner reads at a time.
const scanChunk = 1 << 20

// Scanner reads a segment's batches one after the other.
type Scanner struct {
	r     io.ReaderAt
	base  int64 // position of the file's first byte
	limit int64 // no batch may reach beyond
	epoch uint64

	buf []byte // file bytes from position at on
	off int    // of them consumed
	at  int64  // position of buf[0]
	eof bool   // nothing more to read behind buf
}

// NewScanner scans the segment file r with the given base from a batch's
// start on. Batches of an epoch below the given one end the scan, and so does
// limit, which no batch crosses.
func NewScanner(r io.ReaderAt, base, from, limit int64, epoch uint64) *Scanner {
	return &Scanner{r: r, base: base, limit: limit, epoch: epoch, at: from}
}

// Pos is the position that Next looks at.
func (s *Scanner) Pos() int64 { return s.at + int64(s.off) }

// Epoch is the epoch of the last batch, or the one that the scan began with.
func (s *Scanner) Epoch() uint64 { return s.epoch }

// SetLimit moves the limit forward, for a file that grows.
func (s *Scanner) SetLimit(limit int64) {
	if limit > s.limit {
		s.limit, s.eof = limit, false
	}
}

// Next gives the batch at Pos and moves behind it; its records are valid until
// the next call. io.EOF says that Pos is at the limit or at the file's end.
// ErrInvalid says why there is no batch at Pos; the scanner stays there. Other
// errors are of the file.
func (s *Scanner) Next() (Batch, error) {
	if s.Pos() >= s.limit {
		return Batch{}, io.EOF
	}
	for need := 8; ; {
		if err := s.fill(need); err != nil {
			return Batch{}, err
		}
		b := s.buf[s.off:]
		if len(b) == 0 {
			return Batch{}, io.EOF
		}
		batch, more, err := parseBatch(b, s.Pos())
		if errors.Is(err, errShort) {
			if len(b) >= more || s.eof {
				return Batch{}, fmt.Errorf("%w batch: %w after %d bytes", ErrInvalid, err, len(b))
			}
			need = max(more, min(2*len(b), MaxBatchLen))
			continue
		}
		if err != nil {
			return Batch{}, err
		}
		if batch.Epoch < s.epoch {
			return Batch{}, fmt.Errorf("%w batch: epoch %d after %d", ErrInvalid, batch.Epoch, s.epoch)
		}
		s.epoch = batch.Epoch
		s.off += batch.Len
		return batch, nil
	}
}

// fill makes at least n unconsumed bytes available, or all that there are up
// to the limit.
func (s *Scanner) fill(n int) error {
	if len(s.buf)-s.off >= n || s.eof {
		return nil
	}
	rest := len(s.buf) - s.off
	size := max(n, scanChunk)
	if left := s.limit - s.Pos(); int64(size) >= left {
		size = int(left)
	}
	if cap(s.buf) < size {
		grown := make([]byte, rest, size)
		copy(grown, s.buf[s.off:])
		s.buf, s.at, s.off = grown, s.at+int64(s.off), 0
	} else if s.off > 0 {
		copy(s.buf, s.buf[s.off:])
		s.buf, s.at, s.off = s.buf[:rest], s.at+int64(s.off), 0
	}
	if size <= rest {
		s.eof = true
		return nil
	}
	got, err := s.r.ReadAt(s.buf[rest:size], s.at+int64(rest)-s.base)
	s.buf = s.buf[:rest+got]
	switch {
	case errors.Is(err, io.EOF):
		s.eof = true
	case err != nil:
		return fmt.Errorf("reading at %d: %w", s.at+int64(rest), err)
	case int64(size) >= s.limit-s.at:
		s.eof = true
	}
	return nil
}

// FindStart gives the start of the batch in which a record begins at position
// at.
func FindStart(r io.ReaderAt, base, at, limit int64) (int64, error) {
	s := NewScanner(r, base, at, limit, 0)
	for off, need := 0, scanChunk; ; {
		if err := s.fill(need); err != nil {
			return 0, err
		}
		b := s.buf[s.off:]
		for len(b) >= off+TrailerLen && !isTrailer(b[off:]) {
			n, err := peekRecord(b[off:], at+int64(off))
			if err != nil {
				return 0, err
			}
			off += n
		}
		if len(b) >= off+TrailerLen {
			t, length, _, err := parseTrailer(b[off:])
			if err != nil {
				return 0, err
			}
			if t.Start+int64(length) != at+int64(off) || t.Start > at {
				return 0, fmt.Errorf("%w trailer: of a batch at %d, found at %d", ErrInvalid, t.Start, at+int64(off))
			}
			return t.Start, nil
		}
		if s.eof || off > MaxBatchLen {
			return 0, fmt.Errorf("%w batch: no trailer after %d bytes", ErrInvalid, len(b))
		}
		need = max(off+TrailerLen, 2*len(b))
	}
}

// BatchBefore gives the batch that ends at position end. ErrInvalid says why
// there is none, and the batch then holds the position that was looked at.
func BatchBefore(r io.ReaderAt, base, end int64) (Batch, error) {
	at := Batch{Trailer: Trailer{Start: end - TrailerLen}}
	if at.Start < base+HeaderLen {
		return at, fmt.Errorf("%w batch: no room for one", ErrInvalid)
	}
	var head [TrailerLen]byte
	if err := readAll(r, head[:], at.Start-base); err != nil {
		return at, err
	}
	t, length, _, err := parseTrailer(head[:])
	if err != nil {
		return at, err
	}
	if t.Start < base+HeaderLen || length+TrailerLen > MaxBatchLen || t.Start+int64(length) != at.Start {
		return at, fmt.Errorf("%w trailer: of %d bytes at %d, found at %d", ErrInvalid, length, t.Start, at.Start)
	}
	at.Start = t.Start
	b := make([]byte, length+TrailerLen)
	if err := readAll(r, b, t.Start-base); err != nil {
		return at, err
	}
	batch, _, err := parseBatch(b, t.Start)
	switch {
	case errors.Is(err, errShort):
		return at, fmt.Errorf("%w batch: %w", ErrInvalid, err)
	case err != nil:
		return at, err
	case batch.End() != end:
		return at, fmt.Errorf("%w batch: it ends at %d", ErrInvalid, batch.End())
	}
	return batch, nil
}

// readAll fills b from offset at; an end of the file before is ErrInvalid.
func readAll(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	switch {
	case n == len(b):
		return nil
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w batch: the file ends after %d of %d bytes", ErrInvalid, n, len(b))
	}
	return fmt.Errorf("reading %d bytes at byte %d: %w", len(b), at, err)
}

// FindEvidence looks through up to window bytes from position from for a
// trailer which proves that the log was synced beyond from: one that lies
// where its own fields say, of the given epoch or a later one. It is how a bad
// batch that had been synced is told from a torn tail.
func FindEvidence(r io.ReaderAt, base, from, window int64, epoch uint64) (durable int64, found bool, err error) {
	buf := make([]byte, scanChunk)
	for at := from; at < from+window; {
		n, err := r.ReadAt(buf, at-base)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, false, fmt.Errorf("reading at %d: %w", at, err)
		}
		if d, ok := evidenceIn(buf[:n], at, from, epoch); ok {
			return d, true, nil
		}
		if n < len(buf) {
			return 0, false, nil
		}
		at += int64(n - TrailerLen)
	}
	return 0, false, nil
}
