package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
)

// runReaders has PyIceberg, pyarrow and DuckDB read an archive that Varve
// wrote: a plain one, and what the Java scenarios left behind if they ran.
func runReaders(ctx context.Context, c config, p *page) error {
	archive, err := writeArchive(ctx, c)
	if err != nil {
		return err
	}
	_ = p.try(fmt.Sprintf("%d orders", readersMessages), readersColumn, func() (string, error) { return readArchive(ctx, c, archive) })
	scenarios := filepath.Join(c.work, "java", "data", "archive")
	if _, err := os.Stat(scenarios); err == nil {
		_ = p.try("everything that the Java scenarios sent", readersColumn, func() (string, error) { return readArchive(ctx, c, scenarios) })
	}
	return nil
}

// writeArchive sends orders and archives them in many small files.
func writeArchive(ctx context.Context, c config) (string, error) {
	s, err := c.start(ctx, "readers", server.Options{RollAge: time.Second, Env: []string{"VARVE_CONNECTOR_ROLL_BYTES=1MiB"}})
	if err != nil {
		return "", err
	}
	var serial atomic.Int64
	l := wire.Load{
		Addr: server.BrokerAddr, Topic: "readers", Broker: "varve-a", Corpus: corpus.New(700, 9), Connections: 2, Window: 16, Queues: 4,
		Messages: readersMessages, Serial: &serial,
	}
	sent, err := l.Run(ctx)
	if err == nil && sent.Refused > 0 {
		err = fmt.Errorf("%d sends refused: %s", sent.Refused, sent.Refusal)
	}
	if err == nil {
		err = s.ArchiveAll(ctx)
	}
	return s.Archive, errors.Join(err, s.Stop())
}

func readArchive(ctx context.Context, c config, dir string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(c.cache, "venv", "bin", "python"), filepath.Join(c.readers, "check_archive.py"), dir).CombinedOutput()
	log := "readers-" + filepath.Base(filepath.Dir(filepath.Dir(dir))) + ".log"
	if e := os.WriteFile(filepath.Join(c.work, log), out, 0o644); e != nil {
		return "", fmt.Errorf("writing the readers' log: %w", e)
	}
	tail := string(bytes.TrimSpace(out))
	if i := strings.LastIndexByte(tail, '\n'); i >= 0 {
		tail = tail[i+1:]
	}
	if err != nil {
		return "", fmt.Errorf("%w: %s (all in %s)", err, tail, log)
	}
	return "pyarrow, PyIceberg and DuckDB (read_parquet, iceberg_scan) agree; " + rowCount(out), nil
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
