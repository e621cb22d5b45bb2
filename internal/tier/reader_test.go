package tier

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"varve/internal/mq"
	"varve/internal/mq/mqtest"
)

// both gives two sides with the same messages.
func both(in []mq.Message) (hot, cold *side) {
	hot, cold = newSide(), newSide()
	for i := range in {
		hot.add(mqtest.Broker, &in[i])
		cold.add(mqtest.Broker, &in[i])
	}
	return hot, cold
}

func marks(cold *side) func(mq.Queue) (int64, int64) {
	return func(q mq.Queue) (int64, int64) {
		r, _ := cold.Range(context.Background(), q)
		return r.To, 0
	}
}

func at(archived, dropped int64) Options {
	return Options{Marks: func(mq.Queue) (int64, int64) { return archived, dropped }}
}

func TestConformance(t *testing.T) {
	for name, shape := range map[string]func(hot, cold *side, q mq.Queue, n int64){
		"overlapping": func(hot, cold *side, q mq.Queue, n int64) {
			hot.show(q, mq.Range{From: n / 3, To: n})
			cold.show(q, mq.Range{To: n * 2 / 3})
		},
		"touching": func(hot, cold *side, q mq.Queue, n int64) {
			hot.show(q, mq.Range{From: n / 2, To: n})
			cold.show(q, mq.Range{To: n / 2})
		},
		"nothing cold": func(hot, cold *side, q mq.Queue, n int64) { cold.hide(q) },
		"nothing hot":  func(hot, cold *side, q mq.Queue, n int64) { hot.hide(q) },
		"hot empty":    func(hot, cold *side, q mq.Queue, n int64) { hot.show(q, mq.Range{From: n, To: n}) },
		"cold all removed": func(hot, cold *side, q mq.Queue, n int64) {
			hot.show(q, mq.Range{From: n / 2, To: n})
			cold.show(q, mq.Range{From: n, To: n})
		},
		"cold start cut": func(hot, cold *side, q mq.Queue, n int64) {
			hot.show(q, mq.Range{From: n / 2, To: n})
			cold.show(q, mq.Range{From: n / 4, To: n * 3 / 4})
		},
		"cold starts late": func(hot, cold *side, q mq.Queue, n int64) {
			hot.show(q, mq.Range{From: n / 4, To: n})
			cold.show(q, mq.Range{From: n / 2, To: n})
		},
	} {
		t.Run(name, func(t *testing.T) {
			mqtest.Run(t, func(t *testing.T, in []mq.Message) (mq.Reader, []mq.Message) {
				hot, cold := both(in)
				for q, recs := range hot.recs {
					shape(hot, cold, q, int64(len(recs)))
				}
				return NewReader(hot, cold, Options{Marks: marks(cold)}), in
			})
		})
	}
}

func fill(n int) (*side, *side, mq.Queue) {
	hot, cold := newSide(), newSide()
	for i := range n {
		m := mq.Message{Topic: "t", QueueOffset: int64(i), PhysicalOffset: int64(i) * 100, StoreTimeMillis: 1000 + int64(i/3), Properties: mq.AppendProperty(nil, mq.PropKeys, "k")}
		hot.add("b", &m)
		cold.add("b", &m)
	}
	return hot, cold, mq.Queue{Broker: "b", Topic: "t"}
}

func TestDroppedUnarchivedIsSteppedOver(t *testing.T) {
	hot, cold, q := fill(100)
	cold.show(q, mq.Range{To: 30})
	hot.show(q, mq.Range{From: 50, To: 100})
	r := NewReader(hot, cold, at(30, 50))
	b, err := r.Read(t.Context(), q, 30, mq.Limit{})
	if err != nil || b.Next != 50 || b.Count != 0 {
		t.Errorf("read in the hole: %+v, %v", b, err)
	}
	if b, err = r.Read(t.Context(), q, 29, mq.Limit{}); err != nil || b.Next != 30 || b.Count != 1 {
		t.Errorf("read before the hole: %+v, %v", b, err)
	}
}

