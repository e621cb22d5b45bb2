package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"varve/e2e/faulty"
)

const (
	directoryKills = 12
	directoryLeast = 200 * time.Millisecond // between two kills
	directoryMore  = 600 * time.Millisecond
	directoryPause = 20 * time.Millisecond // between two bursts of sends
)

// runDirectory kills a server whose archive is a directory at any time, in the middle of a write too, while it takes sends,
// commits, puts files together and applies rules all at once.
func runDirectory(ctx context.Context, c config, proxy *faulty.Proxy, ev *evidence) (string, error) {
	k := &killRun{cfg: c, proxy: proxy, ev: ev, broker: "varve-directory"}
	defer k.end()
	o := k.options("directory", "VARVE_CONNECTOR_ROLL_AGE_MAX=50ms", "VARVE_RETENTION_INTERVAL=100ms", "VARVE_COMPACTION_INTERVAL=100ms", "VARVE_BACKUP_EVERY=100ms")
	o.S3, o.RollAge = nil, 20*time.Millisecond
	archive := filepath.Join(o.Dir, "data", "archive")
	ev.Base = "file://" + archive
	if err := k.start(ctx, o); err != nil {
		return "", err
	}
	rule := map[string]any{"name": "short", "topic": killTopics[0], "archive": map[string]any{"messages": killKeep}}
	if err := k.ask(http.MethodPut, "/api/v1/retention/rules/short", rule)(ctx); err != nil {
		return "", err
	}
	for n := range directoryKills {
		if err := k.busy(ctx, directoryLeast+rand.N(directoryMore)); err != nil {
			return "", err
		}
		if err := ev.directory(archive, bucketState{Name: fmt.Sprintf("kill %d", n+1)}); err != nil {
			return "", err
		}
		if err := k.start(ctx, o); err != nil {
			return "", fmt.Errorf("after kill %d: %w", n+1, err)
		}
	}
	if err := errors.Join(k.both(ctx), k.flush(ctx), k.v.Stop(), ev.directory(archive, bucketState{Name: "the end"})); err != nil {
		return "", err
	}
	said, err := ev.check(ctx, c, "directory")
	return fmt.Sprintf("%d kills; %s", directoryKills, said), err
}

// busy has the server do all it does, and kills it after a while.
func (k *killRun) busy(ctx context.Context, d time.Duration) error {
	live := k.v
	var wg sync.WaitGroup
	for _, do := range []func() error{
		func() error {
			time.Sleep(directoryPause)
			return k.both(ctx)
		},
		func() error { return live.ArchiveAll(ctx) },
		func() error { return k.compact(ctx) },
	} {
		wg.Go(func() {
			for ctx.Err() == nil && do() == nil { // it ends by the kill
			}
		})
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	err := live.Kill()
	wg.Wait()
	return err
}

// directory keeps a bucket that is a directory as it is.
func (e *evidence) directory(root string, s bucketState) error {
	s.Dir = filepath.Join(e.dir, "states", fmt.Sprintf("%03d", len(e.States)))
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name := filepath.Join(s.Dir, path)
		return errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.Link(path, name))
	})
	if err != nil {
		return fmt.Errorf("keeping the directory: %w", err)
	}
	e.keep(s)
	return nil
}
