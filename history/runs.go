package history

import (
	"bytes"
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"varve/internal/archive"
	"varve/internal/mq"
)

// Limits of what is decoded ahead.
const (
	// runBytes is the length of a run, about; a multiple of what its reader takes at
	// a time. Who takes more than that at a time decodes enough at once.
	runBytes = 128 << 10
	// runRoom is the length of a run at most.
	runRoom = 2 * runBytes
	// runsAhead is how many runs of one reader wait at most.
	runsAhead = 2
	// streamBytes is what the books of one reader take, about.
	streamBytes = 512
	// runsKept is how long runs wait for a reader that doesn't come, or twice
	// that.
	runsKept = 5 * time.Second
)

// runs decodes ahead of readers that go on where they stopped: while one
// answer is on its way to the client and the next request on its way back, the
// records that it will ask for are made. A read that finds them is answered from
// memory. A reader is known by where its last read ended.
type runs struct {
	read     func(ctx context.Context, q mq.Queue, at int64, lim mq.Limit) (mq.Batch, error)
	ctx      context.Context
	cancel   context.CancelFunc
	decoding sync.WaitGroup

	mu      sync.Mutex
	readers *lru[expected, *runReader]
	turn    int // of sweep
	closed  bool
}

// runReader is one sequential reader. Between its reads it is among
// runs.readers; during one it belongs to that. runs.mu guards it.
type runReader struct {
	q     mq.Queue
	take  int           // records that it takes at a time, about
	bytes int           // of them
	ready []*run        // in order, without a gap between them
	next  int64         // where the last of them ends, or the one under way begins
	under chan struct{} // closed when the run under way is there; nil if none is
	over  bool          // nothing can be decoded at next, or the reader is forgotten
	turn  int           // of sweep, when it read last
}

// run is a stretch of one data file's records.
type run struct {
	file  string
	at    int64  // the offset of the first one that is left
	left  []byte // records that nobody has taken yet
	whole mq.Batch
	users atomic.Int32 // the reader, and each batch that was lent
	free  func()       // made once
}

func newRuns(budget int64, read func(context.Context, mq.Queue, int64, mq.Limit) (mq.Batch, error)) *runs {
	r := &runs{read: read}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.readers = newLRU(budget, func(_ expected, s *runReader) { s.forget() })
	return r
}

func (r *runs) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.decoding.Wait()
}

// claim gives the reader that is expected at an offset, nil where none is or
// it would have to wait for a run.
func (r *runs) claim(q mq.Queue, at int64, ready bool) *runReader {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := expected{q, at}
	s, ok := r.readers.get(k)
	if !ok || ready && len(s.ready) == 0 {
		return nil
	}
	r.readers.remove(k)
	return s
}

// batch is a read of what was decoded ahead; ok is false where that isn't
// there, or isn't what the archive holds any more.
func (r *runs) batch(ctx context.Context, x *archive.Index, s *runReader, at int64, lim mq.Limit) (b mq.Batch, ok bool) {
	first := r.first(ctx, s)
	if first == nil || first.at != at {
		return b, false
	}
	files := x.Files(s.q, mq.Range{From: at, To: at + 1})
	if b.Range, ok = x.Range(s.q); !ok || at < b.Range.From || len(files) == 0 || files[0].Name != first.file {
		return b, false
	}
	first.next(lim, &b)
	if len(first.left) == 0 {
		r.mu.Lock()
		s.ready = append(s.ready[:0], s.ready[1:]...)
		r.mu.Unlock()
		first.free()
	}
	if !lim.Lend {
		own := bytes.Clone(b.Body)
		b.Release()
		b.Body = own
	}
	return b, true
}

// first is the run that the reader is at. It waits for one that is under way.
func (r *runs) first(ctx context.Context, s *runReader) *run {
	for {
		r.mu.Lock()
		var first *run
		if len(s.ready) > 0 {
			first = s.ready[0]
		}
		under := s.under
		r.mu.Unlock()
		if first != nil || under == nil {
			return first
		}
		select {
		case <-under:
		case <-ctx.Done():
			return nil
		}
	}
}

// next takes records out of the run as a limit says.
func (u *run) next(lim mq.Limit, b *mq.Batch) {
	most := lim.Messages
	if lim.Scan > 0 && (most <= 0 || lim.Scan < most) {
		most = lim.Scan
	}
	n := 0
	for n < len(u.left) && (most <= 0 || b.Count < most) {
		size := int(binary.BigEndian.Uint32(u.left[n:]))
		if b.Count > 0 && lim.Bytes > 0 && n+size > lim.Bytes {
			break
		}
		n += size
		b.Count++
	}
	b.Body, u.left = u.left[:n:n], u.left[n:]
	u.at += int64(b.Count)
	b.Next = u.at
	u.users.Add(1)
	b.Free = u.free
}

// forget lets go of a reader's runs.
func (s *runReader) forget() {
	for _, u := range s.ready {
		u.free()
	}
	s.ready, s.over = nil, true
}

// drop forgets a reader that was claimed.
func (r *runs) drop(s *runReader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.forget()
}

// begin notes a read that nothing was decoded for. A reader that went on
// where it had stopped is decoded for from here on.
func (r *runs) begin(x *archive.Index, q mq.Queue, b *mq.Batch, sequential bool) {
	s := &runReader{q: q, next: b.Next, take: b.Count, bytes: len(b.Body)}
	s.over = !sequential || s.bytes > runBytes
	r.park(x, s, b.Next)
}

// park puts a reader back at the offset where it goes on, and has the next run
// decoded.
func (r *runs) park(x *archive.Index, s *runReader, at int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		s.forget()
		return
	}
	if !s.over && s.under == nil && len(s.ready) < runsAhead {
		r.start(x, s)
	}
	k := expected{s.q, at}
	if old, ok := r.readers.get(k); ok {
		old.forget()
	}
	size := int64(streamBytes + runRoom*len(s.ready))
	if s.under != nil {
		size += runRoom
	}
	s.turn = r.turn
	r.readers.put(k, s, size)
}

// start decodes a reader's next run in the background. mu is held.
func (r *runs) start(x *archive.Index, s *runReader) {
	files := x.Files(s.q, mq.Range{From: s.next, To: s.next + 1})
	if len(files) == 0 || files[0].Offsets.From > s.next {
		s.over = true
		return
	}
	f, at := files[0], s.next
	lim := mq.Limit{
		Messages: int(min(int64(s.take*max(1, runBytes/max(1, s.bytes))), f.Offsets.To-at)),
		Bytes:    runRoom, Lend: true,
	}
	done := make(chan struct{})
	s.under = done
	r.decoding.Go(func() {
		defer close(done)
		b, err := r.read(r.ctx, s.q, at, lim)
		r.mu.Lock()
		defer r.mu.Unlock()
		s.under = nil
		// Its own read will tell the reader the reason, or give it the one long message.
		if err != nil || b.Next-at != int64(b.Count) || b.Count == 0 || len(b.Body) > runRoom {
			s.over = true
			b.Release()
			return
		}
		u := &run{file: f.Name, at: at, left: b.Body, whole: b}
		u.users.Store(1)
		u.free = func() {
			if u.users.Add(-1) == 0 {
				u.whole.Release()
			}
		}
		s.next = b.Next
		s.ready = append(s.ready, u)
		if s.over {
			s.forget()
		}
	})
}

// sweep forgets the readers that haven't read since the last sweep but one.
func (r *runs) sweep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.readers.evictWhile(func(s *runReader) bool { return s.turn < r.turn })
	r.turn++
}
