package mq

import (
	"context"
	"errors"
)

// Errors of a Reader. They are wrapped with the queue and the offset.
var (
	// ErrNoQueue says that the tier has never held the queue.
	ErrNoQueue = errors.New("no such queue")
	// ErrTooLow says that the offset is below what the tier still holds.
	ErrTooLow = errors.New("offset below the range")
	// ErrTooHigh says that the offset is beyond the end of the range.
	ErrTooHigh = errors.New("offset beyond the range")
	// ErrNotFound says that no message has the given key or position.
	ErrNotFound = errors.New("no such message")
	// ErrWouldWait says that a read with Limit.NoWait would have to wait.
	ErrWouldWait = errors.New("the read would wait for a disk")
)

// Limit bounds one Read. Zero fields mean no bound, but every tier also has a
// bound of its own.
type Limit struct {
	Messages int    // records returned
	Bytes    int    // length of the returned body; the first record is returned whatever its length
	Scan     int    // offsets looked at, matched or not
	Filter   Filter // nil keeps all
	// Lend allows a body that the reader wants back: see Batch.Release.
	Lend bool
	// NoWait has a reader that would wait for a disk return ErrWouldWait
	// instead, if it can tell.
	NoWait bool
}

// Filter decides which records a Read returns. Its methods are called from one
// goroutine at a time for one Read, but concurrently for several.
type Filter interface {
	// MatchTag may refuse a record by the hash of its tag alone, before its
	// bytes are read. It must be true where the record is needed to decide.
	MatchTag(hash int64) bool
	// MatchRecord decides on the whole record.
	MatchRecord(r Record) bool
}

// Batch is what one Read returned.
type Batch struct {
	// Body is the matching records, concatenated, in offset order. The caller
	// owns it.
	Body []byte
	// Count is the number of records in Body.
	Count int
	// Next is where to read on: the last offset looked at + 1.
	Next int64
	// Range is the queue's range when it was read.
	Range Range
	// Free gives Body's memory back to the reader for another read. It is nil
	// where there is nothing to give back: always, but for a Limit with Lend.
	Free func()
}

// Release gives the body back. It need not be called, but after it nothing of
// the body may be used, and nobody may call Free.
func (b *Batch) Release() {
	if free := b.Free; free != nil {
		b.Body, b.Free = nil, nil
		free()
	}
}

// Bound says which message OffsetAt looks for.
type Bound int

const (
	// Lower finds the first message stored at or after the time; the end of
	// the range where there is none.
	Lower Bound = iota
	// Upper finds the last message stored at or before the time; the start of
	// the range where there is none.
	Upper
)

// Reader reads queues by offset. The hot log, the archive, the history client
// and the stitched tiers implement it, and mqtest holds them to it.
//
// All methods may be called concurrently. A Reader never returns an offset
// twice or leaves one out: Read gives the records of [at, Batch.Next) that the
// filter keeps, and Next > at unless at is the end of the range. Reading at
// the end is not an error: the batch is empty and Next is at. Read may stop
// early for its own reasons (a file's end, a budget); the caller reads on at
// Next. It returns either a whole batch or an error, never both.
type Reader interface {
	// Range gives the offsets that can be read now, ErrNoQueue for a queue
	// that was never seen.
	Range(ctx context.Context, q Queue) (Range, error)
	// Read gives records from an offset on: ErrNoQueue, ErrTooLow, ErrTooHigh.
	Read(ctx context.Context, q Queue, at int64, lim Limit) (Batch, error)
	// OffsetAt finds an offset by store time, in milliseconds. The answer is
	// exact: among equal times Lower gives the first and Upper the last.
	OffsetAt(ctx context.Context, q Queue, millis int64, b Bound) (int64, error)
}

// KeyQuery asks for the messages of a topic that carry a key.
type KeyQuery struct {
	Topic      string
	Key        string // one word of KEYS, or the UNIQ_KEY
	Unique     bool   // match UNIQ_KEY only
	FromMillis int64  // store time, inclusive; 0 is no bound
	ToMillis   int64  // store time, inclusive; 0 is no bound
	Max        int    // newest first where there are more
}

// Finder finds single messages by other names than their offset. It may be
// called concurrently.
type Finder interface {
	// FindPhysical gives the record at a position of a broker group's log:
	// ErrNotFound where no record starts there.
	FindPhysical(ctx context.Context, broker string, physicalOffset int64) (Record, error)
	// FindKey gives the matching records, concatenated, newest first. None is
	// an empty body, not an error.
	FindKey(ctx context.Context, k KeyQuery) (Batch, error)
}
