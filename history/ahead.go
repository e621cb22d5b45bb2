package history

import (
	"context"
	"sync"

	"varve/internal/archive"
	"varve/internal/mq"
)

// readAhead fetches what sequential readers will want next. A reader is known
// by where its last read ended: one that goes on there is sequential, and each
// time it does it gets twice as much ahead, up to a bound.
type readAhead struct {
	cache     *cache
	most      int64 // ahead of one reader
	ctx       context.Context
	cancel    context.CancelFunc
	fetching  sync.WaitGroup
	mu        sync.Mutex
	budget    int64 // left of the bound for all readers
	expecting *lru[expected, stream]
	closed    bool
}

type expected struct {
	q  mq.Queue
	at int64
}

// stream is one sequential reader.
type stream struct {
	window int64
	file   string // that was fetched last
	until  int64  // position in it
}

func newReadAhead(cfg Config, c *cache) *readAhead {
	ctx, cancel := context.WithCancel(context.Background())
	return &readAhead{
		cache: c, most: cfg.ReadAhead, budget: cfg.ReadAheadTotal, ctx: ctx, cancel: cancel,
		expecting: newLRU[expected, stream](streams, nil),
	}
}

func (r *readAhead) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.fetching.Wait()
}

// before tells the cache the length of the file that will be read.
func (r *readAhead) before(x *archive.Index, q mq.Queue, at int64) {
	for _, f := range x.Files(q, mq.Range{From: at, To: at + 1}) {
		r.cache.note(f.Name, f.ObjectBytes())
	}
}

// after learns of a read and fetches ahead of it where it was sequential.
func (r *readAhead) after(x *archive.Index, q mq.Queue, at, next int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, sequential := r.expecting.get(expected{q, at})
	if sequential {
		r.expecting.remove(expected{q, at})
		s.window = min(max(2*s.window, maxRequest/4), r.most)
		r.extend(x, q, next, &s)
	}
	r.expecting.put(expected{q, next}, s, 1)
}

// extend starts fetching what a stream's window misses. Where the rows at an
// offset stand in a file is estimated: rows are about equally long.
func (r *readAhead) extend(x *archive.Index, q mq.Queue, at int64, s *stream) {
	files := x.Files(q, mq.Range{From: at, To: at + 1})
	if len(files) == 0 || r.closed {
		return
	}
	f := files[0]
	pos := f.Section.At + int64(float64(f.Bytes)*float64(at-f.Offsets.From)/float64(max(f.Offsets.Len(), 1)))
	from, to := pos, pos+s.window
	if s.file == f.Name {
		from = max(from, s.until)
	}
	end := f.Section.At + f.Bytes // of a shared object the queue's part alone
	if to-from < s.window/2 && to < end {
		return // enough is ahead
	}
	if from < end {
		r.start(f, from, min(to, end))
		s.file, s.until = f.Name, to
	}
	if to <= end {
		return
	}
	for _, next := range x.Files(q, mq.Range{From: f.Offsets.To, To: f.Offsets.To + 1}) {
		size := next.ObjectBytes()
		r.start(next, size-tailBytes, size)
		r.start(next, next.Section.At, next.Section.At+to-end)
	}
}

// start fetches a range in the background if the budget for all has room.
func (r *readAhead) start(f archive.DataFile, from, to int64) {
	size := f.ObjectBytes()
	from, to = max(from, 0), min(to, size)
	if from >= to || r.budget < to-from {
		return
	}
	r.budget -= to - from
	r.fetching.Go(func() {
		_ = r.cache.ahead(r.ctx, f.Name, size, from, to) // the reader will meet the error itself
		r.mu.Lock()
		r.budget += to - from
		r.mu.Unlock()
	})
}
