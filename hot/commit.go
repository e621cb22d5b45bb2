package hot

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"syscall"

	"varve/hot/index"
	"varve/hot/segment"
	"varve/internal/mq"
)

// committer is what only the goroutine touches that has set Store.committing.
type committer struct {
	work      []*unit // spare slice for Store.pending
	batch     []*unit
	lastUnits int // committed by the last round
	active    *seg
	pos       int64 // where the next batch goes
	filled    int64 // the active segment has pages up to here
	lastTime  int64
	nextUID   uint64
	buf       []byte
	placed    []placedRec
	fresh     map[place]*queue // queues that the batch begins
	arrivals  []Arrival
	keyBuf    []index.KeyEntry

	sinceDiskCheck int64
	lastDiskCheck  int64 // unix milliseconds
	diskLow        bool
}

// place names a queue within the store.
type place struct {
	topic string
	id    int32
}

// placedRec is one record of the batch being committed.
type placedRec struct {
	q     *queue
	entry index.Entry
}

// commitLoop is the committer goroutine: it commits what Submit leaves to it,
// what a Commit leaves behind, and under FlushSync everything.
func (s *Store) commitLoop() {
	defer close(s.committed)
	s.subMu.Lock()
	defer s.subMu.Unlock()
	for {
		for s.committing || !s.asked && !s.closing {
			s.subCond.Wait()
		}
		s.asked = false
		if len(s.pending) == 0 && s.closing {
			return
		}
		s.committing = true
		s.commitWaiting(math.MaxInt)
		s.committing = false
	}
}

// Commit commits what is enqueued. Under FlushAsync the caller does it by
// itself, which spares two goroutine switches, unless somebody is at it, who
// then takes it along; under FlushSync, where it means to wait for the disk,
// it is the committer's.
func (s *Store) Commit() {
	if s.o.Flush == FlushSync {
		s.wakeCommitter()
		return
	}
	s.subMu.Lock()
	defer s.subMu.Unlock()
	if s.committing || len(s.pending) == 0 {
		return
	}
	s.committing = true
	s.commitWaiting(leaderRounds)
	s.committing = false
	if s.asked = s.asked || len(s.pending) > 0; s.asked || s.closing {
		s.subCond.Signal()
	}
}

// wakeCommitter has the committer goroutine commit what is enqueued.
func (s *Store) wakeCommitter() {
	s.subMu.Lock()
	defer s.subMu.Unlock()
	if len(s.pending) > 0 && !s.asked {
		s.asked = true
		s.subCond.Signal()
	}
}

// commitWaiting commits what waits until nothing does, at most so many times.
// The caller holds subMu, which is let go meanwhile, and has set committing.
func (s *Store) commitWaiting(rounds int) {
	c := &s.c
	for ; rounds > 0 && len(s.pending) > 0; rounds-- {
		s.gather()
		work := s.pending
		c.lastUnits = len(work)
		s.pending = c.work[:0]
		s.subMu.Unlock()
		s.commitUnits(work)
		c.work = work
		s.subMu.Lock()
	}
}

// commitUnits commits units in batches and clears the slice.
func (s *Store) commitUnits(work []*unit) {
	batch, size := s.c.batch[:0], 0
	for i, u := range work {
		work[i] = nil
		if u.exec != nil {
			batch, size = s.commitAll(batch, size), 0
			u.done(nil, u.exec())
			continue
		}
		if len(batch) > 0 && size+len(u.buf) > batchBytes {
			batch, size = s.commitAll(batch, size), 0
		}
		batch = append(batch, u)
		size += len(u.buf)
	}
	s.c.batch = s.commitAll(batch, size)
}

// gather lets the callers that the last batch answered come back before the
// next one is begun, where a batch means a sync: without it the first of them
// gets a sync to itself. A lone caller waits for nobody. subMu must be held; it
// is let go meanwhile.
func (s *Store) gather() {
	if s.o.Flush != FlushSync {
		return
	}
	for n := 0; n < gatherYields && len(s.pending) < s.c.lastUnits && !s.closing; n++ {
		s.subMu.Unlock()
		runtime.Gosched()
		s.subMu.Lock()
	}
}

// commitAll commits a batch of units, answers them and gives the slice back
// empty.
func (s *Store) commitAll(units []*unit, size int) []*unit {
	if len(units) == 0 {
		return units
	}
	placed, err := s.commit(units, size)
	s.subMu.Lock()
	s.pendingBytes -= int64(size)
	s.subMu.Unlock()
	for i, u := range units {
		n := len(u.recs)
		if err != nil {
			u.done(nil, err)
		} else {
			u.done(placed[:n:n], nil)
			placed = placed[n:]
		}
		putUnit(u)
		units[i] = nil
	}
	if err == nil {
		s.announce()
	}
	return units[:0]
}

