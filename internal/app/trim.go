package app

import (
	"context"
	"log/slog"
	"time"

	"varve/hot"
)

// trimPolicy joins the settings with the rules that speak of the hot log: a
// rule, where there is one, wins over the settings for its topics.
func (n *Node) trimPolicy() hot.TrimPolicy {
	h := n.cfg.Hot
	p := hot.TrimPolicy{KeepFor: h.KeepFor, KeepBytes: int64(h.KeepBytes), DropUnarchived: h.DropUnarchived}
	if n.retainer == nil {
		return p
	}
	policy := n.retainer.Policy()
	rules := policy.HotTrim()
	p.KeepFor = min(p.KeepFor, rules.KeepFor)
	if rules.KeepBytes > 0 {
		p.KeepBytes = rules.KeepBytes
	}
	p.DropUnarchived = p.DropUnarchived || rules.DropUnarchived
	p.MinAge = func(topic string) time.Duration {
		if d := policy.MatchHot(topic); d.Age > 0 {
			return time.Duration(d.Age)
		}
		return h.KeepFor
	}
	return p
}

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

