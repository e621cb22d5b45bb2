package hot

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"varve/hot/index"
	"varve/hot/segment"
	"varve/internal/mq"
)

// evidenceWindow is how far behind a bad batch Open looks for proof that the
// batch had been synced.
const evidenceWindow = 256 << 20

// replay scans the log from the checkpoint to its end, which it gives, and
// rebuilds the memory part of the indexes.
func (s *Store) replay(st index.State, segs []*seg) (end int64, err error) {
	if len(segs) == 0 {
		if st.Checkpoint > 0 {
			return 0, fmt.Errorf("%w: the index covers %d bytes of log, but there is no segment file", ErrCorrupt, st.Checkpoint)
		}
		return 0, s.checkEnd(&seg{path: s.dir}, 0, errors.New("no segment file"))
	}
	if err := checkSynced(st, segs); err != nil {
		return 0, err
	}
	end = segs[0].base
	epoch := uint64(0)
	for i, g := range segs {
		if g.bad != nil {
			return end, s.cut(st, segs, i, g.base, epoch, g.bad)
		}
		if g.keys, err = index.OpenKeyFile(s.o.FS, s.files.path(segmentName(g.base, keySuffix)), g.base, i >= len(segs)-2); err != nil {
			return 0, err
		}
		epoch = max(epoch, g.epoch)
		var bad error
		if end, epoch, bad, err = s.replaySegment(st, g, epoch); err != nil {
			return 0, err
		}
		last := i == len(segs)-1
		switch {
		case bad != nil || !last && end < g.end.Load():
			return end, s.cut(st, segs, i, end, epoch, bad)
		case last:
			if err := s.checkEnd(g, end, nil); err != nil {
				return 0, err
			}
			g.end.Store(math.MaxInt64)
		case end <= st.Checkpoint:
			if err := s.flushKeys(segs[i:i+1], end, false); err != nil {
				return 0, err
			}
		}
	}
	return end, nil
}

// checkSynced reports where the log no longer has what was synced at the
// checkpoint, which after a clean stop is the log's end: ErrCorrupt where the
// file is too short or the last batch below the checkpoint is not whole. The
// scan begins behind it and would take the loss for the end.
func checkSynced(st index.State, segs []*seg) error {
	for _, g := range slices.Backward(segs) {
		end := min(st.Checkpoint, g.end.Load())
		if g.bad != nil || end <= g.base+segment.HeaderLen {
			continue
		}
		if size := g.size.Load(); size < end-g.base {
			return fmt.Errorf("%w: %s ends at position %d; the log was synced up to %d", ErrCorrupt, g.path, g.base+size, end)
		}
		b, err := segment.BatchBefore(g.f, g.base, end)
		switch {
		case errors.Is(err, segment.ErrInvalid):
			return fmt.Errorf("%w: %s at position %d: the last batch that was synced, before %d: %w", ErrCorrupt, g.path, b.Start, end, err)
		case err != nil:
			return fmt.Errorf("reading %s: %w", g.path, err)
		}
		return nil
	}
	return nil
}

// replaySegment scans what is not in the indexes of one segment. bad is why
// the scan ended before the segment's end.
func (s *Store) replaySegment(st index.State, g *seg, epoch uint64) (end int64, last uint64, bad, err error) {
	covered := g.keys.Covered()
	from := max(min(st.Checkpoint, g.end.Load()), g.base+segment.HeaderLen)
	from = min(from, max(covered, g.base+segment.HeaderLen))
	sc := segment.NewScanner(g.f, g.base, from, g.end.Load(), epoch)
	for {
		b, err := sc.Next()
		known := min(st.Checkpoint, g.end.Load())
		switch {
		case sc.Pos() < known && (errors.Is(err, segment.ErrInvalid) || Damaged(err)):
			sc = segment.NewScanner(g.f, g.base, s.passOver(g, sc.Pos(), known, covered, err), g.end.Load(), sc.Epoch())
			continue
		case errors.Is(err, io.EOF):
			return sc.Pos(), sc.Epoch(), nil, nil
		case errors.Is(err, segment.ErrInvalid):
			return sc.Pos(), sc.Epoch(), err, nil
		case err != nil:
			return 0, 0, nil, fmt.Errorf("scanning %s: %w", g.path, err)
		}
		if err := s.replayBatch(st, g, covered, b); err != nil {
			return 0, 0, nil, fmt.Errorf("%w: %s at position %d: %w", ErrCorrupt, g.path, b.Start, err)
		}
	}
}

// passOver goes on behind a batch below the checkpoint that is damaged. The queue
// index has its records, so that no offset is given out again and their readers
// are told; only the keys of those that can be read are to be filed. It gives
// where the scan goes on.
func (s *Store) passOver(g *seg, from, known, covered int64, why error) int64 {
	at, lost := from, 0
	for at < known {
		places, _ := s.placesIn(at, min(known, at+batchBytes), known)
		n, next := s.untilBatch(g, places, known)
		for _, p := range places[:n] {
			r, err := s.one(g, want{off: p.off, pos: p.Pos, size: p.Size, sum: p.Sum}, known)
			if err != nil {
				lost++
			} else if p.Pos >= covered {
				s.addKeys(r)
			}
		}
		if at = next; n < len(places) { // a good batch
			break
		}
	}
	s.o.Logger.Error("the log is damaged below the last checkpoint; its queue index knows what is there, and the start goes on",
		"file", g.path, "position", from, "to", at, "lost", lost, "err", why)
	return at
}