func TestColdBehindIsAnErrorNotAGap(t *testing.T) {
	hot, cold, q := fill(100)
	cold.show(q, mq.Range{To: 30})
	hot.show(q, mq.Range{From: 50, To: 100})
	r := NewReader(hot, cold, at(60, 0))
	if _, err := r.Read(t.Context(), q, 30, mq.Limit{}); !errors.Is(err, ErrBehind) {
		t.Errorf("read: %v", err)
	}
	if _, err := r.OffsetAt(t.Context(), q, 1012, mq.Lower); !errors.Is(err, ErrBehind) {
		t.Errorf("search: %v", err)
	}
	if off, err := r.OffsetAt(t.Context(), q, 1020, mq.Lower); err != nil || off != 60 {
		t.Errorf("search above the border: %d, %v", off, err)
	}
}

func TestAHoleThatNobodyDeclaredIsAnError(t *testing.T) {
	hot, cold, q := fill(100)
	cold.show(q, mq.Range{To: 30})
	hot.show(q, mq.Range{From: 50, To: 100})
	for _, dropped := range []int64{0, 40} {
		r := NewReader(hot, cold, at(30, dropped))
		_, err := r.Read(t.Context(), q, 30, mq.Limit{})
		if !errors.Is(err, ErrHole) || !strings.Contains(err.Error(), "offsets 30 to 49 of t@b/0") {
			t.Errorf("dropped to %d, read in the hole: %v", dropped, err)
		}
		if _, err := r.OffsetAt(t.Context(), q, 1012, mq.Lower); !errors.Is(err, ErrHole) {
			t.Errorf("search: %v", err)
		}
		if b, err := r.Read(t.Context(), q, 29, mq.Limit{}); err != nil || b.Next != 30 {
			t.Errorf("read before the hole: %+v, %v", b, err)
		}
		if b, err := r.Read(t.Context(), q, 50, mq.Limit{}); err != nil || b.Next != 100 || b.Range.From != 0 {
			t.Errorf("read behind the hole: %+v, %v", b.Range, err)
		}
	}
}

// An older archive may lack a queue, or all that retention left of it.
func TestAnArchiveWithoutTheQueueIsAnErrorNotAnEarlyEnd(t *testing.T) {
	hot, cold, q := fill(100)
	hot.show(q, mq.Range{From: 50, To: 100})
	lacks := func(name string, want error, o Options) {
		t.Helper()
		r := NewReader(hot, cold, o)
		if w, err := r.Range(t.Context(), q); !errors.Is(err, want) {
			t.Errorf("%s: range %v, %v", name, w, err)
		}
		if _, err := r.Read(t.Context(), q, 10, mq.Limit{}); !errors.Is(err, want) || errors.Is(err, mq.ErrTooLow) {
			t.Errorf("%s: read: %v", name, err)
		}
		if b, err := r.Read(t.Context(), q, 60, mq.Limit{}); err != nil || b.Count != 40 {
			t.Errorf("%s: hot read: %d, %v", name, b.Count, err)
		}
	}
	cold.hide(q)
	lacks("archived", ErrBehind, at(60, 0))
	lacks("never archived", ErrHole, at(0, 20))
	r := NewReader(hot, cold, at(0, 50))
	if w, err := r.Range(t.Context(), q); err != nil || w.From != 50 {
		t.Errorf("all below was dropped: range %v, %v", w, err)
	}
	if _, err := r.Read(t.Context(), q, 10, mq.Limit{}); !errors.Is(err, mq.ErrTooLow) {
		t.Errorf("all below was dropped: %v", err)
	}
	cold.show(q, mq.Range{From: 30, To: 30})
	r = NewReader(hot, cold, at(60, 0))
	if w, err := r.Range(t.Context(), q); err != nil || w.From != 30 {
		t.Errorf("emptied by retention up to 30: range %v, %v", w, err)
	}
	if _, err := r.Read(t.Context(), q, 30, mq.Limit{}); !errors.Is(err, ErrBehind) {
		t.Errorf("emptied by retention up to 30: %v", err)
	}
}

