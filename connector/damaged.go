package connector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"varve/internal/archive"
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
		rec, err := s.recordAt(ctx, id, at)
		if err != nil {
			return err
		}
		end = rec.PhysicalOffset()
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

// watchDamaged ends the session when a damaged table can be read again, or is
// gone: the next session goes on with it.
func (s *session) watchDamaged(ctx context.Context, topics map[string]string) {
	ticker := time.NewTicker(s.c.cfg.RetryMax)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for name := range topics {
			err := attempt(ctx, s.c.cfg.CallTimeout*commitCalls, func(ctx context.Context) error {
				table, err := s.c.archive.Table(ctx, name)
				if err == nil {
					_, err = table.Refresh(ctx)
				}
				return err
			})
			if err == nil || errors.Is(err, archive.ErrNoTable) {
				s.tell(ctx, event{err: fmt.Errorf("table of %s can be read again: %w", name, errAgain)})
				return
			}
		}
	}
}
