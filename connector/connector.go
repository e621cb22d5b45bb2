package connector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"varve/hot"
	"varve/internal/archive"
	"varve/internal/mq"
)

// Connector archives one broker group's log. Its methods may be called
// concurrently.
type Connector struct {
	cfg     Config
	log     *hot.Store
	archive *archive.Archive
	flush   chan *flushRequest
	done    chan struct{} // closed when Run has ended
	// flushes wait; they outlive sessions and belong to Run's goroutine.
	flushes []*flushRequest

	// held is the position from which on the log may not be trimmed, whatever
	// was archived once: the archive may be older than the log.
	held atomic.Int64

	mu     sync.Mutex
	status Status
	// retrying is how many attempts have failed and go on.
	retrying int
	low      int64 // everything of the log below it is archived
	oldest   int64 // store time of the first message that is not, 0 for none
}

// flushRequest asks for everything below the targets to be committed.
type flushRequest struct {
	targets map[mq.Queue]int64
	done    chan struct{}
	// blocked, read once done is closed, is why something was left out.
	blocked error
}

// New makes a connector. The log is not trimmed before Run has seen where the
// archive stands.
func New(cfg Config, log *hot.Store, a *archive.Archive) (*Connector, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	c := &Connector{
		cfg: cfg, log: log, archive: a,
		flush: make(chan *flushRequest), done: make(chan struct{}),
		status: Status{State: Starting},
	}
	log.Hold("connector", c.held.Load)
	return c, nil
}

// Run archives until ctx ends (nil) or a newer connector takes over
// (archive.ErrFenced). It is called once. Failures of the bucket are retried
// for as long as they last, see Status.
func (c *Connector) Run(ctx context.Context) error {
	defer close(c.done)
	if err := c.emptyDir(); err != nil {
		c.setState(Stopped)
		return err
	}
	wait, tries := c.backoff(), tries{c: c}
	for {
		began := c.cfg.Now()
		err := c.runSession(ctx, tries.end)
		switch {
		case ctx.Err() != nil:
			c.setState(Stopped)
			return nil
		case errors.Is(err, hot.ErrClosed):
			c.setState(Stopped)
			return nil
		case errors.Is(err, archive.ErrFenced):
			c.failed(err)
			c.setState(Fenced)
			c.cfg.Logger.Error("connector fenced", slog.String("broker", c.cfg.Broker), slog.Any("err", err))
			return err
		}
		tries.failed(err)
		if errors.Is(err, archive.ErrIdentity) {
			c.held.Store(0) // what is archived is out of reach: the log keeps what it has
		}
		c.cfg.Logger.Warn("connector starts again", slog.String("broker", c.cfg.Broker), slog.Any("err", err))
		if c.cfg.Now().Sub(began) > c.cfg.RetryMax {
			wait = c.backoff()
		}
		if !wait(ctx) {
			c.setState(Stopped)
			return nil
		}
	}
}

// Flush archives everything that was acked before the call, and returns when
// it is committed and the archived marks have moved. ErrBlocked says that a
// damaged table kept its topic out, and that all else is archived; ErrFailing
// that ctx ended while something failed.
func (c *Connector) Flush(ctx context.Context) error {
	began := c.cfg.Now()
	if err := c.log.Flush(ctx); err != nil {
		return fmt.Errorf("flush the hot log: %w", err)
	}
	req := &flushRequest{targets: map[mq.Queue]int64{}, done: make(chan struct{})}
	for _, q := range c.log.Queues() {
		if mq.SystemTopic(q.Topic) {
			continue
		}
		r, err := c.log.Range(ctx, q)
		switch {
		case errors.Is(err, mq.ErrNoQueue):
		case err != nil:
			return fmt.Errorf("flush %v: %w", q, err)
		case !r.Empty():
			req.targets[q] = r.To
		}
	}
	select {
	case c.flush <- req:
	case <-c.done:
		return c.stopped()
	case <-ctx.Done():
		return c.flushTimeout(ctx, began)
	}
	select {
	case <-req.done:
		if req.blocked != nil {
			return fmt.Errorf("flush: the rest is archived, but %w: %w", ErrBlocked, req.blocked)
		}
		return nil
	case <-c.done:
		return c.stopped()
	case <-ctx.Done():
		return c.flushTimeout(ctx, began)
	}
}

// stopped is ErrStopped, with the reason where it was not told to.
func (c *Connector) stopped() error {
	if st := c.Status(); st.State == Fenced {
		return fmt.Errorf("%w: %s", ErrStopped, st.Error)
	}
	return ErrStopped
}

// flushTimeout says why a flush that began then was not done in time: something
// fails still, or did and went on when it was tried again.
func (c *Connector) flushTimeout(ctx context.Context, began time.Time) error {
	switch st := c.Status(); {
	case st.State == Retrying:
		return fmt.Errorf("flush: %w; %w since %s: %s", ctx.Err(), ErrFailing, st.FailingSince.Format(time.RFC3339), st.Error)
	case st.Error != "" && !st.ErrorAt.Before(began):
		return fmt.Errorf("flush: %w; %w now and then, last at %s: %s", ctx.Err(), ErrFailing, st.ErrorAt.Format(time.RFC3339), st.Error)
	}
	return fmt.Errorf("flush: %w", ctx.Err())
}

// backoff gives a function that waits longer each time it is called, with
// jitter; it is false where ctx ended.
func (c *Connector) backoff() func(ctx context.Context) bool {
	next := c.cfg.RetryMin
	return func(ctx context.Context) bool {
		d := next/2 + rand.N(next/2+1)
		next = min(next*2, c.cfg.RetryMax)
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// persist tries f until it succeeds, noting failures; it gives up with ctx or
// where an error says that trying again is no use. An attempt may take no
// longer than a limit: a store that neither answers nor refuses has failed.
func (c *Connector) persist(ctx context.Context, what string, limit time.Duration, f func(ctx context.Context) error) error {
	wait, tries := c.backoff(), tries{c: c}
	defer tries.end()
	for {
		err := attempt(ctx, limit, f)
		if err == nil {
			return nil
		}
		err = fmt.Errorf("%s: %w", what, err)
		if ctx.Err() != nil || final(err) {
			return err
		}
		tries.failed(err)
		c.cfg.Logger.Warn("connector tries again", slog.String("broker", c.cfg.Broker), slog.Any("err", err))
		if !wait(ctx) {
			return err
		}
	}
}

func attempt(ctx context.Context, limit time.Duration, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %v", limit))
	defer cancel()
	err := f(ctx)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return err
}

// final tells errors that end an attempt from those that pass.
func final(err error) bool {
	for _, e := range []error{
		archive.ErrFenced, archive.ErrNoTable, archive.ErrOverlap, archive.ErrGap,
		archive.ErrIdentity, mq.ErrNoQueue, mq.ErrTooLow, hot.ErrClosed, hot.ErrTrimmed, errAgain, errOthers, ErrForeignLog,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	var lost lostError
	return errors.As(err, &lost) || archive.Unreadable(err)
}

// emptyDir removes what a former process left behind.
func (c *Connector) emptyDir() error {
	if err := os.RemoveAll(c.cfg.Dir); err != nil {
		return fmt.Errorf("empty the connector's directory: %w", err)
	}
	if err := os.MkdirAll(c.cfg.Dir, 0o755); err != nil {
		return fmt.Errorf("make the connector's directory: %w", err)
	}
	return nil
}
