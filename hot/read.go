package hot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"varve/hot/index"
	"varve/internal/mq"
)

// Range implements mq.Reader over the confirmed part of the log.
func (s *Store) Range(_ context.Context, q mq.Queue) (mq.Range, error) {
	if s.closed.Load() {
		return mq.Range{}, ErrClosed
	}
	h := s.find(q)
	if h == nil {
		return mq.Range{}, fmt.Errorf("range of %v: %w", q, mq.ErrNoQueue)
	}
	return h.rng(), nil
}

// Read implements mq.Reader.
func (s *Store) Read(ctx context.Context, q mq.Queue, at int64, lim mq.Limit) (mq.Batch, error) {
	if err := s.enter(); err != nil {
		return mq.Batch{}, err
	}
	defer s.leave()
	h := s.find(q)
	if h == nil {
		return mq.Batch{}, fmt.Errorf("reading %v: %w", q, mq.ErrNoQueue)
	}
	b, err := s.read(ctx, h, at, lim)
	if err != nil {
		return mq.Batch{}, fmt.Errorf("reading %v at offset %d: %w", q, at, err)
	}
	return b, nil
}

// want is one record that a read is to fetch.
type want struct {
	off  int64
	pos  int64
	size int32
	sum  uint32
}

// reading is the state of one Read.
type reading struct {
	entries []index.Entry
	wants   []want
	scratch []byte
	spare   []byte // of a record that lies in two cached blocks
	body    []byte
	lent    *lent // whose memory body is, if anybody's
	count   int
	next    int64 // offset to look at next
	end     int64 // do not look beyond
	lim     mq.Limit
}

// keepScratch is the largest scratch buffer that is kept for the next read.
const keepScratch = coalesceSpan

var readingPool = sync.Pool{New: func() any { return new(reading) }}

func (s *Store) read(ctx context.Context, q *queue, at int64, lim mq.Limit) (mq.Batch, error) {
	r := q.rng()
	switch {
	case at < r.From:
		return mq.Batch{}, fmt.Errorf("%w [%d, %d)", mq.ErrTooLow, r.From, r.To)
	case at > r.To:
		return mq.Batch{}, fmt.Errorf("%w [%d, %d)", mq.ErrTooHigh, r.From, r.To)
	}
	rd := readingPool.Get().(*reading)
	rd.lim, rd.next, rd.count = bounded(lim), at, 0
	rd.end = min(r.To, at+int64(rd.lim.Scan))
	defer func() {
		if cap(rd.scratch) > keepScratch {
			rd.scratch = nil
		}
		rd.giveBack()
		rd.lim = mq.Limit{}
		readingPool.Put(rd)
	}()
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return mq.Batch{}, err
		}
		var err error
		if more, err = s.readSome(q, rd); err != nil {
			// What was trimmed under the read is too low now, not an error of
			// the file.
			if now := q.rng(); at < now.From {
				return mq.Batch{}, fmt.Errorf("%w [%d, %d)", mq.ErrTooLow, now.From, now.To)
			}
			if rd.next > at && !errors.Is(err, mq.ErrWouldWait) {
				break // what is before the bad place is good; the next read begins there
			}
			return mq.Batch{}, err
		}
	}
	return rd.batch(r), nil
}

// batch is what was read. The body is the caller's from here on.
func (rd *reading) batch(r mq.Range) mq.Batch {
	b := mq.Batch{Body: rd.body, Count: rd.count, Next: rd.next, Range: r}
	if rd.lent != nil && len(b.Body) > 0 {
		b.Free = rd.lent.free
		rd.lent = nil
	}
	rd.body = nil
	return b
}

// giveBack ends with a body that nobody gets.
func (rd *reading) giveBack() {
	rd.body = nil
	if rd.lent != nil {
		rd.lent.free()
		rd.lent = nil
	}
}

// reserve makes room for n more bytes in the body.
func (rd *reading) reserve(n int) {
	if cap(rd.body)-len(rd.body) >= n {
		return
	}
	old, owner := rd.body, rd.lent
	if rd.lent = nil; rd.lim.Lend {
		rd.lent = lend(len(old) + n)
	}
	if rd.lent != nil {
		rd.body = append(rd.lent.buf[:0], old...)
	} else {
		rd.body = slices.Grow(slices.Clip(old), n)
	}
	if owner != nil {
		owner.free()
	}
}

func bounded(lim mq.Limit) mq.Limit {
	bound := func(n, most int) int {
		if n <= 0 {
			return most
		}
		return min(n, most)
	}
	lim.Messages = bound(lim.Messages, readMessages)
	lim.Bytes = bound(lim.Bytes, readBytes)
	lim.Scan = bound(lim.Scan, readScan)
	return lim
}

