package query

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// Config are the limits of an Engine. The zero value of each field but TempDir
// means its default.
type Config struct {
	// TempDir is the engine's own directory for what queries need while they
	// run. What an earlier process left there is removed. It should be on the
	// file system of the archive or its cache, so that files can be linked.
	TempDir string
	// Command starts a worker; default: this executable with "worker".
	Command []string
	// Env is added to the worker's environment, which is empty otherwise.
	Env []string

	MaxConcurrent  int           // queries at a time; default 2
	Threads        int           // of one query; default 2
	Timeout        time.Duration // where the request has none; default 1 minute
	MaxTimeout     time.Duration // that a request may ask for; default 10 minutes
	MemoryBytes    int64         // where the request has none, and at most; default 1 GiB
	SpillBytes     int64         // of a query's temporary data on disk; default 8 GiB
	MaxRows        int64         // where the request has none; default 10,000
	MaxResultBytes int64         // of a result; default 256 MiB
	MaxHotBytes    int64         // of not yet archived messages in one query; default 2 GiB
	MaxScanBytes   int64         // of archive files in one query; 0 is no limit
	Logger         *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	if c.TempDir == "" {
		return c, errors.New("query engine: no directory for temporary files is set")
	}
	if len(c.Command) == 0 {
		exe, err := os.Executable()
		if err != nil {
			return c, fmt.Errorf("query engine: finding the worker's program: %w", err)
		}
		c.Command = []string{exe, "worker"}
	}
	set(&c.MaxConcurrent, 2)
	set(&c.Threads, 2)
	set(&c.Timeout, time.Minute)
	set(&c.MaxTimeout, 10*time.Minute)
	set(&c.MemoryBytes, 1<<30)
	set(&c.SpillBytes, 8<<30)
	set(&c.MaxRows, 10_000)
	set(&c.MaxResultBytes, 256<<20)
	set(&c.MaxHotBytes, 2<<30)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

func set[T int | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}
