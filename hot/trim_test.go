package hot

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
)

func fill(t *testing.T, w *sender, n int) {
	t.Helper()
	for range n {
		if err := w.send(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// archiveAll marks everything durable as archived.
func archiveAll(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	marks := make(map[mq.Queue]int64)
	for _, q := range s.Queues() {
		r, err := s.Range(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		marks[q] = r.To
	}
	if err := s.SetArchived(marks, s.Stats().DurablePhysical); err != nil {
		t.Fatal(err)
	}
}

func trimmed(t *testing.T, s *Store, p TrimPolicy) int64 {
	t.Helper()
	freed, err := s.Trim(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return freed
}

func TestTrimKeepsWhatIsNotArchived(t *testing.T) {
	fs := vfs.NewMem()
	o := Options{FS: fs, SegmentBytes: 8 << 10}
	s := mustOpen(t, "/hot", o)
	l := newLedger()
	w := newSender(s, l, "t", 3)
	fill(t, w, 300)
	if freed := trimmed(t, s, TrimPolicy{}); freed != 0 {
		t.Fatalf("%d bytes freed of a log that nobody archived", freed)
	}
	archiveAll(t, s)
	low := s.Confirmed() / 2
	release := s.Hold("replica", func() int64 { return low })
	if freed := trimmed(t, s, TrimPolicy{}); freed == 0 || s.Stats().FirstPhysical > low {
		t.Fatalf("%d bytes freed up to %d, held at %d", freed, s.Stats().FirstPhysical, low)
	}
	release()
	if freed := trimmed(t, s, TrimPolicy{}); freed == 0 || s.Stats().Segments != 1 {
		t.Fatalf("%d bytes freed, %d segments left", freed, s.Stats().Segments)
	}
	if err := verify(s, l, true); err != nil {
		t.Fatal(err)
	}
	mark, dropped := s.Marks(testQueue("t", 0))
	if mark != s.Archived(testQueue("t", 0)) || dropped != 0 {
		t.Errorf("archived to %d, dropped to %d before anything was dropped", mark, dropped)
	}
	fill(t, w, 100)
	if freed := trimmed(t, s, TrimPolicy{DropUnarchived: true}); freed == 0 {
		t.Error("nothing freed though the user chose to drop unarchived messages")
	}
	r, err := s.Range(t.Context(), testQueue("t", 0))
	if m, d := s.Marks(testQueue("t", 0)); m != mark || d != r.From || d <= m {
		t.Errorf("archived to %d, dropped to %d, the log begins at %d", m, d, r.From)
	}
	if err != nil || r.From == 0 {
		t.Fatalf("range %v, %v", r, err)
	}
	if _, err := s.Read(t.Context(), testQueue("t", 0), r.From-1, mq.Limit{}); !errors.Is(err, mq.ErrTooLow) {
		t.Errorf("reading below the hot start: %v", err)
	}
	closed(t, s)
	s = mustOpen(t, "/hot", o)
	defer closed(t, s)
	if got, err := s.Range(t.Context(), testQueue("t", 0)); err != nil || got != r {
		t.Errorf("range after reopening %v, %v, want %v", got, err, r)
	}
	if m, d := s.Marks(testQueue("t", 0)); m != mark || d != r.From {
		t.Errorf("after reopening: archived to %d, dropped to %d", m, d)
	}
	if err := verify(s, l, true); err != nil {
		t.Fatal(err)
	}
}

func TestTrimPolicies(t *testing.T) {
	now := time.UnixMilli(1_000_000_000)
	fs := vfs.NewMem()
	s := mustOpen(t, "/hot", Options{FS: fs, SegmentBytes: 8 << 10, Now: func() time.Time { return now }})
	defer closed(t, s)
	l := newLedger()
	old, recent := newSender(s, l, "old", 1), newSender(s, l, "recent", 2)
	fill(t, old, 100)
	if err := s.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	fill(t, recent, 100)
	archiveAll(t, s)
	before := s.Stats()
	if freed := trimmed(t, s, TrimPolicy{KeepFor: 2 * time.Hour}); freed != 0 {
		t.Fatalf("freed %d bytes that are young enough", freed)
	}
	minAge := func(topic string) time.Duration {
		if topic == "old" {
			return 3 * time.Hour
		}
		return 0
	}
	if freed := trimmed(t, s, TrimPolicy{KeepFor: time.Minute, MinAge: minAge}); freed != 0 {
		t.Fatalf("freed %d bytes of a topic that is kept for longer", freed)
	}
	if freed := trimmed(t, s, TrimPolicy{KeepBytes: before.Bytes + 1}); freed != 0 {
		t.Fatalf("freed %d bytes of a log that is small enough", freed)
	}
	if freed := trimmed(t, s, TrimPolicy{KeepBytes: before.Bytes - 1, KeepFor: 1000 * time.Hour}); freed == 0 {
		t.Fatal("freed nothing of a log that is too large")
	}
	trimmed(t, s, TrimPolicy{KeepFor: 30 * time.Minute})
	r, err := s.Range(t.Context(), testQueue("old", 0))
	if err != nil || !r.Empty() || r.To == 0 {
		t.Errorf("range of a queue of which all was trimmed: %v, %v", r, err)
	}
	if r, err := s.Range(t.Context(), testQueue("recent", 0)); err != nil || r.From != 0 {
		t.Errorf("range of the young queue: %v, %v", r, err)
	}
	// Offsets go on where they were.
	fill(t, old, 1)
}

// Readers that run while segments are trimmed and recycled under them see the
// right bytes or ErrTooLow.
func TestReadWhileTrimming(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{SegmentBytes: 8 << 10, CheckpointBytes: 16 << 10})
	defer closed(t, s)
	l := newLedger()
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for i := range 4 {
		readers.Go(func() {
			q := testQueue("t", int32(i%2))
			at := int64(0)
			for ctx.Err() == nil {
				b, err := s.Read(context.Background(), q, at, mq.Limit{Messages: 8})
				switch {
				case errors.Is(err, mq.ErrTooLow):
					r, _ := s.Range(ctx, q)
					at = r.From
				case errors.Is(err, mq.ErrNoQueue):
				case err != nil:
					t.Error(err)
					return
				case b.Next == at:
					at = b.Range.From
				}
				for r := range mq.Records(b.Body) {
					if p, err := parseBody(r.Body()); err != nil || p.off != r.QueueOffset() || p.id != q.ID {
						t.Errorf("%v: %+v at offset %d, %v", q, p, r.QueueOffset(), err)
						return
					}
				}
				at = max(at, b.Next)
				if _, err := s.OffsetAt(ctx, q, time.Now().UnixMilli(), mq.Upper); err != nil &&
					!errors.Is(err, mq.ErrNoQueue) && !errors.Is(err, context.Canceled) {
					t.Error(err)
					return
				}
			}
		})
	}
	w := newSender(s, l, "t", 9)
	for range 60 {
		fill(t, w, 20)
		archiveAll(t, s)
		trimmed(t, s, TrimPolicy{})
	}
	cancel()
	readers.Wait()
	if st := s.Stats(); st.Spares == 0 || st.Segments > 4 {
		t.Errorf("%d segments and %d spares left", st.Segments, st.Spares)
	}
	if err := verify(s, l, true); err != nil {
		t.Error(err)
	}
}

func TestDeleteTopic(t *testing.T) {
	for _, flush := range []FlushPolicy{FlushAsync, FlushSync} {
		fs := vfs.NewMem()
		o := Options{FS: fs, SegmentBytes: 8 << 10, Flush: flush}
		s := mustOpen(t, "/hot", o)
		l := newLedger()
		keep, w := newSender(s, l, "keep", 1), newSender(s, l, "gone", 2)
		fill(t, keep, 40)
		fill(t, w, 40)
		old, err := s.Read(t.Context(), testQueue("gone", 0), 0, mq.Limit{Messages: 1})
		if err != nil {
			t.Fatal(err)
		}
		w.deleteTopic(t)
		if _, err := s.Range(t.Context(), testQueue("gone", 0)); !errors.Is(err, mq.ErrNoQueue) {
			t.Fatalf("range of a deleted topic: %v", err)
		}
		fill(t, w, 30)
		fill(t, keep, 40)
		for range 2 {
			if err := verify(s, l, true); err != nil {
				t.Fatal(err)
			}
			rec := mq.Record(old.Body)
			if _, err := s.FindPhysical(t.Context(), "b", rec.PhysicalOffset()); !errors.Is(err, mq.ErrNotFound) {
				t.Fatalf("a deleted topic's record by position: %v", err)
			}
			key, _ := mq.Property(rec.Properties(), mq.PropUniqKey)
			if b, err := s.FindKey(t.Context(), mq.KeyQuery{Topic: "gone", Key: string(key)}); err != nil || b.Count != 0 {
				t.Fatalf("a deleted topic's record by key: %d, %v", b.Count, err)
			}
			checkTail(t, s, l)
			closed(t, s)
			s = mustOpen(t, "/hot", o)
		}
		archiveAll(t, s)
		trimmed(t, s, TrimPolicy{})
		if len(s.deletions()) != 0 {
			t.Errorf("deletions are kept for ever: %v", s.deletions())
		}
		closed(t, s)
	}
}

// checkTail follows the whole log with several limits and starting points and
// holds it against what the queues have.
func checkTail(t *testing.T, s *Store, l *ledger) {
	t.Helper()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var starts []int64
	for _, maxBytes := range []int{1, 700, 1 << 20} {
		next := make(map[mq.Queue]int64)
		tail := s.Tail(s.Stats().FirstPhysical)
		for {
			if err := tail.read(maxBytes); err != nil { // Next would wait at the end
				t.Fatal(err)
			}
			recs, n := tail.out, 0
			if len(recs) == 0 {
				break
			}
			for r := range mq.Records(recs) {
				q := testQueue(string(r.Topic()), r.QueueID())
				rng, err := s.Range(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				if r.QueueOffset() != max(next[q], rng.From) && r.QueueOffset() >= rng.From {
					t.Fatalf("%v: the tail gives offset %d, want %d", q, r.QueueOffset(), max(next[q], rng.From))
				}
				next[q] = r.QueueOffset() + 1
				starts = append(starts, r.PhysicalOffset())
				n++
			}
			if len(recs) > maxBytes && n > 1 {
				t.Fatalf("%d records in %d bytes, limit %d", n, len(recs), maxBytes)
			}
		}
		for q, end := range l.acked {
			if next[q] != end {
				t.Fatalf("%v: the tail ended at offset %d, acked up to %d", q, next[q], end)
			}
		}
		if err := tail.Close(); err != nil {
			t.Error(err)
		}
	}
	for i := 0; i < len(starts); i += 1 + len(starts)/20 {
		tail := s.Tail(starts[i])
		recs, _, err := tail.Next(t.Context(), 1)
		if r, _, rerr := mq.NextRecord(recs); err != nil || rerr != nil || r.PhysicalOffset() != starts[i] {
			t.Fatalf("a tail from position %d: %v, %v", starts[i], err, rerr)
		}
		tail.Close()
	}
}

func TestTail(t *testing.T) {
	s := mustOpen(t, "/hot", Options{FS: vfs.NewMem(), SegmentBytes: 8 << 10})
	l := newLedger()
	tail := s.Tail(0)
	defer tail.Close()
	got := make(chan error, 1)
	go func() {
		recs, _, err := tail.Next(t.Context(), 1000)
		if err == nil && len(recs) == 0 {
			err = errors.New("woken for nothing")
		}
		got <- err
	}()
	w := newSender(s, l, "t", 1)
	fill(t, w, 1)
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	fill(t, w, 200)
	checkTail(t, s, l)
	archiveAll(t, s)
	trimmed(t, s, TrimPolicy{})
	low := s.Tail(0)
	defer low.Close()
	if _, _, err := low.Next(t.Context(), 1); !errors.Is(err, ErrTrimmed) {
		t.Errorf("a tail from what was trimmed: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	end := s.Tail(s.Confirmed())
	defer end.Close()
	if _, _, err := end.Next(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("a tail at the end: %v", err)
	}
	go func() {
		_, _, err := end.Next(t.Context(), 1)
		got <- err
	}()
	closed(t, s)
	if err := <-got; !errors.Is(err, ErrClosed) {
		t.Errorf("a tail of a closed store: %v", err)
	}
}

func TestUnarchivedCountsWhatIsWanted(t *testing.T) {
	s := mustOpen(t, "/hot", Options{FS: vfs.NewMem()})
	defer closed(t, s)
	l := newLedger()
	orders, other := newSender(s, l, "orders", 2), newSender(s, l, "other", 2)
	fill(t, orders, 20)
	archiveAll(t, s)
	fill(t, orders, 7)
	fill(t, other, 5)
	n := s.Unarchived(func(string) bool { return true })
	if o := s.Unarchived(func(topic string) bool { return topic == "orders" }); n <= o || o == 0 {
		t.Errorf("%d messages are not archived, %d of one topic", n, o)
	}
	archiveAll(t, s)
	if n := s.Unarchived(func(string) bool { return true }); n != 0 {
		t.Errorf("%d messages are not archived of a log that is", n)
	}
}

// A clock that was a year ahead for a while doesn't keep the log from being
// trimmed for a year: what is stored afterwards is as old as its file.
func TestTrimAfterTheClockWasAhead(t *testing.T) {
	now := time.Now()
	s := mustOpen(t, t.TempDir(), Options{SegmentBytes: 8 << 10, Now: func() time.Time { return now }})
	defer closed(t, s)
	l := newLedger()
	w := newSender(s, l, "t", 1)
	now = now.AddDate(1, 0, 0)
	fill(t, w, 1)
	now = now.AddDate(-1, 0, 0)
	fill(t, w, 200)
	archiveAll(t, s)
	if freed := trimmed(t, s, TrimPolicy{KeepFor: time.Hour}); freed != 0 {
		t.Errorf("freed %d bytes that are young enough", freed)
	}
	now = now.Add(2 * time.Hour)
	if freed := trimmed(t, s, TrimPolicy{KeepFor: time.Hour}); freed == 0 {
		t.Error("freed nothing of what is two hours old, for its store times are a year ahead")
	}
	if err := verify(s, l, true); err != nil {
		t.Error(err)
	}
}