// readSome plans and fetches one stretch; more says that the limits leave room
// for another.
func (s *Store) readSome(q *queue, rd *reading) (more bool, err error) {
	if rd.next >= rd.end {
		return false, nil
	}
	n := min(rd.end-rd.next, index.BlockEntries)
	if rd.lim.Filter == nil {
		n = min(n, int64(rd.lim.Messages-rd.count))
	}
	if rd.entries, err = s.entries(q, rd.next, int(n), rd.entries[:0], rd.lim.NoWait); err != nil {
		return false, err
	}
	full := rd.plan()
	if err := s.fetch(rd); err != nil {
		return false, err
	}
	return !full && rd.count < rd.lim.Messages, nil
}

// plan chooses from rd.entries what to fetch and moves rd.next behind what was
// looked at. full says that the byte limit ends the read there.
func (rd *reading) plan() (full bool) {
	rd.wants = rd.wants[:0]
	size, total := len(rd.body), 0
	f := rd.lim.Filter
	for _, e := range rd.entries {
		if f != nil && !f.MatchTag(int64(e.Tag)) {
			rd.next++
			continue
		}
		if rd.count+len(rd.wants) >= rd.lim.Messages {
			return false
		}
		if size+int(e.Size) > rd.lim.Bytes && rd.count+len(rd.wants) > 0 {
			full = len(rd.wants) == 0 || f == nil
			break
		}
		rd.wants = append(rd.wants, want{off: rd.next, pos: e.Pos, size: e.Size, sum: e.Sum})
		size += int(e.Size)
		total += int(e.Size)
		rd.next++
	}
	if rd.body == nil && total > 0 {
		rd.reserve(total)
	}
	return full
}

// fetch appends the wanted records that the filter keeps to the body. After an
// error rd.next is the offset that it is about.
func (s *Store) fetch(rd *reading) error {
	for ws := rd.wants; len(ws) > 0; {
		g := s.files.acquire(ws[0].pos)
		if g == nil {
			rd.next = ws[0].off
			return fmt.Errorf("%w: no segment holds position %d", ErrCorrupt, ws[0].pos)
		}
		n, end := 1, g.end.Load()
		for n < len(ws) && ws[n].pos < end {
			n++
		}
		err := s.fetchFrom(rd, g, ws[:n], min(end, s.confirmed.Load()))
		if rerr := s.files.release(g); err == nil && rerr != nil {
			s.o.Logger.Warn("retiring a segment", "file", g.path, "err", rerr)
		}
		if err != nil {
			return err
		}
		ws = ws[n:]
	}
	return nil
}

// fetchFrom is fetch from one segment, of which what is below end changes no
// more: through the cache what it has, the rest from the file.
func (s *Store) fetchFrom(rd *reading, g *seg, ws []want, end int64) error {
	v := view{c: &s.blocks, g: g, end: end, noWait: rd.lim.NoWait}
	bad, start := false, 0 // ws[start:i] is to be read from the file
	defer func() { v.close(bad) }()
	for i := 0; i < len(ws) && !bad; i++ {
		r := v.record(ws[i:], &rd.spare)
		if r == nil {
			continue
		}
		if err := rd.fetchSpans(g, ws[start:i]); err != nil {
			return err
		}
		start = i
		// What looks bad here is read again: the file says whether it is so.
		if bad = checkPlaced(r, ws[i]) != nil; !bad {
			rd.keep(r)
			start++
		}
	}
	return rd.fetchSpans(g, ws[start:])
}

// keep appends a record to the body if the filter wants it.
func (rd *reading) keep(r mq.Record) {
	if rd.lim.Filter != nil && !rd.lim.Filter.MatchRecord(r) {
		return
	}
	rd.reserve(len(r))
	rd.body = append(rd.body, r...)
	rd.count++
}

// fetchSpans is fetch from the file of a segment: records that lie near each
// other in one go.
func (rd *reading) fetchSpans(g *seg, ws []want) error {
	for len(ws) > 0 {
		n, dense := span(ws)
		if err := rd.fetchSpan(g, ws[:n], dense); err != nil {
			return err
		}
		ws = ws[n:]
	}
	return nil
}

// span gives how many of a segment's records can be read in one go, and whether
// nothing lies between them.
func span(ws []want) (n int, dense bool) {
	dense = true
	at := ws[0].pos + int64(ws[0].size)
	for n = 1; n < len(ws); n++ {
		w := ws[n]
		if w.pos-at > coalesceGap || w.pos+int64(w.size)-ws[0].pos > coalesceSpan {
			break
		}
		dense = dense && w.pos == at
		at = w.pos + int64(w.size)
	}
	return n, dense
}

