package hot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"time"

	"varve/hot/index"
	"varve/internal/mq"
)

// SetArchived moves archived marks forward: marks are the first offsets that
// are not in a committed snapshot, physical is the position below which nothing
// is left to archive. Lower values than before are ignored. Only the connector
// calls it, after a commit.
func (s *Store) SetArchived(marks map[mq.Queue]int64, physical int64) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	s.trimMu.Lock()
	defer s.trimMu.Unlock()
	u := s.db.Update()
	for name, mark := range marks {
		q := s.find(name)
		if q == nil || s.Ending(name.Topic) > 0 {
			continue // deleted since; the mark is of the incarnation before
		}
		q.mu.Lock()
		if end := q.end(); mark > end {
			q.mu.Unlock()
			u.Discard()
			return fmt.Errorf("archived mark %d of %v is beyond its end %d", mark, name, end)
		}
		if mark > q.archived && !q.gone {
			q.archived = mark
			u.Mark(q.uid, mark)
		}
		q.mu.Unlock()
	}
	if physical > s.durable.Load() {
		u.Discard()
		return fmt.Errorf("archived position %d is beyond the durable end %d", physical, s.durable.Load())
	}
	physical = max(physical, s.archived.Load())
	u.Archived(physical)
	if err := u.Commit(); err != nil {
		return fmt.Errorf("setting archived marks: %w", err)
	}
	s.archived.Store(physical)
	return nil
}

// SetRemoved moves up the offsets below which the archive's retention has
// removed a queue's messages: from then on no reader, Finder or search by time is
// shown them, though the log may hold them for a while. Lower values than before
// are ignored, and so is what is said of a topic's incarnation before.
func (s *Store) SetRemoved(marks map[mq.Queue]int64) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	s.trimMu.Lock()
	defer s.trimMu.Unlock()
	u, moved := s.db.Update(), false
	for name, mark := range marks {
		q := s.find(name)
		if q == nil || s.Ending(name.Topic) > 0 {
			continue
		}
		q.mu.Lock()
		if mark > q.removed && !q.gone {
			q.removed, moved = mark, true
			u.Removed(q.uid, mark)
		}
		q.mu.Unlock()
	}
	if !moved {
		u.Discard()
		return nil
	}
	if err := errors.Join(u.Commit(), s.db.Flush()); err != nil {
		return fmt.Errorf("setting removed marks: %w", err)
	}
	return nil
}

// Held is what the log holds of a queue, with what retention removed from the
// archive and Range therefore doesn't show.
func (s *Store) Held(q mq.Queue) (mq.Range, error) {
	if s.closed.Load() {
		return mq.Range{}, ErrClosed
	}
	h := s.find(q)
	if h == nil {
		return mq.Range{}, fmt.Errorf("range of %v: %w", q, mq.ErrNoQueue)
	}
	return h.held(), nil
}

// Archived is the queue's archived mark, 0 where there is none.
func (s *Store) Archived(q mq.Queue) int64 {
	h := s.find(q)
	if h == nil {
		return 0
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.archived
}

// Marks gives a queue's archived mark, and the first offset above what was
// dropped before it was archived because the user's policy said so
// (TrimPolicy.DropUnarchived), 0 where nothing was. An offset below the hot
// start that is at or above both was lost, not dropped.
func (s *Store) Marks(q mq.Queue) (archived, dropped int64) {
	h := s.find(q)
	if h == nil {
		return 0, 0
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.archived, h.dropped
}

// AbandonArchive forgets that anything was archived: what was trimmed counts as
// dropped by the user's choice, and what the log holds is to be archived anew.
// It is for an archive that is lost for good, before a connector runs.
func (s *Store) AbandonArchive() error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	s.trimMu.Lock()
	defer s.trimMu.Unlock()
	u := s.db.Update()
	for _, q := range s.allQueues() {
		q.mu.Lock()
		if q.archived = 0; q.start > 0 {
			q.dropped = q.start
			u.Dropped(q.uid, q.start)
		}
		u.Mark(q.uid, 0)
		q.removed = 0
		u.Removed(q.uid, 0)
		q.mu.Unlock()
	}
	first := s.files.first()
	u.Archived(first)
	if err := u.Commit(); err != nil {
		return fmt.Errorf("abandoning the archive: %w", err)
	}
	if err := s.db.Flush(); err != nil {
		return fmt.Errorf("abandoning the archive: %w", err)
	}
	s.archived.Store(first)
	return nil
}

// Hold keeps everything at or above low() from being trimmed until release is
// called. A second Hold of the same name replaces the first.
func (s *Store) Hold(name string, low func() int64) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds[name] = low
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.holds, name)
	}
}

