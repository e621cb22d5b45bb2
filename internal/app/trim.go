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
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		freed, err := n.store.Trim(ctx, n.trimPolicy())
		switch {
		case err != nil && ctx.Err() == nil:
			n.log.Warn("trim", slog.Any("err", err))
		case freed > 0:
			n.log.Info("trimmed the hot log", slog.Int64("bytes", freed))
		}
	}
}
