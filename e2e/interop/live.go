package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"varve/e2e/corpus"
	"varve/e2e/faulty"
	"varve/e2e/server"
	"varve/e2e/wire"
)

const (
	liveTime   = 20 * time.Second
	liveGrace  = 5 * time.Second
	liveKeep   = 1500            // messages of a queue
	liveFiles  = 20              // of a queue, at first
	liveQueues = 12              // of the quiet topic: they share an object when their minute is over
	liveShared = 8 * time.Second // after that minute
)

// readLive has engines read every table in a loop while all that changes an archive goes on.
func readLive(ctx context.Context, c config, _ *faulty.Proxy, _ *evidence) (out string, err error) {
	s, err := c.start(ctx, "live", server.Options{RollAge: 300 * time.Millisecond, Env: []string{
		"VARVE_CONNECTOR_ROLL_AGE_MAX=1s", "VARVE_COMPACTION_INTERVAL=1s", "VARVE_COMPACTION_SETTLE=0s", "VARVE_COMPACTION_SPAN=1m", "VARVE_COMPACTION_SHARE_AFTER=1s",
		"VARVE_COMPACTION_CPU=100", "VARVE_RETENTION_INTERVAL=1s", "VARVE_RETENTION_SWEEP=1s", "VARVE_RETENTION_GRACE=" + liveGrace.String(), "VARVE_HOT_MIN_FREE=64MiB",
	}})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	var serial atomic.Int64
	load := wire.Load{
		Addr: server.BrokerAddr, Topic: "live", Broker: "varve-a", Corpus: corpus.New(700, 10), Connections: 1, Window: 8, Queues: 2,
		Messages: 100, Serial: &serial,
	}
	quiet := load
	quiet.Topic, quiet.Queues = "live_quiet", liveQueues
	if _, err := s.CLI(ctx, "topic", "create", quiet.Topic, "--queues", strconv.Itoa(liveQueues)); err != nil {
		return "", err
	}
	if err := errors.Join(send(ctx, quiet), s.ArchiveAll(ctx)); err != nil {
		return "", err
	}
	over := time.Now().Truncate(time.Minute).Add(time.Minute + liveShared)
	for range liveFiles { // enough that some are put together soon
		if err := errors.Join(send(ctx, load), s.ArchiveAll(ctx)); err != nil {
			return "", err
		}
	}
	rule := map[string]any{"name": "live", "topic": load.Topic, "archive": map[string]any{"messages": liveKeep}}
	if _, err := s.Ask(ctx, http.MethodPut, "/api/v1/retention/rules/live", rule); err != nil {
		return "", err
	}
	beside, enough := context.WithCancel(ctx)
	load.Messages, load.PerSecond = 0, besidePerSecond
	sent := make(chan error, 1)
	go func() { sent <- send(beside, load) }()
	said, err := c.python(ctx, "live.log", "check_live.py", "http://"+server.HTTPAddr+"/iceberg", "default", load.Topic,
		filepath.Join(s.Archive, "default"), strconv.Itoa(int(max(liveTime, time.Until(over)).Seconds())), strconv.Itoa(int(liveGrace.Seconds())), c.spark)
	enough()
	if e := <-sent; e != nil && !errors.Is(e, context.Canceled) {
		err = errors.Join(err, fmt.Errorf("sends beside the engines: %w", e))
	}
	var st struct{ Compaction struct{ Merges int } }
	if e := s.Get(ctx, "/api/v1/archive", &st); e != nil || st.Compaction.Merges == 0 {
		err = errors.Join(err, e, fmt.Errorf("%d times files were put together: the check is empty if none", st.Compaction.Merges))
	}
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	return "PyIceberg, DuckDB and Spark, by the catalog and by the folder: " + lines[len(lines)-1], err
}