// held is the lowest position that a hold names.
func (s *Store) held() int64 {
	s.mu.RLock()
	holds := maps.Clone(s.holds)
	s.mu.RUnlock()
	low := int64(math.MaxInt64)
	for _, f := range holds {
		low = min(low, f())
	}
	return low
}

// Trim frees whole segments that the policy no longer wants, never past the
// archived position (unless the policy drops unarchived data), a hold, the
// last checkpoint or the segment being written.
func (s *Store) Trim(ctx context.Context, p TrimPolicy) (freedBytes int64, err error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	if s.checkpointed.Load() < s.confirmed.Load() {
		// Without room for a checkpoint, what is below the last one may still go.
		if err := s.checkpoint(); err != nil && !errors.Is(err, ErrDiskFull) {
			return 0, fmt.Errorf("trimming: %w", err)
		}
	}
	s.trimMu.Lock()
	defer s.trimMu.Unlock()
	limit := min(s.held(), s.checkpointed.Load(), s.durable.Load(), s.confirmed.Load())
	if !p.DropUnarchived {
		limit = min(limit, s.archived.Load())
	}
	segs := s.files.acquireAll()
	defer s.letGo(segs)
	n := 0
	size, _, _ := s.files.bytes()
	for n < len(segs)-1 && segs[n].end.Load() <= limit {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		unwanted, err := s.unwanted(segs[n], p, size-freedBytes)
		if err != nil {
			return 0, fmt.Errorf("trimming %s: %w", segs[n].path, err)
		}
		if !unwanted {
			break
		}
		freedBytes += segs[n].size.Load()
		n++
	}
	if n == 0 {
		return 0, nil
	}
	if err := s.trim(segs[:n], segs[n].base, p.DropUnarchived); err != nil {
		return 0, fmt.Errorf("trimming up to position %d: %w", segs[n].base, err)
	}
	return freedBytes, nil
}

// unwanted reports whether the policy lets a segment go, the oldest of a log
// of size bytes.
func (s *Store) unwanted(g *seg, p TrimPolicy, size int64) (bool, error) {
	if p.KeepBytes > 0 && size > p.KeepBytes {
		return true, nil
	}
	if p.KeepBytes > 0 && p.KeepFor == 0 {
		return false, nil
	}
	age, err := s.age(g)
	if err != nil {
		return false, err
	}
	if age < p.KeepFor {
		return false, nil
	}
	if p.MinAge == nil {
		return true, nil
	}
	ends, err := s.db.SegmentEnds(g.base)
	if err != nil {
		return false, err
	}
	for _, q := range s.allQueues() {
		if _, in := ends[q.uid]; in && age < p.MinAge(q.topic.name) {
			return false, nil
		}
	}
	return true, nil
}

// age is how old a segment's newest message is. A clock that went ahead and came
// back has left store times that lie in the future, and gives them to what is
// stored until they are past: such a segment is as old as its file, or a year's
// jump would have nothing trimmed for a year.
func (s *Store) age(g *seg) (time.Duration, error) {
	now, last := s.o.Now(), time.UnixMilli(g.lastTime.Load())
	if last.After(now) {
		st, err := s.o.FS.Stat(g.path)
		if err != nil {
			return 0, err
		}
		if written := st.ModTime(); written.Before(last) {
			last = written
		}
	}
	return now.Sub(last), nil
}

