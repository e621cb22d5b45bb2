package app

import (
	"context"
	"log/slog"
	"time"

	"varve/internal/retention"
)

// forever is an age that nothing reaches.
const forever = retention.Forever

// trimLoop trims the log from time to time.
func (n *Node) trimLoop(ctx context.Context) error {
	tick := time.NewTicker(n.cfg.Hot.TrimInterval)
	defer tick.Stop()
	var clock clockWatch
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		clock.look(n.store.Stats().LastStoreMillis, time.Now(), n.log)
		freed, err := n.store.Trim(ctx, n.trimPolicy())
		switch {
		case err != nil && ctx.Err() == nil:
			n.log.Warn("trim", slog.Any("err", err))
		case freed > 0:
			n.log.Info("trimmed the hot log", slog.Int64("bytes", freed))
		}
	}
}

// clockWatch says, once a jump, that the log's time is ahead of the clock: a
// clock that was wrong has left it there, and store times never decrease.
type clockWatch struct{ said bool }

// aheadSaid is how far ahead the log may be without a word.
const aheadSaid = time.Minute

func (c *clockWatch) look(newest int64, now time.Time, log *slog.Logger) {
	ahead := time.UnixMilli(newest).Sub(now)
	if ahead <= aheadSaid {
		c.said = false
		return
	}
	if !c.said {
		c.said = true
		log.Warn("the log's newest store time is ahead of this machine's clock: messages are stored under it until it is past; is the clock right?",
			slog.Time("newest", time.UnixMilli(newest).UTC()), slog.Duration("ahead", ahead.Round(time.Second)))
	}
}
