package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"varve/internal/archive"
	"varve/internal/backup"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// Reason is what an import's claims say.
const Reason = "import"

const (
	topicsAtOnce = 4
	retryMin     = 250 * time.Millisecond
	retryMax     = 10 * time.Second
	sayEvery     = 5 * time.Second
	// findWithin is how long a name server that was never reached is asked: its
	// address may be wrong.
	findWithin = 30 * time.Second
	// remindEvery is how often it is said that something is still tried.
	remindEvery = time.Minute
)

// Config says what is brought in. Zero fields take the defaults.
type Config struct {
	NameServer string
	Brokers    []string  // patterns of broker groups; all
	Topics     []string  // patterns of topics; all
	From       time.Time // messages stored before are left out, as a declared gap; none are
	Rate       int64     // bytes of stored records a second; 0 is no bound
	Queues     int       // queues at a time; 8
	FileBytes  int64     // stored records in a data file; 64 MiB
	Dir        string    // for files until they are uploaded; the system's
	Remoting   wire.ClientConfig
	Program    string        // named in what is written
	FindWithin time.Duration // how long the name server is asked for the brokers; 30 s
	Now        func() time.Time
	Logger     *slog.Logger
}

// ownPrefix is what the names of topics begin with that newer brokers keep for
// themselves.
const ownPrefix = "RMQ_SYS_"

// Report is what an import has done.
type Report struct {
	Brokers []Broker      `json:"brokers"`
	Took    time.Duration `json:"took"`
}

// Broker is what came of one broker group.
type Broker struct {
	Name       string  `json:"name"`
	Generation int64   `json:"generation"` // of the import's claim
	Topics     []Topic `json:"topics"`
	Groups     int     `json:"groups"`
	Messages   int64   `json:"messages"` // brought in by this run
	Bytes      int64   `json:"bytes"`    // of their stored records
}

// Topic is what the archive has of a topic after the import.
type Topic struct {
	Name     string `json:"name"`
	Queues   int    `json:"queues"`
	Messages int64  `json:"messages"` // in the archive
	Missing  int64  `json:"missing"`  // offsets that the cluster had let go, or that From leaves out
	Behind   int64  `json:"behind"`   // that the cluster got since this run began

	begins map[int32]int64 // where queues go on that the archive has less of
}

// ErrNoNameServer says that the name server was never reached.
var ErrNoNameServer = errors.New("the name server doesn't answer")

// errBad says that an import can't go on, whatever is tried again.
var errBad = errors.New("import")

func (c Config) withDefaults() Config {
	c.Queues = cmp.Or(max(c.Queues, 0), 8)
	c.FileBytes = cmp.Or(c.FileBytes, 64<<20)
	c.FindWithin = cmp.Or(c.FindWithin, findWithin)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// importer is one run.
type importer struct {
	Config
	a     *archive.Archive
	own   map[string]bool // topics that brokers make for themselves
	slots chan struct{}   // queues at a time
	pace  pacer

	messages, bytes atomic.Int64
}

// Run brings in what the cluster has now and the archive hasn't. It can be ended
// at any time and run again.
func Run(ctx context.Context, a *archive.Archive, cfg Config) (*Report, error) {
	cfg = cfg.withDefaults()
	began := cfg.Now()
	im := &importer{Config: cfg, a: a, slots: make(chan struct{}, cfg.Queues), pace: pacer{rate: cfg.Rate, began: time.Now()}}
	var sources []source
	find, cancel := context.WithTimeout(ctx, cfg.FindWithin)
	defer cancel()
	err := im.persist(find, "find the brokers", func(ctx context.Context) (err error) {
		sources, im.own, err = findSources(ctx, cfg.NameServer, cfg.Remoting)
		return err
	})
	if err != nil && ctx.Err() == nil && find.Err() != nil {
		err = fmt.Errorf("%w within %v: %w", ErrNoNameServer, cfg.FindWithin, err)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, s := range sources {
			_ = s.conn.Close()
		}
	}()
	if err := im.choose(ctx, sources); err != nil {
		return nil, err
	}
	said, stop := context.WithCancel(ctx)
	defer stop()
	go im.say(said)
	out := &Report{Brokers: []Broker{}}
	for _, s := range sources {
		if !matches(cfg.Brokers, s.name) {
			continue
		}
		b, err := im.broker(ctx, s)
		if err != nil {
			return out, fmt.Errorf("broker group %s: %w", s.name, err)
		}
		out.Brokers = append(out.Brokers, *b)
	}
	if len(out.Brokers) == 0 {
		return out, fmt.Errorf("%w: the name server %s knows no broker group that is wanted", errBad, cfg.NameServer)
	}
	out.Took = cfg.Now().Sub(began)
	return out, nil
}

// choose refuses patterns that nothing fits, before anything is claimed.
func (im *importer) choose(ctx context.Context, sources []source) error {
	var brokers, topics []string
	for _, s := range sources {
		brokers = append(brokers, s.name)
		if len(im.Topics) == 0 || !matches(im.Brokers, s.name) {
			continue
		}
		st, err := im.readState(ctx, s)
		if err != nil {
			return fmt.Errorf("broker group %s: %w", s.name, err)
		}
		for _, t := range st.topics {
			topics = append(topics, t.Name)
		}
	}
	if err := fit("broker group", im.Brokers, brokers); err != nil {
		return err
	}
	return fit("topic", im.Topics, topics)
}

// fit demands that every pattern fits one of the names.
func fit(what string, patterns, names []string) error {
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil {
			return fmt.Errorf("%w: %q is no pattern of a %s", errBad, p, what)
		}
		if !slices.ContainsFunc(names, func(name string) bool { return matches([]string{p}, name) }) {
			return fmt.Errorf("%w: the cluster has no %s %q that could be imported", errBad, what, p)
		}
	}
	return nil
}

