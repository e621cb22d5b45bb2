// Command interop runs real clients, a real bucket and independent readers
// against a broker and writes what worked to a page.
//
// Parts: java (the scenarios of e2e/java in each client version and header
// serializer), mqadmin (RocketMQ's administration tool, written to a page of
// its own), languages (clients in other languages), http (the SDKs
// of the aliyunmq HTTP protocol; needs Varve), s3 (the archive on a MinIO
// server behind a proxy that is slow, refuses, cuts and lies; needs Varve) and
// readers (PyIceberg, DuckDB and Spark on what Varve wrote, as files and by its
// catalog), faults (processes killed at every change of the bucket, many brokers on
// a bad bucket, restores killed: PyIceberg and DuckDB judge what is left), migrate (a real broker's history imported into the archive of a
// Varve broker that goes on there). The server is Varve, or
// with -server apache the real broker: it judges the scenarios themselves. With
// -golden a few requests of each client are kept for the tests of the fronts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"varve/e2e/golden"
	"varve/e2e/server"
)

// config is what the command line says.
type config struct {
	server    string
	binary    string
	cache     string
	work      string
	readers   string
	spark     string // Iceberg's runtime for Spark
	source    string
	page      string
	adminPage string
	record    string
	beside    string
	versions  []string
	scenarios []string
	languages []string
	parallel  int
	parts     []string
	fronts    string           // folder of the fronts, for recorded requests; none if empty
	recorder  *golden.Recorder // nil without fronts
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}

func parse() config {
	var c config
	var versions, scenarios, parts, chosen string
	flag.StringVar(&c.server, "server", "varve", "varve or apache")
	flag.StringVar(&c.binary, "binary", "", "the varve binary")
	flag.StringVar(&c.cache, "cache", "", "folder of jars, MinIO and the Python environment")
	flag.StringVar(&c.work, "work", "", "scratch folder of servers; emptied")
	flag.StringVar(&c.readers, "readers", "", "folder of the independent readers' scripts")
	flag.StringVar(&c.spark, "spark", "", "jar of Iceberg's Spark runtime")
	flag.StringVar(&c.source, "source", "", "folder of the programs of clients in other languages")
	flag.StringVar(&c.page, "page", "", "Markdown page to write; none if empty")
	flag.StringVar(&c.adminPage, "mqadmin-page", "", "Markdown page of mqadmin's commands; none if empty")
	flag.StringVar(&c.record, "record", "", "file that keeps how the Java scenarios ended; none if empty")
	flag.StringVar(&c.beside, "beside", "", "such a file of another server, for a column of the page; none if empty")
	flag.StringVar(&versions, "clients", "4.9.8,5.5.0,grpc-5.2.0", "versions of the Java client")
	flag.StringVar(&scenarios, "scenarios", "", "scenarios to run; all if empty")
	flag.StringVar(&parts, "only", "java,mqadmin,languages,http,s3,readers,faults,migrate", "parts to run")
	flag.StringVar(&chosen, "languages", "", "clients of the part languages: go-v2, go-v5, python, node; all if empty")
	flag.StringVar(&c.fronts, "golden", "", "folder of the fronts, to keep requests of each client under; none if empty")
	flag.IntVar(&c.parallel, "parallel", 6, "scenarios at a time in each client's process")
	flag.Parse()
	c.versions, c.parts = strings.Split(versions, ","), strings.Split(parts, ",")
	if scenarios != "" {
		c.scenarios = strings.Split(scenarios, ",")
	}
	if chosen != "" {
		c.languages = strings.Split(chosen, ",")
	}
	return c
}

func run() error {
	c := parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := os.RemoveAll(c.work); err != nil {
		return fmt.Errorf("emptying the scratch folder: %w", err)
	}
	p := &page{Server: c.server, Started: time.Now()}
	var errs []error
	if c.fronts != "" {
		var err error
		if c.recorder, err = golden.New(); err != nil {
			return err
		}
	}
	if c.beside != "" {
		var err error
		if p.Beside, err = readResults(c.beside); err != nil {
			return err
		}
	}
	for _, part := range c.parts {
		var err error
		switch {
		case part == "java":
			err = runJava(ctx, c, p)
		case part == "mqadmin":
			err = runMqadmin(ctx, c, p)
		case part == "languages":
			err = runLanguages(ctx, c, p)
		case part == "http" && c.server == "varve":
			err = runHTTP(ctx, c, p)
		case part == "s3" && c.server == "varve":
			err = runBucket(ctx, c, p)
		case part == "readers" && c.server == "varve":
			err = runReaders(ctx, c, p)
		case part == "faults" && c.server == "varve":
			err = runFaults(ctx, c, p)
		case part == "migrate" && c.server == "varve":
			err = runMigrate(ctx, c, p)
		case part == "faults" || part == "s3" || part == "readers" || part == "http" || part == "migrate":
			fmt.Printf("%s: is run against Varve only, left out\n", part)
		default:
			err = fmt.Errorf("no part %q: there are java, mqadmin, languages, http, s3, readers, faults and migrate", part)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", part, err))
		}
	}
	if c.recorder != nil {
		errs = append(errs, c.recorder.Write(c.fronts))
	}
	if c.record != "" {
		errs = append(errs, p.record(c.record))
	}
	if c.page != "" {
		if err := p.write(c.page); err != nil {
			errs = append(errs, err)
		}
	}
	passed, failed, skipped := p.count()
	fmt.Printf("\n%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	if failed > 0 {
		errs = append(errs, fmt.Errorf("%d of %d checks failed", failed, passed+failed))
	}
	return errors.Join(errs...)
}

// brokerName is the name of the broker group under test.
func (c config) brokerName() string {
	if c.server == "apache" {
		return "broker-a"
	}
	return "varve-a"
}

// start starts the broker under test over a clean folder of its own.
func (c config) start(ctx context.Context, dir string, o server.Options) (*server.Server, error) {
	o.Dir = filepath.Join(c.work, dir)
	if c.server == "apache" {
		return server.Apache{Lib: filepath.Join(c.cache, "apache-"+server.ApacheVersion, "lib")}.Start(ctx, o)
	}
	if c.recorder != nil {
		if err := c.standBefore(&o); err != nil {
			return nil, err
		}
	}
	return server.Varve{Binary: c.binary}.Start(ctx, o)
}
