package app

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"varve/broker"
	"varve/broker/front/grpc"
	mqhttp "varve/broker/front/http"
	"varve/broker/quota"
	"varve/broker/route"
	"varve/connector"
	"varve/connector/compact"
	"varve/history"
	"varve/hot"
	"varve/internal/archive"
	"varve/internal/auth"
	"varve/internal/backlog"
	"varve/internal/clock"
	"varve/internal/config"
	"varve/internal/conns"
	"varve/internal/guard"
	"varve/internal/intake"
	"varve/internal/meta"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/obs"
	"varve/internal/tier"
	"varve/internal/tlsport"
	"varve/query"
	"varve/replay"
)

// stopWithin bounds the time that the parts may take to end.
const stopWithin = 10 * time.Second

// Options are what a process gives its Node besides the settings.
type Options struct {
	Logger  *slog.Logger
	Version string
}

// Node is a Varve process.
type Node struct {
	cfg     *config.Config
	version string
	log     *slog.Logger
	started time.Time
	health  *obs.Health
	metrics *obs.Metrics

	dir        *dataDir
	ports      *ports
	advertise  netip.AddrPort // where clients reach the broker
	meta       *meta.Store
	auth       *auth.Store
	guard      *guard.Guard
	tls        *tls.Config    // nil where no port speaks TLS
	cas        *x509.CertPool // by which others are known, nil where they aren't checked
	clock      *clock.Clock
	store      *hot.Store
	broker     *broker.Broker
	readQuotas *quota.Table   // of a history node without a broker
	unread     *backlog.Total // what clients over gRPC and HTTP haven't read
	grpc       *grpc.Front
	mqhttp     *mqhttp.Front
	routes     *route.Table
	reader     mq.Reader // every tier of this process
	finder     mq.Finder
	tiers      *tier.Reader // reader, where there are two
	bucket     objstore.Bucket
	archive    *archive.Archive
	reach      *reach // of archive
	claiming   sync.Mutex
	backup     *backups
	eraser     *history.Eraser
	proofKey   ed25519.PrivateKey // nil where heads are not signed
	history    *history.Node
	connector  *connector.Connector
	rules      *rules
	schemas    *schemas
	compactor  *compact.Compactor
	holds      *history.Holds // nil without an archive
	retainer   *history.Retainer
	query      *query.Engine
	replay     *replay.Service

	tasks   []task   // in the order of starting
	closers []closer // in the order of opening
}

// task is one part that runs until its context ends.
type task struct {
	name string
	run  func(ctx context.Context) error
}

type closer struct {
	name  string
	close func() error
}

// Open takes the data directory and the ports and opens every part. On an
// error nothing stays open.
func Open(ctx context.Context, cfg *config.Config, o Options) (*Node, error) {
	n := &Node{
		cfg: cfg, version: o.Version, log: o.Logger, started: time.Now(),
		health: &obs.Health{}, metrics: obs.NewMetrics(), unread: backlog.New(backlog.DefaultLimit),
	}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	n.clock = clock.New(n.log)
	n.onRun("clock", n.clock.Run)
	limitMemory(cfg)
	if err := n.open(ctx); err != nil {
		if n.dir != nil {
			n.dir.refused = true
		}
		n.closeAll()
		return nil, err
	}
	return n, nil
}

func (n *Node) open(ctx context.Context) (err error) {
	if n.dir, err = openDataDir(n.cfg.DataDir); err != nil {
		return err
	}
	n.onClose("data directory", func() error { n.dir.close(); return nil })
	if err = n.checkBare(ctx); err != nil {
		return err
	}
	if n.ports, err = listenAll(ctx, n.cfg, n.log); err != nil {
		return err
	}
	n.onClose("ports", func() error { n.ports.close(); return nil })
	for _, open := range []func(context.Context) error{
		n.openState, n.openAccess, n.openRoute, n.openLog, n.openArchive, n.openReader, n.openBroker, n.openSchemas, n.openGRPC, n.openMQHTTP, n.openConnector, n.openCompaction, n.openApply, n.openBackup, n.openHistory, n.openRetention, n.openQuery, n.openReplay,
	} {
		if err = open(ctx); err != nil {
			return err
		}
	}
	n.openHTTP()
	n.registerMetrics()
	return nil
}

func (n *Node) onClose(name string, f func() error) { n.closers = append(n.closers, closer{name, f}) }

func (n *Node) onRun(name string, f func(ctx context.Context) error) {
	n.tasks = append(n.tasks, task{name, f})
}

// Run runs every part until ctx ends or one of them fails, and closes the node.
func (n *Node) Run(ctx context.Context) error {
	defer n.closeAll()
	g, ctx := errgroup.WithContext(ctx)
	for _, t := range n.tasks {
		g.Go(func() error {
			err := t.run(ctx)
			if err != nil && ctx.Err() == nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// closeAll closes what is open, the newest first.
func (n *Node) closeAll() {
	for i := len(n.closers) - 1; i >= 0; i-- {
		c := n.closers[i]
		if err := c.close(); err != nil {
			n.log.Error("close", slog.String("part", c.name), slog.Any("err", err))
		}
	}
	n.closers = nil
}

// Addr is where a port listens: "route", "broker", "grpc", "mqhttp", "history" or "http";
// "" for a role that isn't run.
func (n *Node) Addr(port string) string {
	if ln := n.ports.all()[port]; ln != nil {
		return ln.Addr().String()
	}
	return ""
}

// Health is the process's readiness.
func (n *Node) Health() *obs.Health { return n.health }

// serveHTTP is the task of the HTTP port.
func (n *Node) serveHTTP(h http.Handler) func(ctx context.Context) error {
	srv := &http.Server{
		Handler: intake.Handler(h, intake.Process), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
	}
	return func(ctx context.Context) error {
		return tlsport.ServeHTTP(ctx, srv, tlsport.Listen(conns.AtMost(n.cfg.HTTP.Connections, n.log).Listen(n.ports.http), n.tls, n.tlsOnly(), "http/1.1"), stopWithin/4)
	}
}
