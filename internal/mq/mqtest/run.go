package mqtest

import (
	"context"
	"errors"
	"slices"
	"testing"

	"varve/internal/mq"
)

// Factory stores messages in their order and gives a reader of them, and the
// messages as stored. The reader belongs to the suite until the test's cleanup.
type Factory func(t *testing.T, in []mq.Message) (mq.Reader, []mq.Message)

// Run holds a Reader, and a Finder if it is one, to the contract.
func Run(t *testing.T, f Factory) {
	t.Helper()
	in := Messages()
	r, stored := f(t, slices.Clone(in))
	s := newSuite(t, r, in, stored)
	t.Run("Range", s.ranges)
	t.Run("NoQueue", s.noQueue)
	t.Run("ReadLimits", s.readLimits)
	t.Run("ReadEnds", s.readEnds)
	t.Run("ReadEachOffset", s.readEachOffset)
	t.Run("Filters", s.filters)
	t.Run("BodyIsOwned", s.bodyIsOwned)
	t.Run("OffsetAt", s.offsetAt)
	t.Run("Concurrent", s.concurrent)
	if fd, ok := r.(mq.Finder); ok {
		t.Run("FindPhysical", func(t *testing.T) { s.findPhysical(t, fd) })
		t.Run("FindKey", func(t *testing.T) { s.findKey(t, fd) })
	}
}

type suite struct {
	r      mq.Reader
	all    []mq.Message
	queues []mq.Queue
	msgs   map[mq.Queue][]mq.Message
	recs   map[mq.Queue][]mq.Record
}

func newSuite(t *testing.T, r mq.Reader, in, stored []mq.Message) *suite {
	t.Helper()
	if len(in) != len(stored) {
		t.Fatalf("the factory stored %d of %d messages", len(stored), len(in))
	}
	s := &suite{
		r: r, all: stored,
		msgs: make(map[mq.Queue][]mq.Message), recs: make(map[mq.Queue][]mq.Record),
	}
	for i := range stored {
		want := in[i]
		want.PhysicalOffset = stored[i].PhysicalOffset
		rec := mq.Record(mq.AppendRecord(nil, &stored[i]))
		if string(rec) != string(mq.AppendRecord(nil, &want)) {
			t.Fatalf("message %d was stored as %+v, was given as %+v", i, stored[i], want)
		}
		q := mq.Queue{Broker: Broker, Topic: want.Topic, ID: want.QueueID}
		if s.msgs[q] == nil {
			s.queues = append(s.queues, q)
		}
		s.msgs[q] = append(s.msgs[q], stored[i])
		s.recs[q] = append(s.recs[q], rec)
	}
	return s
}

// rangeOf asks for the range: a tier may hold the upper part of a queue only.
func (s *suite) rangeOf(t *testing.T, q mq.Queue) mq.Range {
	t.Helper()
	r, err := s.r.Range(t.Context(), q)
	if err != nil {
		t.Fatalf("Range(%v): %v", q, err)
	}
	return r
}

func (s *suite) ranges(t *testing.T) {
	for _, q := range s.queues {
		r := s.rangeOf(t, q)
		if r.From < 0 || r.From > r.To || r.To != int64(len(s.msgs[q])) {
			t.Errorf("Range(%v) = %v, want an end of %d", q, r, len(s.msgs[q]))
		}
	}
}

func (s *suite) noQueue(t *testing.T) {
	for _, q := range []mq.Queue{
		{Broker: Broker, Topic: "never", ID: 0},
		{Broker: Broker, Topic: orders, ID: 77},
		{Broker: "other", Topic: orders, ID: 0},
	} {
		if _, err := s.r.Range(t.Context(), q); !errors.Is(err, mq.ErrNoQueue) {
			t.Errorf("Range(%v): %v, want ErrNoQueue", q, err)
		}
		if b, err := s.r.Read(t.Context(), q, 0, mq.Limit{}); !errors.Is(err, mq.ErrNoQueue) || len(b.Body) > 0 {
			t.Errorf("Read(%v): %v, want ErrNoQueue", q, err)
		}
		if _, err := s.r.OffsetAt(t.Context(), q, baseMillis, mq.Lower); !errors.Is(err, mq.ErrNoQueue) {
			t.Errorf("OffsetAt(%v): %v, want ErrNoQueue", q, err)
		}
	}
}

