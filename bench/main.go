// Command bench runs the same load against the real Apache RocketMQ broker and
// against Varve, one after the other on loopback over clean folders, and writes
// a table with the ratios that the project has set itself as bars.
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
	"varve/e2e/server"
)

// bodySize is the size of every body.
const bodySize = 1024

// config is what the command line says.
type config struct {
	binary  string
	lib     string
	work    string
	page    string
	json    string
	servers []string
	only    []string
	scale   float64
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
	flag.StringVar(&c.json, "json", "", "JSON file to write; none if empty")
	flag.StringVar(&servers, "servers", "apache,varve", "brokers to run")
	flag.StringVar(&only, "only", "", "parts to run: send, client, sync, pull, push, timer, connector, cold, hurt; all if empty")
	flag.Float64Var(&c.scale, "scale", 1, "part of the full durations and counts; below 1 proves that it runs and measures little")
	flag.BoolVar(&c.profile, "profile", false, "save a CPU profile of Varve for each send and pull case")
	flag.Parse()
	c.servers = strings.Split(servers, ",")
	if only != "" {
		c.only = strings.Split(only, ",")
	}
	c.command = strings.Join(flag.Args(), " ")
	return c
}

// wants says whether a part is to be run.
func (c config) wants(parts ...string) bool {
	return len(c.only) == 0 || slices.ContainsFunc(parts, func(p string) bool { return slices.Contains(c.only, p) })
}

func run() error {
	c := parse()
	rlog.SetLogLevel("fatal")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{config: c, corpus: corpus.New(bodySize, 1), results: newResults()}
	var errs []error
	for _, name := range c.servers {
		if err := b.server(ctx, name); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	if c.json != "" {
		errs = append(errs, b.results.writeJSON(c.json))
	}
	text := b.results.report()
	fmt.Print("\n", text)
	if c.page != "" {
		errs = append(errs, writePage(c.page, text))
	}
	return errors.Join(errs...)
}

// bench is one run.
type bench struct {
	config
	corpus  *corpus.Corpus
	results *results
	name    string // server under test
}

// server runs every part for one server.
func (b *bench) server(ctx context.Context, name string) error {
	b.name = name
	parts := []struct {
		names []string
		run   func(context.Context) error
	}{
		{[]string{"send", "client"}, b.asyncSession},
		{[]string{"sync"}, b.syncSession},
		{[]string{"pull", "push"}, b.pullSession},
		{[]string{"timer"}, b.timerSession},
	}
	if name == "varve" {
		parts = append(parts, struct {
			names []string
			run   func(context.Context) error
		}{[]string{"connector", "cold", "hurt"}, b.historySession})
	}
	for _, p := range parts {
		if !b.wants(p.names...) {
			continue
		}
		if err := p.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", strings.Join(p.names, "/"), err)
		}
	}
	return nil
}

// start starts the server under test over a clean folder.
func (b *bench) start(ctx context.Context, o server.Options) (*server.Server, error) {
	o.Dir = filepath.Join(b.work, b.name)
	if err := os.RemoveAll(o.Dir); err != nil {
		return nil, fmt.Errorf("emptying the scratch folder: %w", err)
	}
	return b.restart(ctx, o)
}

// restart starts it over the folder as it is.
func (b *bench) restart(ctx context.Context, o server.Options) (*server.Server, error) {
	o.Dir = filepath.Join(b.work, b.name)
	switch b.name {
	case "apache":
		return server.Apache{Lib: b.lib}.Start(ctx, o)
	case "varve":
		return server.Varve{Binary: b.binary}.Start(ctx, o)
	}
	return nil, fmt.Errorf("no server %q: there are apache and varve", b.name)
}

// brokerName is what the server calls itself in routes.
func (b *bench) brokerName() string {
	if b.name == "apache" {
		return "broker-a"
	}
	return "varve-a"
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