// addKeys has a record's keys filed.
func (s *Store) addKeys(r mq.Record) {
	_, hashes, _ := keysOf(nil, nil, string(r.Topic()), r.Properties())
	es := make([]index.KeyEntry, len(hashes))
	for i, h := range hashes {
		es[i] = index.KeyEntry{Hash: h, Pos: r.PhysicalOffset()}
	}
	s.keys.add(es)
}

func (s *Store) replayBatch(st index.State, g *seg, covered int64, b segment.Batch) error {
	var scratch []byte
	var hashes []uint64
	for r := range mq.Records(b.Records) {
		pos := r.PhysicalOffset()
		var tag int32
		tag, hashes, scratch = keysOf(hashes[:0], scratch, string(r.Topic()), r.Properties())
		if pos >= covered {
			es := make([]index.KeyEntry, len(hashes))
			for i, h := range hashes {
				es[i] = index.KeyEntry{Hash: h, Pos: pos}
			}
			s.keys.add(es)
		}
		if pos < st.Checkpoint {
			continue
		}
		now := r.StoreTimeMillis()
		s.c.lastTime = max(s.c.lastTime, now)
		s.lastTime.Store(s.c.lastTime)
		g.lastTime.Store(max(g.lastTime.Load(), now))
		if err := s.replayRecord(r, tag); err != nil {
			return err
		}
	}
	return nil
}

// replayRecord adds one record to its queue's memory tail.
func (s *Store) replayRecord(r mq.Record, tag int32) error {
	pos := r.PhysicalOffset()
	if pos < s.deleted[string(r.Topic())] {
		return nil
	}
	var q *queue
	if t := s.topics[string(r.Topic())]; t != nil {
		q = t.find(r.QueueID())
	}
	if q == nil {
		q = &queue{id: r.QueueID(), uid: s.c.nextUID}
		s.c.nextUID++
		s.addQueue(q, string(r.Topic()))
	}
	if r.QueueOffset() != q.next {
		return fmt.Errorf("record at %d has offset %d of %s/%d, want %d", pos, r.QueueOffset(), r.Topic(), r.QueueID(), q.next)
	}
	if err := index.CheckFits(pos, r.StoreTimeMillis()); err != nil {
		return err
	}
	q.next++
	q.tail = append(q.tail, index.Entry{Pos: pos, Time: r.StoreTimeMillis(), Size: int32(len(r)), Tag: tag, Sum: sumAround(r)})
	s.markDirty(q)
	return nil
}

// cut ends the log at end, in segment i or before it where that has no good
// header: what follows was never synced. It refuses where there is proof that
// it was.
func (s *Store) cut(st index.State, segs []*seg, i int, end int64, epoch uint64, why error) error {
	g := segs[i]
	if why == nil {
		why = errors.New("the file ends early")
	}
	if end < st.Checkpoint {
		return fmt.Errorf("%w: %s at position %d: %w; the log was synced up to %d", ErrCorrupt, g.path, end, why, st.Checkpoint)
	}
	if g.keys != nil && g.keys.Covered() > end {
		return fmt.Errorf("%w: %s at position %d: %w; its keys are filed up to %d", ErrCorrupt, g.path, end, why, g.keys.Covered())
	}
	if err := s.checkEnd(g, end, why); err != nil {
		return err
	}
	if end != st.Clean {
		for _, later := range segs[i:] {
			from := max(end, later.base+segment.HeaderLen)
			durable, found, err := segment.FindEvidence(later.f, later.base, from, evidenceWindow, epoch)
			if err != nil {
				return fmt.Errorf("scanning %s: %w", later.path, err)
			}
			if found && durable > end {
				return fmt.Errorf("%w: %s at position %d: %w; the log was synced up to %d", ErrCorrupt, g.path, end, why, durable)
			}
		}
	}
	if end == g.base+segment.HeaderLen {
		g.firstTime.Store(0) // its first batch was torn
	}
	torn := end != st.Clean && !blank(g, end)
	keep := i + 1
	if g.keys == nil {
		keep = i
	}
	s.files.segs = s.files.segs[:keep]
	for _, later := range segs[keep:] {
		s.o.Logger.Warn("dropping a segment behind the end of the log", "file", later.path, "end", end)
		err := later.f.Close()
		if later.keys != nil {
			err = errors.Join(err, later.keys.Close())
		}
		err = errors.Join(err, s.files.removeIfThere(s.files.path(segmentName(later.base, keySuffix))), s.files.recycle(later.path))
		if err != nil {
			return fmt.Errorf("dropping %s behind the end of the log: %w", later.path, err)
		}
	}
	if keep > 0 {
		segs[keep-1].end.Store(math.MaxInt64)
	}
	if !torn {
		s.o.Logger.Debug("end of the log", "file", g.path, "position", end, "why", why)
		return nil
	}
	s.o.Logger.Warn("torn end of the log cut", "file", g.path, "position", end, "bytes", max(0, g.base+g.size.Load()-end), "why", why)
	return nil
}

// blank says that nothing was written at position pos but what fillAhead writes.
func blank(g *seg, pos int64) bool {
	var b [8]byte
	_, err := g.f.ReadAt(b[:], pos-g.base)
	return (err == nil || errors.Is(err, io.EOF)) && b == [8]byte{}
}
