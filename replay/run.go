package replay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"varve/internal/mq"
)

// drive takes a job from waiting to wherever it ends or is stopped.
func (s *Service) drive(ctx context.Context, e *entry) {
	log := s.cfg.Logger.With("job", e.job.ID, "source", e.job.Spec.Source, "destination", e.job.Spec.Destination)
	select {
	case s.places <- struct{}{}:
		defer func() { <-s.places }()
		s.work(ctx, e, log)
	case <-ctx.Done():
	}
	// The context may have ended; the last state is stored all the same.
	if err := s.checkpoint(context.WithoutCancel(ctx), e); err != nil {
		log.Error("replay state not stored", "error", err)
	}
}

func (s *Service) work(ctx context.Context, e *entry, log *slog.Logger) {
	s.mu.Lock()
	if e.job.State == Waiting {
		s.move(e, Running, "")
	}
	s.mu.Unlock()
	err := s.replay(ctx, e, log)
	if err == nil {
		err = s.checkpoint(ctx, e) // nothing is done before it is durable
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case e.job.State != Running: // paused or cancelled meanwhile
	case err == nil:
		s.move(e, Done, "")
	case ctx.Err() != nil: // the service stops; the job goes on with the next
	default:
		s.move(e, Failed, err.Error())
	}
	log.Info("replay stopped", "state", string(e.job.State), "written", e.job.Progress().Written, "error", err)
}

// replay runs a job's queues, a few at a time, and stores its progress.
func (s *Service) replay(ctx context.Context, e *entry, log *slog.Logger) error {
	keep, err := e.job.Spec.check()
	if err != nil {
		return err
	}
	ticks, stop := context.WithCancel(ctx)
	stored := make(chan struct{})
	go func() {
		defer close(stored)
		for sleep(ticks, s.cfg.Checkpoint) == nil {
			if err := s.checkpoint(ticks, e); err != nil && ticks.Err() == nil {
				log.Warn("replay checkpoint", "error", err)
			}
		}
	}()
	defer func() { stop(); <-stored }()
	pace := newPacer(&e.job.Spec)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.cfg.Parallel)
	for i := range e.job.Queues {
		g.Go(func() error {
			t := &task{s: s, e: e, i: i, keep: keep, pace: pace}
			return t.persist(ctx, log)
		})
	}
	return g.Wait()
}

// task replays one queue of a job.
type task struct {
	s    *Service
	e    *entry
	i    int // in Job.Queues
	keep mq.Filter
	pace *pacer

	mark  marker
	props []byte
	msgs  []mq.Message
	ptrs  []*mq.Message
}

// state is the queue's progress; only this task changes it.
func (t *task) state() QueueState {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	return t.e.job.Queues[t.i]
}

// advance stores the queue's progress for others to see.
func (t *task) advance(q QueueState) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.e.job.Queues[t.i] = q
	t.e.job.Updated = time.Now().UTC()
	t.e.job.Error = ""
}

// maxRetryWait bounds the wait before a retry.
const maxRetryWait = 30 * time.Second

// persist runs the task to its end, again and again where it fails without
// hope being lost.
func (t *task) persist(ctx context.Context, log *slog.Logger) error {
	wait := t.s.cfg.RetryWait
	for tries := 0; ; tries++ {
		before := t.state().Next
		err := t.run(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
		if t.state().Next > before {
			tries, wait = 0, t.s.cfg.RetryWait
		}
		var unfit *unfitError
		if errors.As(err, &unfit) || errors.Is(err, ErrGone) || t.s.cfg.Permanent(err) {
			return err
		}
		if tries >= t.s.cfg.MaxRetries {
			return fmt.Errorf("%w (tried %d times)", err, tries+1)
		}
		log.Warn("replay is retried", "queue", t.state().Source.String(), "wait", wait, "error", err)
		t.s.mu.Lock()
		t.e.job.Error = err.Error()
		t.s.mu.Unlock()
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, maxRetryWait)
	}
}

// run looks for what is written already and goes on behind it.
func (t *task) run(ctx context.Context) error {
	q := t.state()
	if q.Next >= q.To {
		return nil
	}
	t.mark = marker{job: t.e.job.ID, queue: q.Source.String(), topic: q.Dest.Topic, id: q.Dest.ID}
	q, err := t.s.catchUp(ctx, q, &t.mark)
	if err != nil {
		return fmt.Errorf("looking through %s: %w", q.Dest, err)
	}
	t.advance(q)
	for q.Next < q.To {
		if q, err = t.step(ctx, q); err != nil {
			return err
		}
		t.advance(q)
	}
	return nil
}