func (s *suite) readLimits(t *testing.T) {
	for _, lim := range []mq.Limit{
		{},
		{Messages: 1},
		{Messages: 7},
		{Messages: 32},
		{Messages: 1 << 30},
		{Bytes: 1},
		{Bytes: 1000},
		{Bytes: 64 << 10},
		{Scan: 1},
		{Scan: 100},
		{Messages: 5, Bytes: 2000, Scan: 50},
	} {
		for _, q := range s.queues {
			s.readAll(t, q, lim, func(mq.Record) bool { return true })
		}
	}
}

// readAll reads a queue from its start to its end and checks each batch.
func (s *suite) readAll(t *testing.T, q mq.Queue, lim mq.Limit, keep func(mq.Record) bool) {
	t.Helper()
	r := s.rangeOf(t, q)
	for at := r.From; at < r.To; {
		b, err := s.r.Read(t.Context(), q, at, lim)
		if err != nil {
			t.Fatalf("Read(%v, %d, %+v): %v", q, at, lim, err)
		}
		if b.Next <= at || b.Next > r.To {
			t.Fatalf("Read(%v, %d, %+v): next %d", q, at, lim, b.Next)
		}
		if b.Range != r {
			t.Fatalf("Read(%v, %d, %+v): range %v, want %v", q, at, lim, b.Range, r)
		}
		s.checkBatch(t, q, at, lim, b, keep)
		at = b.Next
	}
}

func (s *suite) checkBatch(t *testing.T, q mq.Queue, at int64, lim mq.Limit, b mq.Batch, keep func(mq.Record) bool) {
	t.Helper()
	var want []byte
	count := 0
	for off := at; off < b.Next; off++ {
		if rec := s.recs[q][off]; keep(rec) {
			want = append(want, rec...)
			count++
		}
	}
	if string(b.Body) != string(want) || b.Count != count {
		t.Fatalf("Read(%v, %d, %+v): %d records in %d bytes up to %d, want %d in %d with the same bytes",
			q, at, lim, b.Count, len(b.Body), b.Next, count, len(want))
	}
	if lim.Messages > 0 && b.Count > lim.Messages {
		t.Fatalf("Read(%v, %d, %+v): %d records", q, at, lim, b.Count)
	}
	if lim.Bytes > 0 && len(b.Body) > lim.Bytes && b.Count > 1 {
		t.Fatalf("Read(%v, %d, %+v): %d records in %d bytes", q, at, lim, b.Count, len(b.Body))
	}
	if lim.Scan > 0 && b.Next-at > int64(lim.Scan) {
		t.Fatalf("Read(%v, %d, %+v): looked at %d offsets", q, at, lim, b.Next-at)
	}
}

func (s *suite) readEnds(t *testing.T) {
	for _, q := range s.queues {
		r := s.rangeOf(t, q)
		b, err := s.r.Read(t.Context(), q, r.To, mq.Limit{})
		if err != nil || b.Next != r.To || b.Count != 0 || len(b.Body) != 0 || b.Range != r {
			t.Errorf("Read(%v) at the end %d: %+v, %v", q, r.To, b, err)
		}
		for _, at := range []int64{r.To + 1, r.To + 1<<40} {
			if b, err := s.r.Read(t.Context(), q, at, mq.Limit{}); !errors.Is(err, mq.ErrTooHigh) || b.Count != 0 {
				t.Errorf("Read(%v, %d) beyond %v: %v, want ErrTooHigh", q, at, r, err)
			}
		}
		for _, at := range []int64{r.From - 1, -1} {
			if b, err := s.r.Read(t.Context(), q, at, mq.Limit{}); !errors.Is(err, mq.ErrTooLow) || b.Count != 0 {
				t.Errorf("Read(%v, %d) below %v: %v, want ErrTooLow", q, at, r, err)
			}
		}
	}
}

