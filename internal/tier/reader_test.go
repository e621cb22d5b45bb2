package tier

import (
	"context"
	"errors"
	"math/rand/v2"
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

func marks(cold *side) func(mq.Queue) int64 {
	return func(q mq.Queue) int64 {
		r, _ := cold.Range(context.Background(), q)
		return r.To
	}
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
				return NewReader(hot, cold, marks(cold)), in
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
	r := NewReader(hot, cold, func(mq.Queue) int64 { return 30 })
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
	r := NewReader(hot, cold, func(mq.Queue) int64 { return 60 })
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

func TestReadStopsAtTheBorder(t *testing.T) {
	hot, cold, q := fill(100)
	hot.show(q, mq.Range{From: 50, To: 100})
	r := NewReader(hot, cold, marks(cold))
	b, err := r.Read(t.Context(), q, 10, mq.Limit{})
	if err != nil || b.Next != 50 || b.Count != 40 || b.Range != (mq.Range{From: 0, To: 100}) {
		t.Errorf("%d records, next %d, range %v, %v", b.Count, b.Next, b.Range, err)
	}
}

func TestKeysComeOnceAndColdIsLeftAloneWhereHotIsEnough(t *testing.T) {
	hot, cold, q := fill(100)
	hot.show(q, mq.Range{From: 50, To: 100})
	cold.show(q, mq.Range{To: 70})
	r := NewReader(hot, cold, marks(cold))
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
	r := NewReader(hot, cold, func(mq.Queue) int64 { return mark.Load() })
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
