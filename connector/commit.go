package connector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"

	"varve/internal/archive"
	"varve/internal/mq"
)

// commit is the files of one topic that become visible together.
type commit struct {
	topic    *topic
	segments []*segment
	request  archive.Commit
}

// startCommits commits the topics that are ready, the one that has waited
// longest first.
func (s *session) startCommits(ctx context.Context) {
	for s.committing < commitsAtOnce {
		c := s.nextCommit()
		if c == nil {
			return
		}
		s.committing++
		s.running.Go(func() {
			err := s.append(ctx, c)
			s.tell(ctx, event{commit: c, err: err})
		})
	}
}

// readied notes that a topic has another file to commit.
func (s *session) readied(t *topic) {
	if t.ready == 0 {
		t.readySince = s.c.cfg.Now()
	}
	t.ready++
	s.lineUp(t)
}

// lineUp puts a topic behind all others that wait for a commit, if it doesn't
// wait already.
func (s *session) lineUp(t *topic) {
	if !t.inLine {
		t.inLine = true
		s.readyTo = append(s.readyTo, t)
	}
}

// nextCommit takes the first topic out of the line that can be committed now:
// nothing more of it is being written, or its first file has waited long enough.
// What it has left, or gets meanwhile, waits behind the others. Nil where none
// can be.
func (s *session) nextCommit() *commit {
	var c *commit
	keep := s.readyTo[:0]
	for i, t := range s.readyTo {
		if t.gone || t.ready == 0 {
			t.inLine = false
			continue
		}
		late := s.c.cfg.Now().Sub(t.readySince) >= commitDelay
		if !t.committing && (t.outstanding == 0 || late) {
			c = s.prepare(t)
		}
		if c != nil && len(c.segments) > 0 {
			t.committing, t.inLine = true, false
			keep = append(keep, s.readyTo[i+1:]...)
			break
		}
		c = nil // the first of each queue is still being written
		keep = append(keep, t)
	}
	clear(s.readyTo[len(keep):])
	s.readyTo = keep
	return c
}

// prepare collects what of a topic can be committed: for each queue the
// uploaded files that follow its mark.
func (s *session) prepare(t *topic) *commit {
	c := &commit{topic: t}
	taken := map[*segment]bool{}
	for _, q := range t.queues {
		for _, g := range q.frozen {
			if g.file == nil || len(c.segments) == commitFiles {
				break
			}
			c.segments = append(c.segments, g)
			taken[g] = true
		}
	}
	low, store := t.lowWater(s.pos, taken)
	if low == s.pos {
		store = s.lastStore
	}
	s.commitSeq++
	c.request = archive.Commit{
		ID:     fmt.Sprintf("%s-%d-%d-%08x", s.c.cfg.Broker, s.epoch, s.commitSeq, rand.Uint32()),
		Broker: s.c.cfg.Broker, Epoch: s.epoch, NextPhysical: low, StoreTimeLow: store,
	}
	for _, g := range c.segments {
		c.request.Files = append(c.request.Files, *g.file)
		if !g.gap.Empty() {
			c.request.Gaps = append(c.request.Gaps, archive.Gap{Queue: g.q.id, Offsets: g.gap})
		}
	}
	return c
}

// append commits to the archive and tells who follows it.
func (s *session) append(ctx context.Context, c *commit) error {
	what := fmt.Sprintf("commit %d files of topic %s", len(c.segments), c.topic.name)
	return s.c.persist(ctx, what, s.c.cfg.CallTimeout*commitCalls, func(ctx context.Context) error {
		table, err := s.openTable(ctx, c.topic)
		if err != nil {
			return err
		}
		snap, err := table.Append(ctx, c.request)
		if errors.Is(err, archive.ErrNoFile) { // an upload is not there any more: it is made again
			return fmt.Errorf("%w: %w", err, errAgain)
		}
		if err != nil {
			return err
		}
		s.c.cfg.OnCommit(c.topic.name, snap)
		return nil
	})
}

// committed moves the marks.
func (s *session) committed(ctx context.Context, c *commit, err error) error {
	s.committing--
	t := c.topic
	t.committing = false
	switch {
	case t.gone:
		return nil
	case archive.Unreadable(err), errors.Is(err, errOthers):
		s.damage(ctx, t, err)
		return nil
	case err != nil:
		return err
	}
	marks := map[mq.Queue]int64{}
	var rows, raw, size int64
	for _, g := range c.segments {
		g.q.frozen = g.q.frozen[1:]
		s.line.done(g)
		g.q.mark = g.to
		marks[g.q.id] = g.to
		rows, raw, size = rows+g.file.Rows, raw+g.bytes, size+g.file.Bytes
	}
	t.ready -= len(c.segments)
	t.readySince = s.c.cfg.Now()
	if t.ready > 0 {
		s.lineUp(t)
	}
	low, _ := s.lowWater()
	s.setArchived(marks, low)
	s.note(c, rows, raw, size)
	s.publish()
	s.rollFlushed()
	return nil
}

func (s *session) note(c *commit, rows, raw, size int64) {
	s.c.mu.Lock()
	st := &s.c.status
	st.Commits++
	st.Files += int64(len(c.segments))
	st.Rows, st.RawBytes, st.Bytes = st.Rows+rows, st.RawBytes+raw, st.Bytes+size
	st.LastCommit = s.c.cfg.Now()
	s.c.mu.Unlock()
	s.c.cfg.Logger.Debug("committed", slog.String("topic", c.topic.name), slog.Int("files", len(c.segments)),
		slog.Int64("rows", rows), slog.Int64("raw_bytes", raw), slog.Int64("bytes", size))
}

// openTable gives a topic's table, made and claimed for this session.
func (s *session) openTable(ctx context.Context, t *topic) (*archive.Table, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, fmt.Errorf("topic %s was created anew: %w", t.name, archive.ErrNoTable)
	}
	if !t.fenced {
		if err := s.retireFormer(ctx, t); err != nil {
			return nil, err
		}
	}
	if t.table == nil {
		table, err := s.c.archive.CreateTable(ctx, t.name)
		if err != nil {
			return nil, err
		}
		t.table = table
	}
	if t.fenced {
		return t.table, nil
	}
	broker := s.c.cfg.Broker
	if e := t.table.Snapshot().Epoch[broker]; e > s.epoch {
		return nil, fmt.Errorf("table of %s has epoch %d, this connector %d: %w", t.name, e, s.epoch, archive.ErrFenced)
	}
	if err := t.table.Fence(ctx, broker, s.epoch); err != nil {
		return nil, err
	}
	// A restore claims the archive first and then fences every table there is: of
	// a table that it didn't see, because it was made only now, this look tells.
	if err := s.c.cfg.Claim(ctx); err != nil {
		return nil, err
	}
	for q, next := range t.table.Snapshot().Next {
		if q.Broker == broker && t.expect[q.ID] != next {
			return nil, fmt.Errorf("table of %s: %v is archived to %d, was to %d: %w", t.name, q, next, t.expect[q.ID], errAgain)
		}
	}
	t.fenced = true
	return t.table, nil
}
