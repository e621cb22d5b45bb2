package txn

import (
	"container/heap"
	"context"
	"fmt"
	"time"

	"varve/hot"
	"varve/internal/mq"
)

// ask puts the questions that are due, and gives up on halves that were asked
// about often enough. It gives the time to the next question, at most maxSleep.
func (s *Store) ask(ctx context.Context) (time.Duration, error) {
	for range checksPerTurn {
		now := s.o.Now()
		s.mu.Lock()
		if len(s.queue) == 0 {
			s.mu.Unlock()
			return maxSleep, nil
		}
		h := s.queue[0]
		if wait := time.UnixMilli(h.due).Sub(now); wait > 0 {
			s.mu.Unlock()
			return min(wait, maxSleep), nil
		}
		over := h.checks >= s.o.MaxChecks || now.UnixMilli()-h.since > s.o.MaxAge.Milliseconds()
		if over {
			heap.Pop(&s.queue)
			h.state, h.verdict = ending, giveUp
		}
		group, checks := h.group.name, h.checks+1
		s.mu.Unlock()
		if over {
			s.giveUpOn(ctx, h)
			continue
		}
		asked, err := s.o.Ask(ctx, group, func() (*Half, error) { return s.view(ctx, h, checks) })
		if err != nil {
			s.o.Logger.Error("producer can't be asked about its transaction", "group", group, "physical", h.physical, "error", err)
		}
		s.asked(h, now, asked)
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	return 0, nil
}

// asked notes a question, or that it could not be put.
func (s *Store) asked(h *half, now time.Time, asked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if asked {
		s.count.Checks++
	}
	if h.state != open {
		return // the answer was quick
	}
	wait := s.o.CheckInterval
	if asked {
		h.checks++
		h.asked = now.UnixMilli()
		s.touch(h)
	} else {
		wait = min(wait, offlineRetry)
	}
	s.queue.set(h, now.Add(wait).UnixMilli())
}

// giveUpOn puts a half aside: into its own topic for people and tools to see,
// and out of doubt.
func (s *Store) giveUpOn(ctx context.Context, h *half) {
	placed, err := s.putAside(ctx, h)
	if err != nil {
		s.o.Logger.Error("half message not given up, will try again", "physical", h.physical, "error", err, "wait", retryAfter)
		s.fail(h)
		return
	}
	s.mu.Lock()
	checks, topic, group := h.checks, h.topic.name, h.group.name
	s.settle(h, giveUp, placed[len(placed)-1].PhysicalOffset)
	s.count.GivenUp++
	s.mu.Unlock()
	s.o.Logger.Warn("transaction given up: nobody ended it", "topic", topic, "group", group, "physical", h.physical, "checks", checks)
}

func (s *Store) putAside(ctx context.Context, h *half) ([]hot.Placed, error) {
	if err := s.o.GiveUp(); err != nil {
		return nil, err
	}
	rec, err := s.record(ctx, h.physical)
	if err != nil {
		return nil, err
	}
	m, err := rec.Decode()
	if err != nil {
		return nil, fmt.Errorf("half message at physical offset %d: %w", h.physical, err)
	}
	m.Topic, m.QueueID, m.PreparedTransactionOffset = GivenUpTopic, 0, h.physical
	return s.log.Append(context.WithoutCancel(ctx), []*mq.Message{&m, s.endRecord(h.physical, giveUp)})
}