// commit writes a batch, syncs it where the policy says so, and publishes it.
func (s *Store) commit(units []*unit, size int) ([]Placed, error) {
	c := &s.c
	if err := s.ready(int64(size)); err != nil {
		return nil, fmt.Errorf("appending: %w", err)
	}
	if used := c.pos - c.active.base; used > segment.HeaderLen && used+int64(size)+segment.TrailerLen > s.o.SegmentBytes {
		if err := s.roll(c.pos); err != nil {
			return nil, fmt.Errorf("appending: %w", s.writeError(err))
		}
	}
	now := max(s.o.Now().UnixMilli(), c.lastTime)
	if err := index.CheckFits(c.pos+int64(size), now); err != nil {
		return nil, fmt.Errorf("appending: %w", err)
	}
	s.layOut(units, now)
	if err := s.write(c.buf); err != nil {
		s.rollBack()
		return nil, err
	}
	end := c.pos + int64(len(c.buf))
	s.files.wrote(c.active, end)
	s.written.Store(end)
	if s.o.Flush == FlushSync {
		if err := s.syncLog(); err != nil {
			s.rollBack()
			return nil, fmt.Errorf("appending: %w", err)
		}
	}
	placed := s.publish(units, end, now)
	c.pos, c.lastTime = end, now
	return placed, nil
}

// ready reports why nothing can be appended now.
func (s *Store) ready(size int64) error {
	if err := s.failure(); err != nil {
		return err
	}
	if err := s.checkDisk(size); err != nil {
		return err
	}
	return s.waitCheckpoint()
}

// layOut gives every record its place and builds the batch in c.buf.
func (s *Store) layOut(units []*unit, now int64) {
	c := &s.c
	c.buf, c.placed = c.buf[:0], c.placed[:0]
	var last *queue
	var lastPlace place
	for _, u := range units {
		c.buf = append(c.buf, u.buf...)
		at := len(c.buf) - len(u.buf)
		for _, r := range u.recs {
			if p := (place{r.topic, r.id}); last == nil || p != lastPlace {
				last, lastPlace = s.queueFor(p), p
			}
			q := last
			e := index.Entry{Pos: c.pos + int64(at), Time: now, Size: r.size, Tag: r.tag}
			placed := mq.Record(c.buf[at : at+int(r.size)])
			placed.SetPlace(q.next, e.Pos, now)
			e.Sum = sumAround(placed)
			c.placed = append(c.placed, placedRec{q, e})
			q.next++
			at += int(r.size)
		}
	}
	c.buf = segment.AppendTrailer(c.buf, c.buf, segment.Trailer{
		Start: c.pos, Epoch: s.epoch, Durable: s.durable.Load(), Count: uint32(len(c.placed)),
	})
}

// queueFor gives the queue of a record, a new one where there is none. A new
// one becomes known when its first message is published.
func (s *Store) queueFor(p place) *queue {
	if t := s.topics[p.topic]; t != nil { // who commits is the only writer
		if q := t.find(p.id); q != nil {
			return q
		}
	}
	if q := s.c.fresh[p]; q != nil {
		return q
	}
	q := &queue{id: p.id}
	s.c.fresh[p] = q
	return q
}

// write puts the batch at the end of the active segment.
func (s *Store) write(b []byte) error {
	c := &s.c
	s.fillAhead(len(b))
	n, err := c.active.f.WriteAt(b, c.pos-c.active.base)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("appending %d bytes to %s at %d: %w", len(b), c.active.path, c.pos, s.writeError(err))
	if n == 0 {
		return err
	}
	// What was written must not be taken for a batch by a later Open.
	if _, zerr := c.active.f.WriteAt(make([]byte, 8), c.pos-c.active.base); zerr != nil {
		return s.fail(errors.Join(err, zerr))
	}
	return err
}