// catchUp moves a queue's progress behind what the destination already has.
func (s *Service) catchUp(ctx context.Context, q QueueState, own *marker) (QueueState, error) {
	r, err := s.src.Range(ctx, q.Dest)
	if err != nil && !errors.Is(err, mq.ErrNoQueue) {
		return q, err
	}
	if err := s.same(ctx, q, r, own); err != nil {
		return q, err
	}
	at := max(q.Scan, r.From)
	for at < r.To {
		b, err := s.src.Read(ctx, q.Dest, at, mq.Limit{Bytes: s.cfg.BatchBytes, Filter: own})
		if err != nil {
			return q, err
		}
		for rec := range mq.Records(b.Body) {
			off, err := sourceOffset(rec)
			if err != nil {
				return q, err
			}
			q.End = rec.QueueOffset() + 1
			if off >= q.Next {
				q.Next = off + 1
				q.Written++
				q.Bytes += int64(len(rec.Body()))
			}
		}
		if b.Next <= at {
			return q, fmt.Errorf("it ends at %d before its own end %d", at, r.To)
		}
		at = b.Next
	}
	q.Scan = max(at, q.Scan)
	return q, nil
}

// same checks that a destination queue of range r is the one that the job knows:
// it doesn't end before what the job has seen of it, and the last message that
// the job wrote is where it was, unless retention took it.
func (s *Service) same(ctx context.Context, q QueueState, r mq.Range, own *marker) error {
	if r.To < max(q.Scan, q.End) {
		return fmt.Errorf("%w: it ends at offset %d, and ended at %d before", ErrGone, r.To, max(q.Scan, q.End))
	}
	if q.End == 0 || q.End <= r.From {
		return nil
	}
	b, err := s.src.Read(ctx, q.Dest, q.End-1, mq.Limit{Messages: 1, Scan: 1, Filter: own})
	switch {
	case errors.Is(err, mq.ErrTooLow): // taken since we looked
		return nil
	case err != nil:
		return err
	case b.Count == 0:
		return fmt.Errorf("%w: the message at offset %d, which the replay wrote, is another one", ErrGone, q.End-1)
	}
	return nil
}

// step replays one batch and gives the progress after it.
func (t *task) step(ctx context.Context, q QueueState) (QueueState, error) {
	messages, bytes := t.pace.batch(t.s.cfg.BatchMessages, t.s.cfg.BatchBytes)
	b, skipped, err := t.s.read(ctx, q.Source, q.Next, q.To, mq.Limit{Messages: messages, Bytes: bytes, Filter: t.keep})
	if err != nil {
		return q, fmt.Errorf("reading %s at %d: %w", q.Source, q.Next, err)
	}
	q.Missing += skipped
	if b.Count > 0 {
		if q, err = t.publish(ctx, q, b); err != nil {
			return q, err
		}
	}
	q.Next = min(b.Next, q.To)
	return q, nil
}

// read is Reader.Read within [at, to). Offsets that retention took are skipped
// and counted.
func (s *Service) read(ctx context.Context, q mq.Queue, at, to int64, lim mq.Limit) (b mq.Batch, skipped int64, err error) {
	lim.Scan = int(min(to-at, 1<<30))
	b, err = s.src.Read(ctx, q, at, lim)
	if errors.Is(err, mq.ErrTooLow) {
		r, rangeErr := s.src.Range(ctx, q)
		if rangeErr != nil {
			return b, 0, rangeErr
		}
		next := min(r.From, to)
		if next <= at {
			return b, 0, err
		}
		return mq.Batch{Next: next}, next - at, nil
	}
	if err == nil && b.Next <= at {
		err = fmt.Errorf("the queue ends before offset %d", to)
	}
	return b, 0, err
}

// publish writes a batch's messages and gives the progress with them.
func (t *task) publish(ctx context.Context, q QueueState, b mq.Batch) (QueueState, error) {
	t.props, t.msgs, t.ptrs = t.props[:0], t.msgs[:0], t.ptrs[:0]
	bytes := 0
	for rec := range mq.Records(b.Body) {
		if rec.QueueOffset() >= q.To {
			break
		}
		var m mq.Message
		var err error
		if t.props, err = t.mark.mark(t.props, rec, &m); err != nil {
			return q, err
		}
		bytes += len(m.Body)
		t.msgs = append(t.msgs, m)
	}
	if len(t.msgs) == 0 {
		return q, nil
	}
	for i := range t.msgs {
		t.ptrs = append(t.ptrs, &t.msgs[i])
	}
	if err := t.pace.wait(ctx, len(t.msgs), bytes); err != nil {
		return q, err
	}
	// Once begun, a publish is seen to its end: what is given up on could
	// still be written, and then be written again.
	first, err := t.s.pub.Publish(context.WithoutCancel(ctx), q.Dest, t.ptrs)
	if err != nil {
		return q, fmt.Errorf("writing to %s: %w", q.Dest, err)
	}
	if first < q.Scan { // deleted and made again since
		return q, fmt.Errorf("writing to %s: %w: it ended at offset %d before, and at %d now", q.Dest, ErrGone, q.Scan, first)
	}
	q.Scan = first + int64(len(t.msgs))
	q.End = q.Scan
	q.Written += int64(len(t.msgs))
	q.Bytes += int64(bytes)
	return q, nil
}
