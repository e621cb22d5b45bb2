package connector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"varve/hot"
	"varve/internal/mq"
)

// keepBlocked blocks a queue of a damaged topic from where its archived mark
// stood when the table could still be read.
func (s *session) keepBlocked(ctx context.Context, t *topic, id mq.Queue) error {
	end := s.c.log.Confirmed() // before Range: what comes in between is above it
	r, err := s.c.log.Range(ctx, id)
	if errors.Is(err, mq.ErrNoQueue) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	at := max(r.From, s.c.log.Archived(id))
	if at < r.To {
		pos, err := s.c.log.Position(id, at)
		if errors.Is(err, mq.ErrNoQueue) {
			return nil
		}
		if err != nil && !hot.Damaged(err) {
			return err
		}
		if end = pos; err != nil {
			end = s.lost // its index is damaged too
		}
	}
	s.block(s.queueOf(t, id.ID), end, t.damaged)
	return nil
}

// damagedTopics gives the topics whose table couldn't be read, and why.
func (s *session) damagedTopics() map[string]string {
	out := map[string]string{}
	for _, t := range s.topics {
		if t.damaged != nil {
			out[t.name] = t.damaged.Error()
		}
	}
	return out
}

// damage blocks a topic whose table turned out to be unreadable while the
// session runs: what is under way for it is let go, the log keeps it, and the
// other topics go on.
func (s *session) damage(ctx context.Context, old *topic, why error) {
	from := map[int32]int64{}
	for id, q := range old.queues {
		from[id] = s.pos
		switch {
		case q.blocked >= 0:
			from[id] = q.blocked
		case len(q.frozen) > 0:
			from[id] = q.frozen[0].firstPhysical
		case q.open != nil:
			from[id] = q.open.firstPhysical
		}
	}
	s.discard(old)
	t := s.topicOf([]byte(old.name))
	t.damaged = why
	for id, at := range from {
		q := s.queueOf(t, id)
		q.lastPhysical = old.queues[id].lastPhysical
		s.block(q, at, why)
	}
	s.c.mu.Lock()
	s.c.status.Damaged = s.damagedTopics()
	s.c.mu.Unlock()
	s.c.cfg.Logger.Error("topic is not archived until this is over", slog.String("topic", t.name), slog.Any("err", why))
	s.publish()
	s.rollFlushed()
	s.running.Go(func() {
		if errors.Is(why, errOthers) {
			s.watchOthers(ctx, t.name)
		} else {
			s.watch(ctx, t.name, true)
		}
	})
}

// watch ends the session when a topic's table can be read or made again, or,
// where it is only older than the log, when it has changed: the next session
// goes on with it.
func (s *session) watch(ctx context.Context, name string, damaged bool) {
	for wait := s.c.backoff(); wait(ctx); {
		changed := false
		err := attempt(ctx, s.c.cfg.CallTimeout*commitCalls, func(ctx context.Context) error {
			table, err := s.c.archive.CreateTable(ctx, name)
			if err == nil {
				changed, err = table.Refresh(ctx)
			}
			return err
		})
		if err == nil && (damaged || changed) {
			s.tell(ctx, event{err: fmt.Errorf("table of %s can be read again: %w", name, errAgain)})
			return
		}
	}
}