// broken is a side that fails.
type broken struct {
	*side
	fail func(at int64) error
}

func (b broken) Range(ctx context.Context, q mq.Queue) (mq.Range, error) {
	if err := b.fail(-1); err != nil {
		return mq.Range{}, err
	}
	return b.side.Range(ctx, q)
}

func (b broken) Read(ctx context.Context, q mq.Queue, at int64, lim mq.Limit) (mq.Batch, error) {
	if err := b.fail(at); err != nil {
		return mq.Batch{}, err
	}
	return b.side.Read(ctx, q, at, lim)
}

func (b broken) FindPhysical(ctx context.Context, broker string, pos int64) (mq.Record, error) {
	rec, err := b.side.FindPhysical(ctx, broker, pos)
	if err == nil && b.fail(rec.QueueOffset()) != nil {
		return nil, b.fail(rec.QueueOffset())
	}
	return rec, err
}

func TestWithoutTheArchiveHotIsReadAndNothingIsSaidOfTheStart(t *testing.T) {
	hot, cold, q := fill(100)
	hot.show(q, mq.Range{From: 50, To: 100})
	away := errors.New("bucket is away")
	r := NewReader(hot, broken{cold, func(int64) error { return away }}, at(60, 0))
	if b, err := r.Read(t.Context(), q, 50, mq.Limit{}); err != nil || b.Count != 50 || b.Range != (mq.Range{To: 100}) {
		t.Errorf("hot read: %d, range %v, %v", b.Count, b.Range, err)
	}
	if w, err := r.Range(t.Context(), q); !errors.Is(err, away) {
		t.Errorf("range %v, %v", w, err)
	}
	if _, err := r.Read(t.Context(), q, 49, mq.Limit{}); !errors.Is(err, away) {
		t.Errorf("cold read: %v", err)
	}
	if _, err := r.OffsetAt(t.Context(), q, 1002, mq.Lower); !errors.Is(err, away) {
		t.Errorf("search below the border: %v", err)
	}
	if off, err := r.OffsetAt(t.Context(), q, 1020, mq.Lower); err != nil || off != 60 {
		t.Errorf("search above the border: %d, %v", off, err)
	}
	if off, err := r.OffsetAt(t.Context(), q, math.MaxInt64, mq.Upper); err != nil || off != 99 {
		t.Errorf("the last: %d, %v", off, err)
	}
}

