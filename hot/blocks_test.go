package hot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"varve/internal/mq"
	"varve/internal/mq/mqtest"
)

// The suite through a cache whose blocks are small enough for its log, some of
// its records in one, many in two, a few in none.
func TestReaderThroughBlocks(t *testing.T) {
	for _, size := range []int64{300, 1 << 10, 5000} {
		for _, segment := range []int64{64 << 10, 1 << 20} {
			t.Run(fmt.Sprintf("blocks of %d in segments of %d", size, segment), func(t *testing.T) {
				mqtest.Run(t, func(t *testing.T, in []mq.Message) (mq.Reader, []mq.Message) {
					s, out := stored(t, Options{FS: vfs.NewMem(), SegmentBytes: segment}, "/hot", in, false)
					s.blocks.size = size
					t.Cleanup(func() {
						if n := len(s.blocks.slots); n < fewBlocks {
							t.Errorf("only %d blocks were used", n)
						}
						unpinned(t, s)
					})
					return borrower{s, t}, out
				})
			})
		}
	}
}

func unpinned(t *testing.T, s *Store) {
	t.Helper()
	s.blocks.mu.Lock()
	defer s.blocks.mu.Unlock()
	for _, b := range s.blocks.slots {
		if b.refs != 0 {
			t.Errorf("block %d: %d users after the last one", b.no, b.refs)
		}
	}
}

// blockStore has 100 messages of 100 bytes in blocks of 1 KiB.
func blockStore(t *testing.T, fs vfs.FS) (*Store, mq.Queue, []Placed) {
	t.Helper()
	s := mustOpen(t, "/hot", Options{FS: fs})
	t.Cleanup(func() { closed(t, s) })
	s.blocks.size = 1 << 10
	var placed []Placed
	for i := range 100 {
		placed = append(placed, appendOne(t, s, i))
	}
	return s, testQueue("t", 0), placed
}

func appendOne(t *testing.T, s *Store, i int) Placed {
	t.Helper()
	p, err := s.Append(t.Context(), []*mq.Message{{Topic: "t", Body: bytes.Repeat([]byte{byte(i)}, 100)}})
	if err != nil {
		t.Fatal(err)
	}
	return p[0]
}

// sees reads from an offset on and wants the messages up to another.
func sees(t *testing.T, s *Store, q mq.Queue, from, to int64) {
	t.Helper()
	b, err := s.Read(t.Context(), q, from, mq.Limit{})
	if err != nil || b.Next != to || int64(b.Count) != to-from {
		t.Fatalf("reading from %d: %d messages up to %d, %v; want up to %d", from, b.Count, b.Next, err, to)
	}
	for r := range mq.Records(b.Body) {
		if r.QueueOffset() != from || r.Body()[0] != byte(from) || r.Check(true) != nil {
			t.Fatalf("offset %d with body %d where %d was due", r.QueueOffset(), r.Body()[0], from)
		}
		from++
	}
}

// What the cache has is not read again, and a reader of few messages reads the
// file for them alone.
func TestBlocksSpareReads(t *testing.T) {
	reads := 0
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileReadAt && isLog(op.Path) {
			reads++
		}
		return nil
	}))
	s, q, _ := blockStore(t, fs)
	if _, err := s.Read(t.Context(), q, 50, mq.Limit{Messages: 2}); err != nil || len(s.blocks.byNo) != 0 {
		t.Errorf("two messages took %d blocks into the cache, %v", len(s.blocks.byNo), err)
	}
	sees(t, s, q, 0, 100)
	had := len(s.blocks.byNo)
	if had < 10 {
		t.Fatalf("%d blocks of the whole queue", had)
	}
	sees(t, s, q, 0, 100) // there are more of them than fewBlocks
	had = len(s.blocks.byNo)
	reads = 0
	sees(t, s, q, 0, 100)
	if reads > 2 { // the parts of a block at either end
		t.Errorf("%d reads of the file for what was just read", reads)
	}
	s.blocks.sweep()
	if len(s.blocks.byNo) != had {
		t.Error("blocks that were just used are gone")
	}
	s.blocks.sweep()
	if len(s.blocks.byNo) != 0 || len(s.blocks.slots) != 0 {
		t.Error("idle blocks keep their memory")
	}
	sees(t, s, q, 0, 100)
}

func isLog(path string) bool {
	return len(path) > len(logSuffix) && path[len(path)-len(logSuffix):] == logSuffix
}

// A block is taken only when all of it is confirmed: what is appended behind a
// read is seen by the next.
func TestBlocksAtTheEnd(t *testing.T) {
	s, q, _ := blockStore(t, vfs.NewMem())
	for i := 100; i < 250; i++ {
		appendOne(t, s, i)
		sees(t, s, q, 0, int64(i+1))
		sees(t, s, q, int64(i-3), int64(i+1))
		for no := range s.blocks.byNo {
			if end := (no + 1) * s.blocks.size; end > s.Confirmed() {
				t.Fatalf("a block up to %d of a log confirmed up to %d", end, s.Confirmed())
			}
		}
	}
	unpinned(t, s)
}

