package hot

import (
	"context"

	"varve/internal/mq"
)

// Store is the log of one broker group. Its methods may be called concurrently.
type Store struct{ o Options }

var (
	_ mq.Reader = (*Store)(nil)
	_ mq.Finder = (*Store)(nil)
)

// Open opens or creates the store in dir, which it locks: ErrLocked where
// another process has it, ErrFormat where a newer version wrote it, ErrCorrupt
// where data that was synced can't be read.
func Open(dir string, o Options) (*Store, error) {
	return &Store{o: o.withDefaults()}, nil
}

// Close writes what is waiting, syncs and releases the directory. Appends that
// are waiting are completed; later calls fail with ErrClosed.
func (s *Store) Close() error { return nil }

// Append stores messages as one unit: either all of them survive a crash or
// none, and those of the same queue get consecutive offsets. It returns when
// they are confirmed. An error other than ErrFailed, or ctx ending first, says
// that none was stored.
func (s *Store) Append(ctx context.Context, msgs []*mq.Message) ([]Placed, error) {
	return nil, ErrClosed
}

// Submit is Append without waiting: done is called once, from the committer
// goroutine, and must return quickly. Where the append is refused at once
// (ErrBusy, ErrClosed, a bad message), done is called before Submit returns.
// The messages are encoded before Submit returns and may then be reused.
func (s *Store) Submit(msgs []*mq.Message, done func([]Placed, error)) { done(nil, ErrClosed) }

// Range implements mq.Reader over the confirmed part of the log.
func (s *Store) Range(ctx context.Context, q mq.Queue) (mq.Range, error) {
	return mq.Range{}, ErrClosed
}

// Read implements mq.Reader.
func (s *Store) Read(ctx context.Context, q mq.Queue, at int64, lim mq.Limit) (mq.Batch, error) {
	return mq.Batch{}, ErrClosed
}

// OffsetAt implements mq.Reader.
func (s *Store) OffsetAt(ctx context.Context, q mq.Queue, millis int64, b mq.Bound) (int64, error) {
	return 0, ErrClosed
}

// FindPhysical implements mq.Finder.
func (s *Store) FindPhysical(ctx context.Context, broker string, at int64) (mq.Record, error) {
	return nil, ErrClosed
}

// FindKey implements mq.Finder.
func (s *Store) FindKey(ctx context.Context, k mq.KeyQuery) (mq.Batch, error) {
	return mq.Batch{}, ErrClosed
}

// Queues gives every queue that the store has, in order of topic and id.
func (s *Store) Queues() []mq.Queue { return nil }

// Topics gives every topic that has a queue in the store, in order.
func (s *Store) Topics() []string { return nil }

// OnArrival registers a function that the committer calls, after the done
// callbacks, with the messages that became readable. It must return quickly
// and not keep the slice.
func (s *Store) OnArrival(f func([]Arrival)) {}

// Confirmed is the end of the part of the log that can be read.
func (s *Store) Confirmed() int64 { return 0 }

// SetArchived moves archived marks forward: marks are the first offsets that
// are not in a committed snapshot, physical is the position below which nothing
// is left to archive. Lower values than before are ignored. Only the connector
// calls it, after a commit.
func (s *Store) SetArchived(marks map[mq.Queue]int64, physical int64) error { return nil }

// Archived is the queue's archived mark, 0 where there is none.
func (s *Store) Archived(q mq.Queue) int64 { return 0 }

// Hold keeps everything at or above low() from being trimmed until release is
// called. A second Hold of the same name replaces the first.
func (s *Store) Hold(name string, low func() int64) (release func()) { return func() {} }

// Trim frees whole segments that the policy no longer wants, never past the
// archived position (unless the policy drops unarchived data), a hold, the
// last checkpoint or the segment being written.
func (s *Store) Trim(ctx context.Context, p TrimPolicy) (freedBytes int64, err error) { return 0, nil }

// Roll starts a new segment, so that Trim can free the one before.
func (s *Store) Roll(ctx context.Context) error { return nil }

// Flush returns when everything that was confirmed before the call is durable.
func (s *Store) Flush(ctx context.Context) error { return nil }

// DeleteTopic forgets a topic's queues. Its records stay in the log until they
// are trimmed, but no reader, Tail or Finder gives them any more. If messages
// come again, the topic starts anew at offset 0.
func (s *Store) DeleteTopic(topic string) error { return nil }

// Stats gives the store's figures.
func (s *Store) Stats() Stats { return Stats{} }

// Tail follows the log in physical order from a position on: 0 or anything up
// to the first position starts at the beginning if nothing was trimmed.
func (s *Store) Tail(from int64) *Tail { return &Tail{s: s, at: from} }

// Tail is one follower of the durable log. Its methods are for one goroutine.
type Tail struct {
	s  *Store
	at int64
}

// Next waits for records and gives up to maxBytes of them (at least one),
// concatenated, with the position to go on from. ErrTrimmed says that the
// position is below the first that the log holds. The records are valid until
// the next call.
func (t *Tail) Next(ctx context.Context, maxBytes int) (records []byte, next int64, err error) {
	return nil, t.at, ErrClosed
}

// Close releases what the follower holds.
func (t *Tail) Close() error { return nil }
