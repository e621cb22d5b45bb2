package hot

import (
	"fmt"
	"sort"
	"time"

	"varve/hot/index"
)

// maxBehind is how many checkpoints' worth of log the indexes may be behind
// before appends wait.
const maxBehind = 4

// checkpointLoop is the checkpointer goroutine.
func (s *Store) checkpointLoop() {
	defer s.loops.Done()
	t := time.NewTicker(s.o.CheckpointEvery)
	defer t.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-s.checkpointCh:
		case <-t.C:
			s.blocks.sweep()
			if err := s.flushIndexByAge(time.Now()); err != nil {
				s.o.Logger.Error("flushing the indexes", "dir", s.dir, "err", err)
			}
		}
		if s.checkpointed.Load() == s.confirmed.Load() {
			continue
		}
		if err := s.checkpoint(); err != nil {
			s.o.Logger.Error("checkpointing the indexes", "dir", s.dir, "err", err)
		}
	}
}

// checkpoint syncs the log and moves the index entries of all that is durable
// from memory to Pebble, with the position that says so in the same batch.
func (s *Store) checkpoint() error {
	err := s.tryCheckpoint()
	s.ckptMu.Lock()
	s.ckptErr = err
	s.ckptMu.Unlock()
	s.ckptCond.Broadcast()
	return err
}

func (s *Store) tryCheckpoint() error {
	if err := s.syncLog(); err != nil {
		return err
	}
	s.wakeTails()
	s.trimMu.Lock()
	defer s.trimMu.Unlock()
	upTo := min(s.durable.Load(), s.confirmed.Load())
	if upTo <= s.checkpointed.Load() {
		return nil
	}
	s.noteSynced(upTo)
	if err := s.roomForIndex(); err != nil {
		return err
	}
	segs := s.files.acquireAll()
	defer s.letGo(segs)
	u := s.db.Update()
	moved := s.collect(u, segs, upTo)
	for _, g := range segs {
		if g.base < upTo && g.end.Load() > s.checkpointed.Load() && g.lastTime.Load() > 0 {
			u.SegmentTime(g.base, g.lastTime.Load())
		}
	}
	u.NextUID(s.highUID + 1)
	u.Checkpoint(upTo, s.lastTime.Load())
	if err := u.Commit(); err != nil {
		s.giveBack(moved)
		return err
	}
	s.settle(moved)
	s.checkpointed.Store(upTo)
	s.checkpoints.Add(1)
	if upTo-s.indexFlushed >= flushIndexBytes {
		s.indexFlushed, s.indexFlushedAt = upTo, time.Now()
		if err := s.db.FlushSoon(); err != nil {
			return err
		}
	}
	return s.flushKeys(segs, upTo, false)
}

// flushIndexByAge makes the index durable where it wasn't for a while, so that
// after a killed process too what is scanned, and must be whole, is recent.
func (s *Store) flushIndexByAge(now time.Time) error {
	s.trimMu.Lock()
	upTo := s.checkpointed.Load()
	due := upTo > s.indexFlushed && now.Sub(s.indexFlushedAt) >= flushIndexEvery
	s.trimMu.Unlock()
	if !due {
		return nil
	}
	if err := s.roomForIndex(); err != nil {
		return err
	}
	if err := s.db.Flush(); err != nil {
		return err
	}
	s.trimMu.Lock()
	defer s.trimMu.Unlock()
	s.indexFlushed, s.indexFlushedAt = max(s.indexFlushed, upTo), now
	return nil
}

// move is the head of a queue's memory tail on its way to Pebble.
type move struct {
	q *queue
	n int
}

// collect puts the entries below upTo of every dirty queue into u.
func (s *Store) collect(u *index.Update, segs []*seg, upTo int64) []move {
	var moved []move
	for _, q := range s.takeDirty() {
		q.mu.Lock()
		q.dirty = false
		if q.gone {
			q.mu.Unlock()
			continue
		}
		n := sort.Search(len(q.tail), func(i int) bool { return q.tail[i].Pos >= upTo })
		if n < len(q.tail) {
			s.markDirty(q)
		}
		// The entries are only appended to, so they can be read unlocked.
		es, first, st := q.tail[:n:n], q.base, s.stateOf(q)
		q.mu.Unlock()
		if n == 0 {
			continue
		}
		st.End = first + int64(n)
		s.highUID = max(s.highUID, q.uid)
		u.Entries(q.uid, first, es)
		u.Queue(st)
		noteSegmentEnds(u, segs, q.uid, first, es)
		moved = append(moved, move{q, n})
	}
	return moved
}

// stateOf gives a queue's state for the index. q.mu must be held.
func (s *Store) stateOf(q *queue) index.Queue {
	return index.Queue{UID: q.uid, Topic: q.topic.name, ID: q.id, Start: q.start, End: q.base}
}

// noteSegmentEnds notes for each segment that holds some of the entries the
// queue's first offset behind it.
func noteSegmentEnds(u *index.Update, segs []*seg, uid uint64, first int64, es []index.Entry) {
	for len(es) > 0 {
		i := sort.Search(len(segs), func(i int) bool { return segs[i].base > es[0].Pos }) - 1
		end := segs[i].end.Load()
		n := sort.Search(len(es), func(j int) bool { return es[j].Pos >= end })
		first += int64(n)
		u.SegmentEnd(segs[i].base, uid, first)
		es = es[n:]
	}
}

// settle takes what is in Pebble now out of memory.
func (s *Store) settle(moved []move) {
	for _, m := range moved {
		m.q.mu.Lock()
		m.q.base += int64(m.n)
		if m.n == len(m.q.tail) {
			m.q.tail = nil
		} else {
			m.q.tail = append([]index.Entry(nil), m.q.tail[m.n:]...)
		}
		m.q.mu.Unlock()
	}
}

// giveBack marks queues dirty again whose entries did not get into Pebble.
func (s *Store) giveBack(moved []move) {
	for _, m := range moved {
		m.q.mu.Lock()
		s.markDirty(m.q)
		m.q.mu.Unlock()
	}
}

// waitCheckpoint holds an append back while the indexes are too far behind.
func (s *Store) waitCheckpoint() error {
	if s.confirmed.Load()-s.checkpointed.Load() < maxBehind*s.o.CheckpointBytes+batchBytes {
		return nil
	}
	wake(s.checkpointCh)
	s.ckptMu.Lock()
	defer s.ckptMu.Unlock()
	s.ckptErr = nil
	for s.confirmed.Load()-s.checkpointed.Load() >= maxBehind*s.o.CheckpointBytes+batchBytes {
		if s.ckptErr != nil {
			if isDiskFull(s.ckptErr) {
				return fmt.Errorf("%w: %w", ErrDiskFull, s.ckptErr)
			}
			return fmt.Errorf("the indexes are too far behind: %w", s.ckptErr)
		}
		s.ckptCond.Wait()
	}
	return nil
}

func (s *Store) letGo(segs []*seg) {
	if err := s.files.releaseAll(segs); err != nil {
		s.o.Logger.Warn("retiring segments", "err", err)
	}
}