func (rd *reading) fetchSpan(g *seg, ws []want, dense bool) error {
	last := ws[len(ws)-1]
	length := int(last.pos + int64(last.size) - ws[0].pos)
	direct := dense && rd.lim.Filter == nil
	var buf []byte
	if at := len(rd.body); direct && cap(rd.body)-at >= length {
		rd.body = rd.body[:at+length]
		buf = rd.body[at:]
	} else {
		direct = false
		if cap(rd.scratch) < length {
			rd.scratch = make([]byte, max(length, 64<<10))
		}
		buf = rd.scratch[:length]
	}
	start := len(rd.body)
	if direct {
		start -= length
	}
	got, rerr := rd.readAt(g, buf, ws[0].pos-g.base)
	if errors.Is(rerr, mq.ErrWouldWait) {
		return rerr
	}
	for _, w := range ws {
		at := w.pos - ws[0].pos
		r := mq.Record(buf[at : at+int64(w.size) : at+int64(w.size)])
		if err := badRecord(g, w, r, at+int64(w.size) <= int64(got), rerr); err != nil {
			if direct {
				rd.body = rd.body[:start+int(at)]
			}
			rd.next = w.off
			return err
		}
		if !direct {
			rd.keep(r)
			continue
		}
		rd.count++
	}
	return nil
}

func (rd *reading) readAt(g *seg, buf []byte, at int64) (int, error) {
	if !rd.lim.NoWait {
		return g.f.ReadAt(buf, at)
	}
	if err := readNow(g.f, buf, at); err != nil {
		return 0, err
	}
	return len(buf), nil
}

// entries appends the index entries of up to n offsets from off on, all of
// them below the hot end.
func (s *Store) entries(q *queue, off int64, n int, dst []index.Entry, noWait bool) ([]index.Entry, error) {
	for n > 0 {
		q.mu.Lock()
		base := q.base
		if off >= base {
			tail := q.tail[off-base:]
			dst = append(dst, tail[:min(n, len(tail))]...)
			q.mu.Unlock()
			return dst, nil
		}
		q.mu.Unlock()
		b := s.db.CachedBlock(q.uid, off/index.BlockEntries)
		if b == nil && noWait {
			return nil, mq.ErrWouldWait
		}
		if b == nil {
			var err error
			if b, err = s.db.Block(q.uid, off/index.BlockEntries); err != nil {
				return nil, err
			}
		}
		first := off % index.BlockEntries
		take := min(int64(n), int64(b.Len())-first, base-off)
		if take <= 0 {
			return nil, fmt.Errorf("%w: the index of %s/%d has no offset %d", ErrCorrupt, q.topic.name, q.id, off)
		}
		for i := first; i < first+take; i++ {
			dst = append(dst, b.At(int(i)))
		}
		off += take
		n -= int(take)
	}
	return dst, nil
}

// entry gives the index entry of one offset of the range.
func (s *Store) entry(q *queue, off int64) (index.Entry, error) {
	var one [1]index.Entry
	es, err := s.entries(q, off, 1, one[:0], false)
	if err != nil {
		return index.Entry{}, err
	}
	if len(es) == 0 {
		return index.Entry{}, fmt.Errorf("%w: the index of %s/%d has no offset %d", ErrCorrupt, q.topic.name, q.id, off)
	}
	return es[0], nil
}

// OffsetAt implements mq.Reader. Store times never decrease along a queue, so
// it is a binary search over the index.
func (s *Store) OffsetAt(ctx context.Context, q mq.Queue, millis int64, b mq.Bound) (int64, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	h := s.find(q)
	if h == nil {
		return 0, fmt.Errorf("offset of %v at a time: %w", q, mq.ErrNoQueue)
	}
	for {
		r := h.rng()
		off, err := s.offsetAt(h, r, millis, b)
		if err == nil {
			return off, nil
		}
		if now := h.rng(); now.From == r.From { // nothing was trimmed under the search
			return 0, fmt.Errorf("offset of %v at time %d: %w", q, millis, err)
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
	}
}

func (s *Store) offsetAt(q *queue, r mq.Range, millis int64, b mq.Bound) (int64, error) {
	lo, hi := r.From, r.To // the first offset that is late enough is in [lo, hi]
	for lo < hi {
		mid := lo + (hi-lo)/2
		e, err := s.entry(q, mid)
		if err != nil {
			return 0, err
		}
		if e.Time > millis || b == mq.Lower && e.Time == millis {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	if b == mq.Upper {
		return max(lo-1, r.From), nil
	}
	return lo, nil
}
