package connector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

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
	if err := s.endTable(ctx, t.name); err != nil {
		return err
	}
	done, err := s.c.log.EndingDone(t.name, pos)
	if err == nil && !done {
		err = again()
	}
	return err
}

// wasDeleted is the reason for which tables end here.
const wasDeleted = "the topic was deleted and created again"

// errOthers says that a topic was deleted here, and that other broker groups, which
// have theirs still, have files in its table.
var errOthers = errors.New("the topic was deleted, and its table is still that of other broker groups")

// endTable retires the table of a deleted topic, unless it has nothing of this
// broker group: then it is another group's, which has met the deletion before.
// errOthers where other groups' topic was not deleted.
func (s *session) endTable(ctx context.Context, name string) error {
	waits, err := s.c.archive.EndPart(ctx, name, s.c.cfg.Broker, wasDeleted, true)
	if err == nil && len(waits) > 0 {
		err = fmt.Errorf("%w: %s of %s; what is new of it is archived once it was deleted there too, or retention has taken their files", errOthers, name, strings.Join(waits, ", "))
	}
	return err
}

// markEndings notes in tables that other broker groups write too that the topic was
// deleted here, though nothing new of it is due: the others may wait for that.
func (s *session) markEndings(ctx context.Context) {
	marked := map[string]int64{}
	for wait := s.c.backoff(); wait(ctx); {
		for name, pos := range s.c.log.Endings() {
			if marked[name] == pos {
				continue
			}
			err := attempt(ctx, s.c.cfg.CallTimeout*commitCalls, func(ctx context.Context) error {
				_, err := s.c.archive.EndPart(ctx, name, s.c.cfg.Broker, wasDeleted, false)
				return err
			})
			if err == nil {
				marked[name] = pos
			}
		}
	}
}

// watchOthers ends the session when the other broker groups' topic was deleted
// too: the next session goes on with the next table.
func (s *session) watchOthers(ctx context.Context, name string) {
	for wait := s.c.backoff(); wait(ctx); {
		var waits []string
		err := attempt(ctx, s.c.cfg.CallTimeout*commitCalls, func(ctx context.Context) (err error) {
			waits, err = s.c.archive.EndPart(ctx, name, s.c.cfg.Broker, wasDeleted, false)
			return err
		})
		if err == nil && len(waits) == 0 {
			s.tell(ctx, event{err: fmt.Errorf("topic %s was deleted at the other broker groups too: %w", name, errAgain)})
			return
		}
	}
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
	return s.endTable(ctx, old.name)
}