// fillAhead writes zeros behind the place of a small batch of n bytes. Many
// small writes that each make a page of the file cost several times as much as
// those into pages that one large write has made, and a sync need not record a
// new length each time. What it can't write the batch itself may find out.
func (s *Store) fillAhead(n int) {
	c := &s.c
	from, end := c.pos-c.active.base, c.pos-c.active.base+int64(n)
	if c.filled < from || end <= c.filled {
		c.filled = max(c.filled, from)
	}
	if end <= c.filled {
		return
	}
	if n > len(zeros)/4 {
		c.filled = end
		return
	}
	from = c.filled
	to := end + min(max(end, minFill), int64(len(zeros))/2)
	to = min(to&^(pageBytes-1), s.o.SegmentBytes, from+int64(len(zeros)))
	if to <= end {
		return
	}
	if _, err := c.active.f.WriteAt(zeros[:to-from], from); err == nil {
		c.filled = to
	}
}

// zeros is what fillAhead writes.
var zeros [fillBytes]byte

// writeError sorts a failed write: no room is ErrDiskFull, and the next one may
// work; anything else ends the store.
func (s *Store) writeError(err error) error {
	if isDiskFull(err) {
		s.c.diskLow = true
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return s.fail(err)
}

func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// rollBack takes back the offsets that a failed batch gave out.
func (s *Store) rollBack() {
	for i := len(s.c.placed) - 1; i >= 0; i-- {
		s.c.placed[i].q.next--
	}
	clear(s.c.fresh)
	clear(s.c.placed)
}

// publish makes the batch visible: key index, queue index, confirmed.
func (s *Store) publish(units []*unit, end, now int64) []Placed {
	c := &s.c
	for p, q := range c.fresh {
		q.uid = c.nextUID
		c.nextUID++
		s.addQueue(q, p.topic)
		delete(c.fresh, p)
	}
	out := make([]Placed, len(c.placed))
	i := 0
	c.keyBuf = c.keyBuf[:0]
	for _, u := range units {
		keys := u.keys
		for _, r := range u.recs {
			for _, h := range keys[:r.keys] {
				c.keyBuf = append(c.keyBuf, index.KeyEntry{Hash: h, Pos: c.placed[i].entry.Pos})
			}
			keys = keys[r.keys:]
			i++
		}
	}
	s.keys.add(c.keyBuf)
	for i, p := range c.placed {
		p.q.mu.Lock()
		out[i] = Placed{QueueOffset: p.q.end(), PhysicalOffset: p.entry.Pos, StoreTimeMillis: now}
		p.q.tail = append(p.q.tail, p.entry)
		s.markDirty(p.q)
		p.q.mu.Unlock()
	}
	if c.active.firstTime.Load() == 0 {
		c.active.firstTime.Store(now)
	}
	c.active.lastTime.Store(now)
	s.lastTime.Store(now)
	s.confirmed.Store(end)
	s.appended.Add(int64(len(out)))
	s.appendedBytes.Add(int64(len(c.buf)))
	s.batches.Add(1)
	s.noteWritten(end)
	return out
}

// announce tells of the batch that was just published.
func (s *Store) announce() {
	c := &s.c
	if fs := s.onArrival.Load(); fs != nil {
		at := 0
		for i, p := range c.placed {
			r := mq.Record(c.buf[at : at+int(p.entry.Size)])
			at += int(p.entry.Size)
			c.arrivals = append(c.arrivals, Arrival{
				Queue:      mq.Queue{Broker: s.o.Broker, Topic: p.q.topic.name, ID: p.q.id},
				Next:       r.QueueOffset() + 1,
				TagHash:    int64(p.entry.Tag),
				Properties: r.Properties(),
			})
			c.placed[i] = placedRec{}
		}
		for _, f := range *fs {
			f(c.arrivals)
		}
		clear(c.arrivals)
		c.arrivals = c.arrivals[:0]
	}
	if s.o.Flush == FlushSync {
		s.wakeTails()
	}
	if cap(c.buf) > 2*batchBytes {
		c.buf = nil
	}
}

// OnArrival registers a function that who commits calls, after the done
// callbacks, with the messages that became readable. It must return quickly
// and not keep the slice.
func (s *Store) OnArrival(f func([]Arrival)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var fs []func([]Arrival)
	if old := s.onArrival.Load(); old != nil {
		fs = append(fs, *old...)
	}
	fs = append(fs, f)
	s.onArrival.Store(&fs)
}

// roll makes a new active segment whose first byte has position base.
func (s *Store) roll(base int64) error {
	c := &s.c
	g, err := s.files.roll(segment.Header{
		Base: base, PrevEnd: c.pos, Epoch: s.epoch, CreatedMillis: s.o.Now().UnixMilli(),
	})
	if err != nil {
		return err
	}
	c.active, c.filled = g, 0
	c.pos = base + segment.HeaderLen
	s.written.Store(c.pos)
	return nil
}
