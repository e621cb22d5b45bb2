package connector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"golang.org/x/sync/errgroup"

	"varve/hot"
	"varve/internal/archive"
	"varve/internal/mq"
)

// resume reads where the archive stands, and finds the place in the log from
// which on something is missing there.
func (s *session) resume(ctx context.Context) error {
	s.topics, s.older, s.blocks = map[string]*topic{}, map[string]bool{}, blocks{}
	s.harm.clear()
	s.epoch = 1
	// The version first: an ending that comes in between is seen once more.
	s.endingsSeen = s.c.log.EndingsVersion()
	s.endings = s.c.log.Endings()
	confirmed := s.c.log.Confirmed()
	// The low-water mark may not pass what a power cut could take back.
	if err := s.c.log.Flush(ctx); err != nil {
		return fmt.Errorf("flush the hot log: %w", err)
	}
	if err := s.c.cfg.Claim(ctx); err != nil {
		return err
	}
	if err := s.readTables(ctx); err != nil {
		return err
	}
	s.c.mu.Lock()
	s.c.status.Blocked, s.c.status.Damaged = nil, s.damagedTopics()
	s.c.mu.Unlock()
	s.pos, s.lost = confirmed, s.c.log.Stats().ArchivedPhysical
	marks := map[mq.Queue]int64{}
	for _, id := range s.c.log.Queues() {
		if mq.SystemTopic(id.Topic) {
			continue
		}
		if t := s.topics[id.Topic]; t != nil && t.damaged != nil {
			if err := s.keepBlocked(ctx, t, id); err != nil {
				return fmt.Errorf("resume %v: %w", id, err)
			}
			continue
		}
		from, err := s.place(ctx, id)
		switch {
		case errors.Is(err, mq.ErrNoQueue):
			continue // deleted meanwhile
		case hot.Damaged(err): // of its index: where it goes on isn't known
			at, _ := s.c.log.Range(ctx, id)
			s.blockLost(s.queueOf(s.topicOf([]byte(id.Topic)), id.ID), hot.Lost{
				Queue: id, Offset: max(at.From, s.c.log.Archived(id)), Position: s.lost, Err: err,
			})
			continue
		case err != nil:
			return fmt.Errorf("resume %v: %w", id, err)
		}
		s.pos = min(s.pos, from)
		if q := s.topics[id.Topic]; q != nil && q.queues[id.ID] != nil {
			marks[id] = q.queues[id.ID].mark
		}
	}
	if first := s.c.log.Stats().FirstPhysical; s.pos < first {
		s.pos = first
	}
	low, _ := s.lowWater()
	s.setArchived(marks, low)
	s.publish()
	return nil
}

// readTables reads the snapshots of all tables.
func (s *session) readTables(ctx context.Context) error {
	names, err := s.c.archive.Topics(ctx)
	if err != nil {
		return fmt.Errorf("list the archive's topics: %w", err)
	}
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(resumeAtOnce)
	for _, name := range names {
		g.Go(func() error {
			table, err := s.c.archive.Table(gctx, name)
			if errors.Is(err, archive.ErrNoTable) {
				return nil // dropped
			}
			if err == nil {
				_, err = table.Refresh(gctx)
			}
			if err != nil && !archive.Unreadable(err) {
				return fmt.Errorf("table of topic %s: %w", name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				s.topicOf([]byte(name)).damaged = err
				s.c.cfg.Logger.Error("topic is not archived while its table can't be read", slog.String("topic", name), slog.Any("err", err))
				return nil
			}
			return s.known(name, table)
		})
	}
	return g.Wait()
}

// known takes over what a table holds of this broker group, unless the topic
// was deleted since.
func (s *session) known(name string, table *archive.Table) error {
	snap, broker := table.Snapshot(), s.c.cfg.Broker
	s.epoch = max(s.epoch, snap.Epoch[broker]+1)
	if s.endings[name] > 0 {
		return nil // of the incarnation before
	}
	t := s.topicOf([]byte(name))
	t.table, t.expect = table, map[int32]int64{}
	for id, next := range snap.Next {
		if id.Broker != broker {
			continue
		}
		q := s.queueOf(t, id.ID)
		q.next, q.mark, q.known = next, next, true
		t.expect[id.ID] = next
		if files := table.Index().Files(id, mq.Range{From: next - 1, To: next}); len(files) > 0 {
			q.lastPhysical = files[len(files)-1].LastPhysical
		}
		if end := s.c.log.Confirmed(); q.lastPhysical >= end {
			return fmt.Errorf("%v is archived to position %d, the log of %s ends at %d: %w", id, q.lastPhysical, broker, end, ErrForeignLog)
		}
	}
	return nil
}

// place gives the position of a queue's first record that the archive lacks,
// or the end of the log where it lacks none. It also finds out whether the
// log's queue is the one that was archived.
func (s *session) place(ctx context.Context, id mq.Queue) (int64, error) {
	none := s.c.log.Confirmed()
	r, err := s.c.log.Held(id)
	if err != nil {
		return 0, err
	}
	q := s.queueOf(s.topicOf([]byte(id.Topic)), id.ID)
	mark := s.c.log.Archived(id)
	if q.known && !r.Empty() {
		same, err := s.sameQueue(q, r)
		switch {
		case err != nil:
			return 0, err
		case !same && mark > 0 && r.From > 0:
			return none, s.missing(q, r, 0, mark)
		case !same:
			q = s.queueOf(s.reincarnate(q.topic), id.ID)
		}
	}
	if mark > q.next {
		if r.From > q.next {
			return none, s.missing(q, r, q.next, mark)
		}
		s.c.cfg.Logger.Warn("the archive is older than the log, which still holds what is missing: archived again",
			slog.Any("queue", id), slog.Int64("archive_end", q.next), slog.Int64("archived", mark))
	}
	at := r.From
	if q.known {
		at = max(at, q.next)
	}
	if at >= r.To {
		return none, nil
	}
	return s.c.log.Position(id, at)
}

// missing blocks a queue of which the archive once had more than it has now and
// the log not enough to make up for it. What the log holds is passed over.
func (s *session) missing(q *queue, r mq.Range, end, mark int64) error {
	from := s.c.log.Confirmed()
	if !r.Empty() {
		var err error
		if from, err = s.c.log.Position(q.id, r.From); err != nil {
			return err
		}
		if q.lastPhysical, err = s.c.log.Position(q.id, r.To-1); err != nil {
			return err
		}
	}
	q.next, q.known = r.To, true
	s.older[q.id.Topic] = true
	s.block(q, from, fmt.Errorf("the archive ends at offset %d, this log was archived up to %d and begins at %d: %w", end, mark, r.From, ErrOlder))
	return nil
}

// sameQueue compares the log's queue with the archive's at the last record
// that both hold. A topic that was deleted and created again has other
// positions there, or ends before.
func (s *session) sameQueue(q *queue, r mq.Range) (bool, error) {
	if r.To < q.next {
		return false, nil // archived is durable, so the log can't have lost it
	}
	if r.From >= q.next {
		if q.lastPhysical < 0 && r.From < r.To {
			at, err := s.c.log.Position(q.id, r.From)
			if err != nil {
				return false, err
			}
			q.lastPhysical = at - 1
		}
		return true, nil
	}
	at, err := s.c.log.Position(q.id, q.next-1)
	if err != nil {
		return false, err
	}
	if q.lastPhysical < 0 {
		q.lastPhysical = at
	}
	return at == q.lastPhysical, nil
}
