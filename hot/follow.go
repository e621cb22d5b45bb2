package hot

import (
	"context"
	"errors"

	"varve/internal/mq"
)

// Step is what comes next in a queue that is followed.
type Step struct {
	Batch mq.Batch // its records; none at the queue's end, where Next is the place
	More  bool     // there is more behind it
	// Place is where the batch begins: not where it was asked for if that was
	// outside the queue's range, From to To, which is Lost.
	Place    int64
	Lost     bool
	From, To int64
}

// Follow reads a queue from a place on, at most so many bytes and one record.
// A queue that nobody wrote to has nothing.
func (s *Store) Follow(ctx context.Context, q mq.Queue, place int64, bytes int) (Step, error) {
	r, err := s.Range(ctx, q)
	if errors.Is(err, mq.ErrNoQueue) {
		return Step{Place: place, Batch: mq.Batch{Next: place}}, nil
	}
	if err != nil {
		return Step{}, err
	}
	at := min(max(place, r.From), r.To)
	step := Step{Place: at, Batch: mq.Batch{Next: at}, Lost: at != place, From: r.From, To: r.To}
	if at == r.To {
		return step, nil
	}
	if step.Batch, err = s.Read(ctx, q, at, mq.Limit{Bytes: bytes}); err != nil {
		return Step{}, err
	}
	step.More = step.Batch.Next < r.To
	return step, nil
}
