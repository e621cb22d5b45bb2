package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"varve/internal/mq"
)

// span is the part of one queue that a spec asks for.
type span struct {
	queue    mq.Queue
	from, to int64
}

// plan fixes the offsets that a spec means now, in order of the queues.
func (s *Service) plan(ctx context.Context, spec *Spec) ([]span, error) {
	queues, err := s.src.Queues(ctx, spec.Source)
	if err != nil {
		return nil, fmt.Errorf("listing the queues of %s: %w", spec.Source, err)
	}
	sortQueues(queues)
	if len(queues) == 0 {
		return nil, bad("there is no topic %s, or nothing in it", spec.Source)
	}
	for _, id := range spec.Queues {
		if !slices.ContainsFunc(queues, func(q mq.Queue) bool { return q.ID == id }) {
			return nil, bad("topic %s has no queue %d", spec.Source, id)
		}
	}
	var out []span
	for _, q := range queues {
		if !spec.wants(q.ID) {
			continue
		}
		sp, err := s.span(ctx, spec, q)
		if err != nil {
			return nil, fmt.Errorf("planning the replay of %s: %w", q, err)
		}
		out = append(out, sp)
	}
	return out, nil
}

func sortQueues(queues []mq.Queue) {
	slices.SortFunc(queues, func(a, b mq.Queue) int {
		return cmp.Or(cmp.Compare(a.Broker, b.Broker), cmp.Compare(a.ID, b.ID))
	})
}

func (s *Service) span(ctx context.Context, spec *Spec, q mq.Queue) (span, error) {
	r, err := s.src.Range(ctx, q)
	if errors.Is(err, mq.ErrNoQueue) {
		return span{queue: q}, nil
	}
	if err != nil {
		return span{}, err
	}
	if spec.FromOffset != nil {
		r.From = max(r.From, *spec.FromOffset)
	}
	if spec.ToOffset != nil {
		r.To = min(r.To, *spec.ToOffset)
	}
	if spec.FromMillis > 0 {
		at, err := s.src.OffsetAt(ctx, q, spec.FromMillis, mq.Lower)
		if err != nil {
			return span{}, err
		}
		r.From = max(r.From, at)
	}
	if spec.ToMillis > 0 {
		at, err := s.src.OffsetAt(ctx, q, spec.ToMillis, mq.Lower)
		if err != nil {
			return span{}, err
		}
		r.To = min(r.To, at)
	}
	return span{q, r.From, max(r.From, r.To)}, nil
}

// assign gives each source queue its queue of the destination: the same id,
// modulo the number there is.
func (s *Service) assign(ctx context.Context, spec *Spec, spans []span) ([]QueueState, error) {
	count := 1
	for _, sp := range spans {
		count = max(count, int(sp.queue.ID)+1)
	}
	dests, err := s.pub.Queues(ctx, spec.Destination, min(count, maxDestQueues))
	if err != nil {
		return nil, fmt.Errorf("preparing the destination %s: %w", spec.Destination, err)
	}
	if len(dests) == 0 {
		return nil, bad("topic %s has no queue that can be written to", spec.Destination)
	}
	dests = slices.Clone(dests)
	sortQueues(dests)
	states := make([]QueueState, len(spans))
	for i, sp := range spans {
		dest := dests[int(sp.queue.ID)%len(dests)]
		end := int64(0)
		r, err := s.src.Range(ctx, dest)
		if err == nil {
			end = r.To
		} else if !errors.Is(err, mq.ErrNoQueue) {
			return nil, fmt.Errorf("preparing the destination %s: %w", dest, err)
		}
		states[i] = QueueState{Source: sp.queue, From: sp.from, To: sp.to, Next: sp.from, Dest: dest, Scan: end}
	}
	return states, nil
}

// maxDestQueues bounds the queues of a destination that a job creates.
const maxDestQueues = 1024
