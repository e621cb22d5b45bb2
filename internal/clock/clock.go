package clock

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

const (
	// Hold is how long a jump must stand to be believed.
	Hold = time.Minute
	// slack is what the machine's clock may be off between two looks without
	// having jumped.
	slack = 500 * time.Millisecond
	// lookEvery is how often the machine's clock is looked at.
	lookEvery = time.Second
)

// Clock is a machine's clock without its jumps. Make one with New.
type Clock struct {
	logger *slog.Logger
	wall   func() time.Time     // the machine's clock, without a monotonic reading
	run    func() time.Duration // since New, whatever the machine's clock does
	anchor atomic.Pointer[anchor]

	// The rest is look's.
	jump  time.Duration // that the machine's clock has made and isn't believed; 0 none
	since time.Duration // of run, when it was first seen
}

// anchor is a moment of both clocks.
type anchor struct {
	wall time.Time
	run  time.Duration
}

// New makes a Clock that begins with the machine's time.
func New(logger *slog.Logger) *Clock {
	began := time.Now()
	return start(logger, func() time.Time { return time.Now().Round(0) }, func() time.Duration { return time.Since(began) })
}

func start(logger *slog.Logger, wall func() time.Time, run func() time.Duration) *Clock {
	c := &Clock{logger: logger, wall: wall, run: run}
	c.anchor.Store(&anchor{wall: wall(), run: run()})
	return c
}

// Now is the time. It has no monotonic reading: spans within the process are
// measured by time.Now.
func (c *Clock) Now() time.Time {
	a := c.anchor.Load()
	return a.wall.Add(c.run() - a.run)
}

// Run follows the machine's clock until ctx ends. Without it a Clock goes on
// from where it began.
func (c *Clock) Run(ctx context.Context) error {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			c.look()
		}
	}
}

// look compares with the machine's clock.
func (c *Clock) look() {
	now := anchor{wall: c.wall(), run: c.run()}
	off := now.wall.Sub(c.Now())
	switch {
	case off.Abs() <= slack:
		if c.jump != 0 {
			c.logger.Info("the machine's clock is back, its jump had no effect", slog.Duration("jump", c.jump))
			c.jump = 0
		}
		c.anchor.Store(&now)
	case (off - c.jump).Abs() > slack:
		c.jump, c.since = off, now.run
		c.logger.Warn("the machine's clock has jumped", slog.Duration("jump", off), slog.Duration("believed_after", Hold))
	case now.run-c.since >= Hold:
		c.logger.Warn("the jump of the machine's clock is believed", slog.Duration("jump", off))
		c.jump = 0
		c.anchor.Store(&now)
	}
}
