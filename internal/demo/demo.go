package demo

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"

	"varve/internal/admin"
	"varve/internal/app"
	"varve/internal/config"
)

// Options say how to run the demo.
type Options struct {
	DataDir  string // "" is a new temporary directory
	Keep     bool   // leave the data there
	Messages int    // to send before the archive is waited for
	Out      io.Writer
	Version  string
}

// Figures is what a run measured.
type Figures struct {
	Messages      int     `json:"messages"`
	SentWhile     int     `json:"sent_while_consuming"`
	SendRate      float64 `json:"send_rate"`
	HotBytes      int64   `json:"hot_bytes"`
	ArchivedBytes int64   `json:"archived_bytes"`
	ArchiveFiles  int     `json:"archive_files"`
	FreedBytes    int64   `json:"freed_bytes"`
	Cold          int     `json:"consumed_cold"`
	Hot           int     `json:"consumed_hot"`
	ColdRate      float64 `json:"consume_rate"`
	Lost          int     `json:"lost"`
	Doubled       int     `json:"doubled"`
	Replayed      int     `json:"replayed"`
	Retained      int64   `json:"removed_by_retention"`
	Seconds       float64 `json:"seconds"`
	DataDir       string  `json:"data_dir,omitempty"`
}

const (
	topic  = "orders"
	target = "orders-replayed"
	queues = 4
	group  = "demo-readers"
)

// run is one demo under way.
type run struct {
	o       Options
	node    *app.Node
	api     *admin.Client
	route   string
	ledger  *ledger
	figures Figures
	// marks are times between two messages: before the first third of the
	// sends, before the second, before the last, and after it.
	marks [4]time.Time
	cuts  [4]int // how many had been sent at each mark
	// coldTo is the first hot offset of each queue after the trim.
	coldTo [queues]int64
	began  time.Time
}

// stage is one step with the line that names it.
type stage struct {
	name string
	run  func(ctx context.Context) (string, error)
}

// Run runs the demo. Any error means that a claim did not hold.
func Run(ctx context.Context, o Options) (Figures, error) {
	rlog.SetLogLevel("fatal")
	dir := o.DataDir
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "varve-demo-"); err != nil {
			return Figures{}, fmt.Errorf("make a directory for the demo: %w", err)
		}
	} else if left, err := os.ReadDir(dir); err == nil && len(left) > 0 {
		return Figures{}, &config.Error{Key: "data-dir", Reason: dir + " is not empty; the demo wants a directory of its own"}
	}
	if o.Keep {
		fmt.Fprintf(o.Out, "data is kept in %s\n", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	r := &run{o: o, ledger: newLedger(), began: time.Now()}
	ctx, cancel := context.WithCancel(ctx)
	ended, err := r.start(ctx, dir)
	if err != nil {
		cancel()
		return Figures{}, err
	}
	stages := []stage{
		{"send", r.send},
		{"archive", r.archive},
		{"trim", r.trim},
		{"consume", r.consume},
		{"sql", r.sql},
		{"replay", r.replay},
		{"retention", r.retention},
	}
	for _, s := range stages {
		if err = r.stage(ctx, s); err != nil {
			break
		}
	}
	cancel()
	if runErr := <-ended; err == nil && runErr != nil {
		err = fmt.Errorf("server: %w", runErr)
	}
	r.figures.Seconds = time.Since(r.began).Seconds()
	if o.Keep {
		r.figures.DataDir = dir
	}
	return r.figures, err
}

// stage runs one step and prints its line.
func (r *run) stage(ctx context.Context, s stage) error {
	from := time.Now()
	note, err := s.run(ctx)
	took := time.Since(from).Seconds()
	if err != nil {
		fmt.Fprintf(r.o.Out, "%-10s FAILED after %.1f s: %v\n", s.name, took, err)
		return fmt.Errorf("%s: %w", s.name, err)
	}
	lines := strings.Split(note, "\n")
	fmt.Fprintf(r.o.Out, "%-10s %6.1f s   %s\n", s.name, took, lines[0])
	for _, l := range lines[1:] {
		fmt.Fprintf(r.o.Out, "%-10s            %s\n", "", l)
	}
	return nil
}

// settings are a server on free ports, with files and segments small enough
// that every stage has something to do: about five files a queue.
func settings(dir string, messages int) *config.Config {
	const recordBytes, files = 420, 5
	c := config.Default()
	c.DataDir = dir
	for _, addr := range []*string{&c.Route.Listen, &c.Broker.Listen, &c.GRPC.Listen, &c.MQHTTP.Listen, &c.History.Listen, &c.HTTP.Listen} {
		*addr = "127.0.0.1:0"
	}
	c.Hot.Segment, c.Hot.MinFree = 16<<20, 64<<20
	c.Connector.RollBytes, c.Connector.RollAge = config.Bytes(max(64<<10, messages*recordBytes/queues/files)), 3*time.Second
	return &c
}

// start opens and runs the server; ended gets its outcome once.
func (r *run) start(ctx context.Context, dir string) (ended <-chan error, err error) {
	from := time.Now()
	log := slog.New(slog.NewTextHandler(r.o.Out, &slog.HandlerOptions{Level: slog.LevelError}))
	r.node, err = app.Open(ctx, settings(dir, r.o.Messages), app.Options{Logger: log, Version: r.o.Version})
	if err != nil {
		return nil, err
	}
	c := make(chan error, 1)
	go func() { c <- r.node.Run(ctx) }()
	r.api = admin.NewClient(r.node.Addr("http"))
	r.route = r.node.Addr("route")
	if _, err := r.api.CreateTopic(ctx, admin.TopicSpec{Name: topic, Queues: queues}); err != nil {
		return c, fmt.Errorf("make topic %s: %w", topic, err)
	}
	fmt.Fprintf(r.o.Out, "%-10s %6.1f s   every role in this process: name server at %s, HTTP at %s\n",
		"start", time.Since(from).Seconds(), r.route, r.node.Addr("http"))
	return c, nil
}

// Print writes the figures for a person.
func (f Figures) Print(w io.Writer) {
	ratio := 0.0
	if f.HotBytes > 0 {
		ratio = 100 * float64(f.ArchivedBytes) / float64(f.HotBytes)
	}
	fmt.Fprintf(w, `
messages        %d sent before, %d while consuming
bytes           %.1f MiB hot, %.1f MiB archived in %d files (%.0f %%)
rates           %.0f sends/s, %.0f consumed/s
consumed        %d from the archive, %d from the hot log
lost, doubled   %d, %d
replayed        %d
retention       %d messages removed
in all          %.1f s
`, f.Messages, f.SentWhile, mib(f.HotBytes), mib(f.ArchivedBytes), f.ArchiveFiles, ratio, f.SendRate, f.ColdRate,
		f.Cold, f.Hot, f.Lost, f.Doubled, f.Replayed, f.Retained, f.Seconds)
	if f.DataDir != "" {
		fmt.Fprintf(w, "archive         %s/archive\n", f.DataDir)
	}
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