func (s *suite) readEachOffset(t *testing.T) {
	for _, q := range s.queues {
		r := s.rangeOf(t, q)
		lim := mq.Limit{Messages: 2}
		for at := r.From; at < r.To; at++ {
			b, err := s.r.Read(t.Context(), q, at, lim)
			if err != nil || b.Count == 0 {
				t.Fatalf("Read(%v, %d): %d records, %v", q, at, b.Count, err)
			}
			s.checkBatch(t, q, at, lim, b, func(mq.Record) bool { return true })
		}
	}
}

// tagFilter keeps the records of one tag, as the broker's filter does.
type tagFilter struct{ tag string }

func (f tagFilter) MatchTag(hash int64) bool { return hash == mq.TagHash(f.tag) }

func (f tagFilter) MatchRecord(r mq.Record) bool {
	v, _ := mq.Property(r.Properties(), mq.PropTags)
	return string(v) == f.tag
}

// recordFilter decides on the record alone.
type recordFilter struct{ keep func(mq.Record) bool }

func (f recordFilter) MatchTag(int64) bool            { return true }
func (f recordFilter) MatchRecord(rec mq.Record) bool { return f.keep(rec) }

func (s *suite) filters(t *testing.T) {
	third := recordFilter{func(r mq.Record) bool { return r.QueueOffset()%3 == 0 }}
	none := recordFilter{func(mq.Record) bool { return false }}
	for _, f := range []mq.Filter{tagFilter{"red"}, tagFilter{"𝄞"}, tagFilter{"nobody's"}, third, none} {
		for _, lim := range []mq.Limit{{}, {Messages: 3}, {Bytes: 700}, {Scan: 11}, {Messages: 2, Scan: 40}} {
			lim.Filter = f
			for _, q := range s.queues {
				s.readAll(t, q, lim, f.MatchRecord)
			}
		}
	}
}

func (s *suite) bodyIsOwned(t *testing.T) {
	q := s.queues[0]
	at := s.rangeOf(t, q).From
	for range 2 {
		b, err := s.r.Read(t.Context(), q, at, mq.Limit{Messages: 4})
		if err != nil {
			t.Fatal(err)
		}
		s.checkBatch(t, q, at, mq.Limit{}, b, func(mq.Record) bool { return true })
		for i := range b.Body {
			b.Body[i] = 0xee
		}
	}
}

func (s *suite) offsetAt(t *testing.T) {
	for _, q := range s.queues {
		r := s.rangeOf(t, q)
		msgs := s.msgs[q]
		times := []int64{0, baseMillis - 1, msgs[len(msgs)-1].StoreTimeMillis + 1, 1 << 50}
		step := max(1, len(msgs)/100)
		for i := 0; i < len(msgs); i += step {
			at := msgs[i].StoreTimeMillis
			times = append(times, at-1, at, at+1)
		}
		for _, at := range times {
			s.checkOffsetAt(t, q, r, at)
		}
	}
}

func (s *suite) checkOffsetAt(t *testing.T, q mq.Queue, r mq.Range, at int64) {
	t.Helper()
	lower, upper := r.To, r.From
	for off := r.To - 1; off >= r.From; off-- {
		if s.msgs[q][off].StoreTimeMillis >= at {
			lower = off
		}
	}
	for off := r.From; off < r.To; off++ {
		if s.msgs[q][off].StoreTimeMillis <= at {
			upper = off
		}
	}
	for b, want := range map[mq.Bound]int64{mq.Lower: lower, mq.Upper: upper} {
		if got, err := s.r.OffsetAt(t.Context(), q, at, b); err != nil || got != want {
			t.Fatalf("OffsetAt(%v, %d, bound %d) = %d, %v, want %d of %v", q, at, b, got, err, want, r)
		}
	}
}

func (s *suite) concurrent(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	errs := make(chan error)
	const readers = 8
	for n := range readers {
		go func() {
			q := s.queues[n%len(s.queues)]
			r, err := s.r.Range(ctx, q)
			for at := r.From; err == nil && at < r.To; {
				var b mq.Batch
				if b, err = s.r.Read(ctx, q, at, mq.Limit{Messages: 16}); err != nil {
					break
				}
				for rec := range mq.Records(b.Body) {
					if string(rec) != string(s.recs[q][rec.QueueOffset()]) {
						err = errors.New("a concurrent reader got another record")
					}
				}
				at = b.Next
			}
			errs <- err
		}()
	}
	for range readers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