func TestColdStandsInForDamagedHot(t *testing.T) {
	hot, cold, q := fill(100)
	rot := errors.New("log: file 1 at position 2: bad checksum")
	bad := map[int64]bool{20: true, 70: true}
	cold.show(q, mq.Range{To: 60})
	var log bytes.Buffer
	r := NewReader(broken{hot, func(at int64) error {
		if bad[at] {
			return rot
		}
		return nil
	}}, cold, Options{
		Marks: func(mq.Queue) (int64, int64) { return 60, 0 }, Damaged: func(err error) bool { return errors.Is(err, rot) },
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	for range 3 {
		b, err := r.Read(t.Context(), q, 20, mq.Limit{Messages: 10})
		if err != nil || b.Count != 10 || b.Next != 30 || b.Range != (mq.Range{To: 100}) {
			t.Errorf("%d records to %d, range %v, %v", b.Count, b.Next, b.Range, err)
		}
	}
	if r.StoodIn() != 3 {
		t.Errorf("%d reads counted", r.StoodIn())
	}
	if n := strings.Count(log.String(), "position 2"); n != 1 || !strings.Contains(log.String(), "offset=20") {
		t.Errorf("%d lines: %s", n, log.String())
	}
	if _, err := r.Read(t.Context(), q, 70, mq.Limit{}); !errors.Is(err, rot) {
		t.Errorf("where the archive has nothing: %v", err)
	}
	at := func(off int64) int64 { return hot.recs[q][off].PhysicalOffset() }
	if rec, err := r.FindPhysical(t.Context(), q.Broker, at(20)); err != nil || rec.QueueOffset() != 20 || r.StoodIn() != 4 {
		t.Errorf("by position: %v, %d counted", err, r.StoodIn())
	}
	if _, err := r.FindPhysical(t.Context(), q.Broker, at(70)); !errors.Is(err, rot) {
		t.Errorf("by position, where the archive has nothing: %v", err)
	}
}

func TestReadStopsAtTheBorder(t *testing.T) {
	hot, cold, q := fill(100)
	hot.show(q, mq.Range{From: 50, To: 100})
	r := NewReader(hot, cold, Options{Marks: marks(cold)})
	b, err := r.Read(t.Context(), q, 10, mq.Limit{})
	if err != nil || b.Next != 50 || b.Count != 40 || b.Range != (mq.Range{From: 0, To: 100}) {
		t.Errorf("%d records, next %d, range %v, %v", b.Count, b.Next, b.Range, err)
	}
}

func TestKeysComeOnceAndColdIsLeftAloneWhereHotIsEnough(t *testing.T) {
	hot, cold, q := fill(100)
	hot.show(q, mq.Range{From: 50, To: 100})
	cold.show(q, mq.Range{To: 70})
	r := NewReader(hot, cold, Options{Marks: marks(cold)})
	b, err := r.FindKey(t.Context(), mq.KeyQuery{Topic: "t", Key: "k"})
	if err != nil || b.Count != 100 {
		t.Errorf("%d records, %v", b.Count, err)
	}
	next := int64(99)
	for rec := range mq.Records(b.Body) {
		if rec.QueueOffset() != next {
			t.Fatalf("offset %d, want %d", rec.QueueOffset(), next)
		}
		next--
	}
}

// While the border climbs and the archive's start follows it, readers at every
// place see each offset once, and searches by time are exact.
func TestMovingBorder(t *testing.T) {
	const n = 3000
	hot, cold, q := fill(n)
	cold.show(q, mq.Range{})
	var mark atomic.Int64
	r := NewReader(hot, cold, Options{Marks: func(mq.Queue) (int64, int64) { return mark.Load(), 0 }})
	var wg sync.WaitGroup
	var done atomic.Bool
	wg.Go(func() {
		defer done.Store(true)
		rng := rand.New(rand.NewPCG(1, 1))
		for border := int64(0); border < n; {
			to := min(n, border+1+rng.Int64N(40))
			cold.show(q, mq.Range{To: to}) // commit
			mark.Store(to)
			border += rng.Int64N(to - border + 1)
			hot.show(q, mq.Range{From: border, To: n}) // trim
		}
	})
	for g := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(2, uint64(g)))
			for !done.Load() {
				at := rng.Int64N(n)
				for range 20 {
					b, err := r.Read(t.Context(), q, at, mq.Limit{Messages: 1 + rng.IntN(50)})
					if err != nil {
						t.Errorf("read at %d: %v", at, err)
						return
					}
					for rec := range mq.Records(b.Body) {
						if rec.QueueOffset() != at {
							t.Errorf("got offset %d, want %d", rec.QueueOffset(), at)
							return
						}
						at++
					}
					if b.Next != at {
						t.Errorf("next %d after %d", b.Next, at)
						return
					}
				}
				i := rng.Int64N(n)
				lo, err1 := r.OffsetAt(t.Context(), q, 1000+i/3, mq.Lower)
				hi, err2 := r.OffsetAt(t.Context(), q, 1000+i/3, mq.Upper)
				if err1 != nil || err2 != nil || lo != i/3*3 || hi != min(n-1, i/3*3+2) {
					t.Errorf("time of %d: lower %d (%v), upper %d (%v)", i, lo, err1, hi, err2)
					return
				}
			}
		})
	}
	wg.Wait()
}
