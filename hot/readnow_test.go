package hot

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
	"varve/internal/mq/mqtest"
)

// impatient reads without waiting first.
type impatient struct {
	*Store
	t *testing.T
}

func (r impatient) Read(ctx context.Context, q mq.Queue, at int64, lim mq.Limit) (mq.Batch, error) {
	now := lim
	now.NoWait = true
	got, err := r.Store.Read(ctx, q, at, now)
	if !errors.Is(err, mq.ErrWouldWait) {
		return got, err
	}
	if got.Body != nil || got.Count != 0 {
		r.t.Errorf("Read(%v, %d): %d messages beside %v", q, at, got.Count, err)
	}
	return r.Store.Read(ctx, q, at, lim)
}

func TestReaderWithoutWaiting(t *testing.T) {
	for name, o := range map[string]Options{
		"memory": {FS: vfs.NewMem(), SegmentBytes: 64 << 10},
		"disk":   {SegmentBytes: 256 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mqtest.Run(t, func(t *testing.T, in []mq.Message) (mq.Reader, []mq.Message) {
				s, out := stored(t, o, dir, in, false)
				if err := s.checkpoint(); err != nil {
					t.Fatal(err)
				}
				return impatient{s, t}, out
			})
		})
	}
}

// A read that needs an index block from the disk waits for it where it may,
// and says so where it may not. After that the block is there.
func TestReadThatWouldWait(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{})
	defer closed(t, s)
	q := testQueue("waits", 0)
	for i := range 1100 { // two full blocks of the index
		m := &mq.Message{Topic: q.Topic, Body: fmt.Appendf(nil, "%d", i)}
		if _, err := s.Append(t.Context(), []*mq.Message{m}); err != nil {
			t.Fatal(err)
		}
	}
	lim := mq.Limit{Messages: 32, Lend: true, NoWait: true}
	b, err := s.Read(t.Context(), q, 0, lim)
	if err != nil || b.Count != 32 {
		t.Fatalf("with the index in memory: %d messages, %v", b.Count, err)
	}
	b.Release()
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	if b, err = s.Read(t.Context(), q, 0, lim); !errors.Is(err, mq.ErrWouldWait) || b.Body != nil {
		t.Fatalf("with the index on the disk: %d messages, %v", b.Count, err)
	}
	lim.NoWait = false
	if b, err = s.Read(t.Context(), q, 0, lim); err != nil || b.Count != 32 {
		t.Fatalf("waiting: %d messages, %v", b.Count, err)
	}
	b.Release()
	lim.NoWait = true
	if b, err = s.Read(t.Context(), q, 32, lim); err != nil || b.Count != 32 {
		t.Fatalf("after somebody waited: %d messages, %v", b.Count, err)
	}
	b.Release()
}