// say logs progress.
func (im *importer) say(ctx context.Context) {
	t := time.NewTicker(sayEvery)
	defer t.Stop()
	for last := int64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if n := im.messages.Load(); n != last {
			im.Logger.Info("importing", slog.Int64("messages", n), slog.Int64("bytes", im.bytes.Load()), slog.Int64("per_second", (n-last)/int64(sayEvery/time.Second)))
			last = n
		}
	}
}

func matches(patterns []string, name string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, name)
		return err == nil && ok
	})
}

// wanted says whether a topic is the cluster's users' and asked for.
func (im *importer) wanted(topic string) bool {
	return !mq.SystemTopic(topic) && !strings.HasPrefix(topic, ownPrefix) && !im.own[topic] && matches(im.Topics, topic)
}

// persist tries f until it succeeds, ctx ends, or it can't.
func (im *importer) persist(ctx context.Context, what string, f func(ctx context.Context) error) error {
	wait, said := retryMin, time.Time{}
	for {
		err := f(ctx)
		if err == nil {
			if !said.IsZero() {
				im.Logger.Info("import goes on", slog.String("what", what))
			}
			return nil
		}
		if ctx.Err() != nil || errors.Is(err, errBad) || final(err) || archiveFinal(err) {
			return fmt.Errorf("%s: %w", what, err)
		}
		if time.Since(said) > remindEvery {
			im.Logger.Warn("import tries again", slog.String("what", what), slog.Any("err", err))
			said = time.Now()
		}
		if pause(ctx, wait/2+rand.N(wait/2+1)) != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		wait = min(2*wait, retryMax)
	}
}

func archiveFinal(err error) bool {
	for _, e := range []error{archive.ErrFenced, archive.ErrOverlap, archive.ErrGap, archive.ErrIdentity, archive.ErrNoTable, mq.ErrBadRecord} {
		if errors.Is(err, e) {
			return true
		}
	}
	return archive.Unreadable(err)
}

// broker brings in one broker group.
func (im *importer) broker(ctx context.Context, s source) (*Broker, error) {
	st, err := im.readState(ctx, s)
	if err != nil {
		return nil, err
	}
	generation, err := im.claim(ctx, s.name)
	if err != nil {
		return nil, err
	}
	out := &Broker{Name: s.name, Generation: generation, Groups: len(st.groups), Topics: []Topic{}}
	messages, bytes := im.messages.Load(), im.bytes.Load()
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(topicsAtOnce)
	for _, t := range st.topics {
		g.Go(func() error {
			done, err := im.topic(gctx, s, t)
			if err != nil {
				return fmt.Errorf("topic %s: %w", t.Name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			out.Topics = append(out.Topics, done)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(out.Topics, func(a, b Topic) int { return cmp.Compare(a.Name, b.Name) })
	out.Messages, out.Bytes = im.messages.Load()-messages, im.bytes.Load()-bytes
	// As of the end: what the groups have consumed meanwhile counts.
	if st, err = im.readState(ctx, s); err != nil {
		return nil, err
	}
	return out, im.persist(ctx, "keep the settings and the groups' progress", func(ctx context.Context) error {
		return im.keepState(ctx, s.name, out, st)
	})
}

// claim takes the broker group's archive, unless a data directory has it.
func (im *importer) claim(ctx context.Context, broker string) (int64, error) {
	var next int64
	err := im.persist(ctx, "claim the archive", func(ctx context.Context) error {
		newest, err := im.a.Claimed(ctx, broker, 1)
		if err != nil {
			return err
		}
		next = 1
		switch {
		case newest != nil && newest.Reason != Reason:
			return fmt.Errorf("%w: the archive in %s belongs to a Varve broker of that name already: %s", errBad, im.a.Bucket().URL(), newest)
		case newest != nil:
			next = newest.Generation + 1
		default:
			refs, err := backup.List(ctx, im.a.Bucket(), broker)
			if err != nil {
				return err
			}
			if len(refs) > 0 {
				return fmt.Errorf("%w: the archive in %s has state of a Varve broker of that name", errBad, im.a.Bucket().URL())
			}
		}
		host, _ := os.Hostname()
		return im.a.Claim(ctx, broker, archive.Claim{Generation: next, Writer: uuid.NewString(), At: im.Now().UTC(), Host: host, Reason: Reason})
	})
	return next, err
}

// pacer keeps the rate of all pulls together.
type pacer struct {
	rate  int64
	began time.Time
	taken atomic.Int64
}

// wait takes n bytes and waits until they fit the rate.
func (p *pacer) wait(ctx context.Context, n int) error {
	if p.rate <= 0 {
		return nil
	}
	due := p.began.Add(time.Duration(float64(p.taken.Add(int64(n))) / float64(p.rate) * float64(time.Second)))
	return pause(ctx, time.Until(due))
}

// pause waits for a while, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
