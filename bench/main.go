// Command bench runs the same load against the real Apache RocketMQ broker and
// against Varve, in turns on loopback over clean folders, and writes a table
// with the ratios that the project has set itself as bars. A machine that
// shares its host changes its speed by the minute, so each case goes round both
// a few times, and a ratio is the median of those of the rounds (pair.go).
//
// On two cores the load generator takes as much as the server, so each figure
// stands beside the server process's own CPU time a message. Nothing else may
// run on the machine meanwhile.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"

	"varve/e2e/corpus"
)

// bodySize is the size of every body.
const bodySize = 1024

// config is what the command line says.
type config struct {
	binary  string
	lib     string
	work    string
	page    string
	full    string
	json    string
	servers []string
	only    []string
	scale   float64
	rounds  int
	profile bool
	command string
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == coldReaderArg {
		fmt.Fprintln(os.Stderr, "cold reader:", coldReader(os.Args[2:]))
		os.Exit(1)
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse() config {
	var c config
	var servers, only string
	flag.StringVar(&c.binary, "binary", "", "the varve binary")
	flag.StringVar(&c.lib, "lib", "", "folder of the Apache broker's jars")
	flag.StringVar(&c.work, "work", "", "scratch folder of servers; emptied")
	flag.StringVar(&c.page, "page", "", "Markdown page to write; none if empty")
	flag.StringVar(&c.full, "full", "", "Markdown page of the full broker to write; none if empty")
	flag.StringVar(&c.json, "json", "", "JSON file to write; none if empty")
	flag.StringVar(&servers, "servers", "apache,varve", "brokers to run")
	flag.StringVar(&only, "only", "", "parts to run: send, client, sync, pull, push, timer, connector, cold, hurt, grpc, pop, txn, scale, connections; all if empty")
	flag.Float64Var(&c.scale, "scale", 1, "part of the full durations and counts; below 1 proves that it runs and measures little")
	flag.IntVar(&c.rounds, "rounds", 3, "how often each case goes round both servers")
	flag.BoolVar(&c.profile, "profile", false, "save a CPU profile of Varve for the last round of each send and pull case")
	flag.Parse()
	c.servers = strings.Split(servers, ",")
	if only != "" {
		c.only = strings.Split(only, ",")
	}
	c.command = strings.Join(flag.Args(), " ")
	return c
}

// wants says whether a part is to be run.
func (c config) wants(part string) bool { return len(c.only) == 0 || slices.Contains(c.only, part) }

func run() error {
	c := parse()
	rlog.SetLogLevel("fatal")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if c.rounds < 1 {
		return fmt.Errorf("-rounds %d: want 1 or more", c.rounds)
	}
	b := &bench{config: c, corpus: corpus.New(bodySize, 1), results: newResults()}
	var errs []error
	for _, session := range []session{asyncSession(), syncSession(), historySession(), timerSession(), protocolSession(), scaleSession(), connectionSession()} {
		errs = append(errs, b.session(ctx, session))
	}
	if c.json != "" {
		errs = append(errs, b.results.writeJSON(c.json))
	}
	text, full := b.results.report(), b.results.fullReport()
	fmt.Print("\n", text, "\n", full)
	if c.page != "" {
		errs = append(errs, writePage(c.page, text))
	}
	if c.full != "" && full != "" {
		errs = append(errs, writePage(c.full, full))
	}
	return errors.Join(errs...)
}

// bench is one run.
type bench struct {
	config
	corpus  *corpus.Corpus
	results *results
}

func (b *bench) seconds(s float64) time.Duration {
	return time.Duration(max(s*b.scale, 0.3) * float64(time.Second))
}

func (b *bench) count(n int64) int64 { return max(int64(float64(n)*b.scale), 20_000) }

func writePage(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("making the page's folder: %w", err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}