// trim drops the given segments, after which the log begins at first. Readers
// see the new starts first; the files go when the index that says so is
// durable and the last reader of them is gone. trimMu must be held.
func (s *Store) trim(segs []*seg, first int64, dropping bool) error {
	starts := make(map[uint64]int64)
	u := s.db.Update()
	for _, g := range segs {
		ends, err := s.db.SegmentEnds(g.base)
		if err != nil {
			u.Discard()
			return err
		}
		maps.Copy(starts, ends) // a later segment's end is higher
		u.DropSegment(g.base)
	}
	for _, q := range s.allQueues() {
		if start, ok := starts[q.uid]; ok {
			s.moveStart(u, q, start, dropping)
		}
	}
	for topic, pos := range s.deletions() {
		if pos <= first {
			u.DropDeleted(topic)
			s.setDeleted(topic, 0)
		}
	}
	u.First(first)
	if err := u.Commit(); err != nil {
		return err
	}
	if err := s.db.Flush(); err != nil {
		return err
	}
	s.keys.dropBelow(first)
	if err := s.files.drop(len(segs)); err != nil {
		return err
	}
	return s.files.syncDir()
}

// moveStart moves a queue's hot start forward and drops the blocks below it.
// dropping says that it may pass the archived mark, which is noted.
func (s *Store) moveStart(u *index.Update, q *queue, start int64, dropping bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if start <= q.start || q.gone {
		return
	}
	if dropping && start > q.archived {
		q.dropped = start
		u.Dropped(q.uid, start)
	}
	u.DropBlocks(q.uid, q.start/index.BlockEntries, start/index.BlockEntries)
	q.start = start
	u.Queue(s.stateOf(q))
}

// Roll starts a new segment, so that Trim can free the one before.
func (s *Store) Roll(ctx context.Context) error {
	err := s.run(ctx, func() error {
		if err := s.ready(0); err != nil {
			return err
		}
		if s.c.active.firstTime.Load() == 0 {
			return nil // empty
		}
		if err := s.roll(s.c.pos); err != nil {
			return s.writeError(err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("starting a new segment: %w", err)
	}
	return nil
}

// DeleteTopic forgets a topic's queues. Its records stay in the log until they
// are trimmed, but no reader, Tail or Finder gives them any more. If messages
// come again, the topic starts anew at offset 0, and its archived marks stay 0
// until the archive has heard of its Ending. A topic that the store doesn't have
// is no error.
func (s *Store) DeleteTopic(topic string) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := s.run(context.Background(), func() error { return s.deleteTopic(topic) }); err != nil {
		return fmt.Errorf("deleting topic %s: %w", topic, err)
	}
	return nil
}

// deleteTopic runs in the committer: no message may get an offset of the new
// incarnation before the end of the old one is durable.
func (s *Store) deleteTopic(name string) error {
	t := s.topics[name]
	if t == nil {
		return nil
	}
	if err := s.syncLog(); err != nil {
		return err
	}
	s.trimMu.Lock()
	defer s.trimMu.Unlock()
	u := s.db.Update()
	u.Deleted(name, s.c.pos)
	u.Ending(name, s.c.pos)
	for _, q := range t.queues {
		u.DropQueue(q.uid)
	}
	if err := u.Commit(); err != nil {
		return err
	}
	if err := s.db.Flush(); err != nil {
		return err
	}
	s.setDeleted(name, s.c.pos)
	s.mu.Lock()
	s.endings[name] = s.c.pos
	s.endingsVersion.Add(1)
	delete(s.topics, name)
	s.queueCount -= len(t.queues)
	s.mu.Unlock()
	for _, q := range t.queues {
		q.mu.Lock()
		q.gone = true
		q.mu.Unlock()
	}
	return nil
}

// deletions gives the deleted topics whose records are still in the log. The
// caller must not change the map.
func (s *Store) deletions() map[string]int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.deleted
}

// setDeleted replaces the map, so that readers of the old one are not
// disturbed; position 0 takes the topic out.
func (s *Store) setDeleted(topic string, pos int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := maps.Clone(s.deleted)
	if pos == 0 {
		delete(m, topic)
	} else {
		m[topic] = pos
	}
	s.deleted = m
}

// dropBelow forgets the keys of positions below first.
func (p *pendingKeys) dropBelow(first int64) {
	if n := len(p.below(first)); n > 0 {
		p.drop(n)
	}
}
