package connector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"varve/internal/archive"
	"varve/internal/mq"
)

// seeEndings ends what the session has of topics that were deleted since it
// looked last. What is not committed of them is let go: it went with its topic.
// The log tells of a deletion before it gives a message from behind it.
func (s *session) seeEndings() {
	version := s.c.log.EndingsVersion()
	if version == s.endingsSeen {
		return
	}
	s.endingsSeen, s.endings = version, s.c.log.Endings()
	for name, pos := range s.endings {
		if t := s.topics[name]; t != nil && t.from < pos {
			s.reincarnate(t)
		}
	}
	s.deleting.between(s.forgetDeleted)
}

// reincarnate begins a topic anew that was deleted.
func (s *session) reincarnate(old *topic) *topic {
	s.discard(old)
	t := s.topicOf([]byte(old.name))
	t.former = old
	s.c.cfg.Logger.Info("topic was deleted, its unarchived messages with it; what comes is of its next incarnation",
		slog.String("topic", t.name), slog.Int64("position", t.from))
	return t
}

// let lets a topic go that was deleted in the log.
func (s *session) let(t *topic, why error) {
	s.c.cfg.Logger.Info("topic is gone, its unarchived messages with it", slog.String("topic", t.name), slog.Any("err", why))
	s.discard(t)
	s.deleting.between(s.forgetDeleted)
	s.rollFlushed()
}

// forgetDeleted takes queues that are not in the log any more, or that began
// anew and haven't come as far, out of the flush requests.
func (s *session) forgetDeleted() {
	for _, f := range s.c.flushes {
		for id, to := range f.targets {
			r, err := s.c.log.Range(context.Background(), id)
			if errors.Is(err, mq.ErrNoQueue) || err == nil && r.To < to {
				delete(f.targets, id)
			}
		}
	}
}

// retireFormer makes sure that nothing of the topic's former incarnation is in
// the table that its files go to. The caller has t.mu.
func (s *session) retireFormer(ctx context.Context, t *topic) error {
	if t.former != nil {
		if err := s.retire(ctx, t.former); err != nil {
			return err
		}
		t.former = nil
	}
	pos := s.c.log.Ending(t.name)
	if pos == 0 {
		return nil
	}
	again := func() error {
		return fmt.Errorf("topic %s was deleted meanwhile: %w", t.name, archive.ErrNoTable)
	}
	if pos != t.from {
		return again()
	}
	if err := s.retireEnded(ctx, t.name); err != nil {
		return err
	}
	done, err := s.c.log.EndingDone(t.name, pos)
	if err == nil && !done {
		err = again()
	}
	return err
}

// retireEnded drops the table of a deleted topic. A table that has nothing of
// this broker group is another group's, which has met the deletion before.
func (s *session) retireEnded(ctx context.Context, name string) error {
	table, err := s.c.archive.Table(ctx, name)
	if err == nil {
		_, err = table.Refresh(ctx)
	}
	if errors.Is(err, archive.ErrNoTable) {
		return nil
	}
	if err != nil {
		return err
	}
	for q := range table.Snapshot().Next {
		if q.Broker == s.c.cfg.Broker {
			return s.c.archive.DropTable(ctx, name, "the topic was deleted and created again")
		}
	}
	return nil
}

// retire closes a topic's former incarnation, and those before it, and drops
// its table unless somebody did.
func (s *session) retire(ctx context.Context, old *topic) error {
	old.mu.Lock()
	defer old.mu.Unlock()
	old.closed = true
	if old.former != nil {
		if err := s.retire(ctx, old.former); err != nil {
			return err
		}
		old.former = nil
	}
	if old.table == nil {
		return nil
	}
	now, err := s.c.archive.Table(ctx, old.name)
	switch {
	case errors.Is(err, archive.ErrNoTable):
		return nil
	case err != nil:
		return err
	case now.Root() != old.table.Root():
		return nil
	}
	return s.c.archive.DropTable(ctx, old.name, "the topic was deleted and created again")
}
