package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"varve/e2e/corpus"
	"varve/e2e/server"
	"varve/e2e/wire"
)

const (
	readersColumn   = "Independent readers"
	readersMessages = 20_000
	besidePerSecond = 500 // sends while engines read
)

// runReaders has PyIceberg, pyarrow, DuckDB and Spark read an archive that Varve
// wrote: by its catalog while it is written, then as files, and as files what
// the Java scenarios left behind if they ran.
func runReaders(ctx context.Context, c config, p *page) error {
	s, err := c.start(ctx, "readers", server.Options{RollAge: time.Second, Env: []string{"VARVE_CONNECTOR_ROLL_BYTES=1MiB"}})
	if err != nil {
		return err
	}
	var serial atomic.Int64
	load := wire.Load{
		Addr: server.BrokerAddr, Topic: "readers", Broker: "varve-a", Corpus: corpus.New(700, 9), Connections: 2, Window: 16, Queues: 4,
		Messages: readersMessages, Serial: &serial,
	}
	if err = send(ctx, load); err == nil {
		err = s.ArchiveAll(ctx)
	}
	if err != nil {
		return errors.Join(err, s.Stop())
	}
	_ = p.try("by the REST catalog, beside sends", readersColumn, func() (string, error) { return readCatalog(ctx, c, load) })
	if err := errors.Join(s.ArchiveAll(ctx), s.Stop()); err != nil {
		return err
	}
	_ = p.try("orders in many small files", readersColumn, func() (string, error) { return readArchive(ctx, c, s.Archive) })
	scenarios := filepath.Join(c.work, "java", "data", "archive")
	if _, err := os.Stat(scenarios); err == nil {
		_ = p.try("everything that the Java scenarios sent", readersColumn, func() (string, error) { return readArchive(ctx, c, scenarios) })
	}
	return nil
}

func send(ctx context.Context, load wire.Load) error {
	sent, err := load.Run(ctx)
	if err == nil && sent.Refused > 0 {
		err = fmt.Errorf("%d sends refused: %s", sent.Refused, sent.Refusal)
	}
	return err
}

// readCatalog has the engines attach to the catalog while more is sent and
// archived.
func readCatalog(ctx context.Context, c config, load wire.Load) (string, error) {
	beside, enough := context.WithCancel(ctx)
	load.Messages, load.PerSecond = 0, besidePerSecond
	sent := make(chan error, 1)
	go func() { sent <- send(beside, load) }()
	out, err := c.python(ctx, "catalog.log", "check_catalog.py", "http://"+server.HTTPAddr+"/iceberg", "default", load.Topic, strconv.Itoa(readersMessages), c.spark)
	enough()
	if e := <-sent; e != nil && !errors.Is(e, context.Canceled) {
		err = errors.Join(err, fmt.Errorf("sends beside the engines: %w", e))
	}
	if err != nil {
		return "", err
	}
	rows := 0
	for line := range strings.Lines(string(out)) {
		_, _ = fmt.Sscanf(line, "Spark: %d rows", &rows)
	}
	return fmt.Sprintf("PyIceberg, DuckDB and Spark attach by one address; %d rows at the end, none twice, none missing; writes are refused", rows), nil
}

func readArchive(ctx context.Context, c config, dir string) (string, error) {
	out, err := c.python(ctx, "readers-"+filepath.Base(filepath.Dir(filepath.Dir(dir)))+".log", "check_archive.py", dir)
	if err != nil {
		return "", err
	}
	return "pyarrow, PyIceberg and DuckDB (read_parquet, iceberg_scan) agree; " + rowCount(out), nil
}

// python runs one of the readers' scripts and keeps its output in a file.
func (c config) python(ctx context.Context, log, script string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	args = append([]string{filepath.Join(c.readers, script)}, args...)
	out, err := exec.CommandContext(ctx, filepath.Join(c.cache, "venv", "bin", "python"), args...).CombinedOutput()
	if e := os.WriteFile(filepath.Join(c.work, log), out, 0o644); e != nil {
		return nil, fmt.Errorf("writing the readers' log: %w", e)
	}
	tail := string(bytes.TrimSpace(out))
	if i := strings.LastIndexByte(tail, '\n'); i >= 0 {
		tail = tail[i+1:]
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s (all in %s)", err, tail, log)
	}
	return out, nil
}

// rowCount adds up the tables and rows of the script's report.
func rowCount(out []byte) string {
	var tables, rows int
	for line := range strings.Lines(string(out)) {
		var files, n int
		if k, err := fmt.Sscanf(strings.TrimSpace(line), "pyarrow: %d files, %d rows", &files, &n); err == nil && k == 2 {
			tables++
			rows += n
		}
	}
	return fmt.Sprintf("%d tables, %d rows", tables, rows)
}