// Memory that went bad is not taken for the log, and a bad record in the file
// stays where it is: what is before and behind it is read.
func TestBlocksAndBadRecords(t *testing.T) {
	mem := vfs.NewMem()
	s, q, placed := blockStore(t, mem)
	sees(t, s, q, 0, 100)
	for _, b := range s.blocks.byNo {
		b.data[len(b.data)/2] ^= 1
	}
	sees(t, s, q, 0, 100)
	sees(t, s, q, 0, 100)

	flip(t, mem, s.files.segs[0].path, placed[60].PhysicalOffset+20)
	s.blocks.sweep()
	s.blocks.sweep()
	for range 2 {
		sees(t, s, q, 0, 60)
		sees(t, s, q, 40, 60)
		if _, err := s.Read(t.Context(), q, 60, mq.Limit{}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("reading the bad record: %v", err)
		}
		sees(t, s, q, 61, 100)
	}
	flip(t, mem, s.files.segs[0].path, placed[60].PhysicalOffset+20)
	sees(t, s, q, 0, 100) // it is well again, and so is the answer
	unpinned(t, s)
}

// A file that can't be read is an error, and none once it can be read again.
func TestBlocksAfterReadErrors(t *testing.T) {
	f := &logFault{err: syscall.EIO, kind: []errorfs.OpKind{errorfs.OpFileReadAt}}
	s, q, _ := blockStore(t, f.wrap(vfs.NewMem()))
	f.on.Store(true)
	if _, err := s.Read(t.Context(), q, 0, mq.Limit{}); !errors.Is(err, syscall.EIO) {
		t.Errorf("reading a file that can't be read: %v", err)
	}
	f.on.Store(false)
	sees(t, s, q, 0, 100)
	sees(t, s, q, 0, 100) // now all of it has room
	f.on.Store(true)
	if b, err := s.Read(t.Context(), q, 20, mq.Limit{Messages: 30}); err != nil || b.Count != 30 {
		t.Errorf("what the cache has while the file can't be read: %d messages, %v", b.Count, err)
	}
	f.on.Store(false)
	unpinned(t, s)
}

// Readers of several queues and groups beside appends and trims: each sees its
// queue's messages in order, or that they were trimmed.
func TestBlocksBesideAppendsAndTrims(t *testing.T) {
	s := mustOpen(t, "/hot", Options{FS: vfs.NewMem(), SegmentBytes: 32 << 10})
	defer closed(t, s)
	s.blocks.size = 512
	a := watchArrivals(s)
	const messages, queues = 6000, 3
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range messages {
			m := &mq.Message{Topic: "t", QueueID: int32(i % queues), Body: bytes.Repeat([]byte{byte(i / queues)}, i%400+1)}
			if _, err := s.Append(t.Context(), []*mq.Message{m}); err != nil {
				t.Error(err)
				return
			}
			if i%500 == 499 {
				if _, err := s.Trim(t.Context(), TrimPolicy{KeepBytes: 64 << 10, DropUnarchived: true}); err != nil {
					t.Error(err)
				}
				s.blocks.sweep()
			}
		}
	})
	for n := range 3 * queues {
		wg.Go(func() {
			if err := followTrimmed(t.Context(), s, a, testQueue("t", int32(n%queues)), messages/queues, n%2 == 0); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if s.Stats().FirstPhysical == 0 {
		t.Error("nothing was trimmed")
	}
	unpinned(t, s)
}

// arrivals lets readers wait for more.
type arrivals struct {
	mu   sync.Mutex
	cond sync.Cond
	n    int
}

func watchArrivals(s *Store) *arrivals {
	a := new(arrivals)
	a.cond.L = &a.mu
	s.OnArrival(func(as []Arrival) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.n += len(as)
		a.cond.Broadcast()
	})
	return a
}

// after is how many messages came, after waiting for more than it was.
func (a *arrivals) after(n int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.n <= n {
		a.cond.Wait()
	}
	return a.n
}

func followTrimmed(ctx context.Context, s *Store, a *arrivals, q mq.Queue, end int64, lend bool) error {
	seen := a.after(0)
	for at := int64(0); at < end; {
		b, err := s.Read(ctx, q, at, mq.Limit{Messages: 32, Lend: lend})
		switch {
		case errors.Is(err, mq.ErrNoQueue) || err == nil && b.Next == at:
			seen = a.after(seen)
			continue
		case errors.Is(err, mq.ErrTooLow):
			r, err := s.Range(ctx, q)
			if err != nil || r.From <= at {
				return fmt.Errorf("queue %d: offset %d is too low in %v, %w", q.ID, at, r, err)
			}
			at = r.From
			continue
		case err != nil:
			return err
		}
		for r := range mq.Records(b.Body) {
			body := r.Body()
			if r.QueueOffset() != at || !bytes.Equal(body, bytes.Repeat([]byte{byte(at)}, len(body))) {
				return fmt.Errorf("queue %d: offset %d where %d was due, or another body", q.ID, r.QueueOffset(), at)
			}
			at++
		}
		b.Release()
	}
	return nil
}
