package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"varve/e2e/faulty"
)

const (
	restoreStep = 5 // every request is tried at first, then every so many: a fifth more each time
	restoreMost = 400
)

// runRestores loses a server's disk and restores it over the bucket again and again, killed at another request each time.
func runRestores(ctx context.Context, c config, proxy *faulty.Proxy, ev *evidence) (string, error) {
	k := &killRun{cfg: c, proxy: proxy, ev: ev, broker: "varve-restores"}
	defer k.end()
	o := k.options("restores-0")
	if err := k.start(ctx, o); err != nil {
		return "", err
	}
	if err := errors.Join(k.files(2)(ctx), k.look(ctx, "before the disk is lost", false), k.v.Kill()); err != nil {
		return "", err
	}
	// How many requests a restore takes is known when none is killed any more.
	var took time.Duration
	for n, at := 1, 1; ; n++ {
		o := k.options(fmt.Sprintf("restores-%d", n), "VARVE_RESTORE=true")
		dead := k.trap(at, n%2 == 0, true)
		began := time.Now()
		err := k.start(ctx, o)
		struck := k.struck(dead)
		if !struck && err != nil {
			return "", fmt.Errorf("restore %d: %w", n, err)
		}
		if struck {
			if err := k.look(ctx, fmt.Sprintf("restore %d, killed at request %d", n, at), true); err != nil {
				return "", err
			}
			began = time.Now()
			if err := k.start(ctx, o); err != nil {
				return "", fmt.Errorf("restore %d, again after it was killed at request %d (%s): %w", n, at, k.at[len(k.at)-1], err)
			}
		}
		took = max(took, time.Since(began))
		// All that was flushed is there, offsets go on behind it, and it is archived.
		if err := errors.Join(k.complete(ctx), k.send(ctx), k.flush(ctx), k.look(ctx, fmt.Sprintf("after restore %d", n), false), k.v.Kill()); err != nil {
			return "", fmt.Errorf("after restore %d, killed at request %d (%s): %w", n, at, k.at[len(k.at)-1], err)
		}
		if !struck {
			break
		}
		at += max(1, at/restoreStep)
		if at > restoreMost {
			return "", fmt.Errorf("a restore takes more than %d requests", restoreMost)
		}
	}
	said, err := ev.check(ctx, c, "restores")
	return fmt.Sprintf("%d kills; complete after at most %v; %s", k.kills, took.Round(10*time.Millisecond), said), err
}

// complete demands that the server has all that was flushed.
func (k *killRun) complete(ctx context.Context) error {
	for topic, brokers := range k.ev.need {
		var d struct{ Detail []hot }
		if err := k.v.Get(ctx, "/api/v1/topics/"+topic, &d); err != nil {
			return err
		}
		for q, to := range brokers[k.broker] {
			at := slices.IndexFunc(d.Detail, func(h hot) bool { return fmt.Sprint(h.ID) == q })
			if at < 0 || d.Detail[at].Min != 0 || d.Detail[at].Max < to {
				return fmt.Errorf("%s, queue %s: archived up to %d, now %+v", topic, q, to, d.Detail)
			}
		}
	}
	return nil
}
