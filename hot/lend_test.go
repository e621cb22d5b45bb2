package hot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
	"varve/internal/mq/mqtest"
)

func init() { poisonReturned = true }

// borrower reads with lent bodies and gives each back once it has a copy.
type borrower struct {
	*Store
	t *testing.T
}

func (b borrower) Read(ctx context.Context, q mq.Queue, at int64, lim mq.Limit) (mq.Batch, error) {
	lim.Lend = true
	got, err := b.Store.Read(ctx, q, at, lim)
	if err != nil && got.Free != nil {
		b.t.Errorf("Read(%v, %d): a body to give back beside %v", q, at, err)
	}
	own := got
	own.Body, own.Free = bytes.Clone(got.Body), nil
	// Others read and give back meanwhile: none of them may touch this body.
	for range 3 {
		if next, err := b.Store.Read(ctx, q, at, lim); err == nil {
			next.Release()
		}
	}
	if !bytes.Equal(own.Body, got.Body) {
		b.t.Errorf("Read(%v, %d): the body changed before it was given back", q, at)
	}
	got.Release()
	got.Release() // the second time does nothing
	return own, err
}

func TestReaderWithLentBodies(t *testing.T) {
	mqtest.Run(t, func(t *testing.T, in []mq.Message) (mq.Reader, []mq.Message) {
		s, out := stored(t, Options{FS: vfs.NewMem(), SegmentBytes: 64 << 10}, "/hot", in, false)
		return borrower{s, t}, out
	})
}

// A body of any size is right, lent or not, and one that nobody asked to lend
// can't be given back.
func TestLentBodySizes(t *testing.T) {
	s := mustOpen(t, "/hot", Options{FS: vfs.NewMem()})
	defer closed(t, s)
	q := testQueue("sizes", 0)
	var want [][]byte
	for _, n := range []int{0, 100, minLent, 9000, 60_000, maxLent, 3 * maxLent} {
		m := &mq.Message{Topic: q.Topic, Body: bytes.Repeat([]byte{byte(n)}, n)}
		if _, err := s.Append(t.Context(), []*mq.Message{m}); err != nil {
			t.Fatal(err)
		}
		want = append(want, m.Body)
	}
	all := keepAll{}
	for _, lim := range []mq.Limit{{}, {Messages: 1}, {Messages: 3}, {Bytes: 70_000}, {Filter: all}, {Filter: all, Messages: 4}} {
		for _, lim.Lend = range []bool{false, true} {
			for at := int64(0); at < int64(len(want)); {
				b, err := s.Read(t.Context(), q, at, lim)
				if err != nil {
					t.Fatal(err)
				}
				if b.Free != nil && !lim.Lend {
					t.Errorf("%+v at %d: lent", lim, at)
				}
				for rec := range mq.Records(b.Body) {
					if !bytes.Equal(rec.Body(), want[rec.QueueOffset()]) {
						t.Errorf("%+v at %d: another body at offset %d", lim, at, rec.QueueOffset())
					}
				}
				b.Release()
				at = b.Next
			}
		}
	}
}

// keepAll keeps all and so has each record copied by itself.
type keepAll struct{}

func (keepAll) MatchTag(int64) bool        { return true }
func (keepAll) MatchRecord(mq.Record) bool { return true }

// What was given back is poisoned, and lent again: a reader that never gives
// back gets memory of its own each time.
func TestReturnedBodyIsPoisoned(t *testing.T) {
	s := mustOpen(t, "/hot", Options{FS: vfs.NewMem()})
	defer closed(t, s)
	q := testQueue("poison", 0)
	if _, err := s.Append(t.Context(), []*mq.Message{{Topic: q.Topic, Body: make([]byte, 50_000)}}); err != nil {
		t.Fatal(err)
	}
	b, err := s.Read(t.Context(), q, 0, mq.Limit{Lend: true})
	if err != nil || b.Free == nil {
		t.Fatalf("nothing lent: %v", err)
	}
	stale := b.Body
	b.Release()
	if b.Body != nil || !bytes.Equal(stale, bytes.Repeat([]byte{poison}, len(stale))) {
		t.Error("a body that was given back is still there")
	}
}

// Readers that give back, readers that don't, and appends, all at once.
func TestLentBodiesBesideAppends(t *testing.T) {
	s := mustOpen(t, "/hot", Options{FS: vfs.NewMem(), SegmentBytes: 256 << 10})
	defer closed(t, s)
	a := watchArrivals(s)
	const messages, queues = 2000, 4
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range messages {
			m := &mq.Message{Topic: "lent", QueueID: int32(i % queues), Body: bytes.Repeat([]byte{byte(i / queues)}, 500+i)}
			if _, err := s.Append(t.Context(), []*mq.Message{m}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for n := range 2 * queues {
		wg.Go(func() {
			if err := followLent(t.Context(), s, a, testQueue("lent", int32(n%queues)), messages/queues, n < queues); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func followLent(ctx context.Context, s *Store, a *arrivals, q mq.Queue, end int64, giveBack bool) error {
	seen := a.after(0)
	for at := int64(0); at < end; {
		b, err := s.Read(ctx, q, at, mq.Limit{Messages: 32, Lend: giveBack})
		if errors.Is(err, mq.ErrNoQueue) || err == nil && b.Next == at {
			seen = a.after(seen)
			continue
		}
		if err != nil {
			return err
		}
		for rec := range mq.Records(b.Body) {
			body := rec.Body()
			if rec.QueueOffset() != at || !bytes.Equal(body, bytes.Repeat([]byte{byte(at)}, len(body))) || len(body) < 500 {
				return fmt.Errorf("queue %d: offset %d of %d bytes where %d was due", q.ID, rec.QueueOffset(), len(body), at)
			}
			at++
		}
		b.Release()
	}
	return nil
}
