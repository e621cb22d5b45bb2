package http

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"varve/broker"
	"varve/internal/auth"
	"varve/internal/backlog"
	"varve/internal/conns"
	"varve/internal/intake"
	"varve/internal/mq"
	"varve/internal/tlsport"
)

// Limits of the port.
const (
	headerWithin = 10 * time.Second
	// readWithin bounds the reading of a request. It is longer than any wait
	// for a message: the connection is watched for its end meanwhile.
	readWithin  = time.Minute
	writeWithin = time.Minute
	idleConn    = 2 * time.Minute
	stopWithin  = 2 * time.Second
	maxHeader   = 64 << 10
	maxQuery    = 8 << 10
)

// Config sets up a Front.
type Config struct {
	TLS     *tls.Config // serves TLS beside plain HTTP; nil serves plain HTTP alone
	TLSOnly bool        // refuses plain HTTP
	Auth    *auth.Store // users and policies; nil lets everybody do everything
	// Invisible is how long a consumer has to ack what it was given, and
	// InvisibleOrdered the same for what is given out in order.
	Invisible, InvisibleOrdered time.Duration // 5 min, 1 min
	// CheckInterval is the core's between two questions about a transaction.
	CheckInterval time.Duration    // 30 s
	MaxConns      int              // connections at once; 4096
	Backlog       *backlog.Total   // what clients haven't read, with those of others; its own where nil
	Intake        *intake.Budget   // bounds the bodies being read; the process's where nil
	Now           func() time.Time // time.Now
	Logger        *slog.Logger     // discards
}

// Defaults of Config.
const (
	DefaultInvisible        = 5 * time.Minute
	DefaultInvisibleOrdered = time.Minute
	defaultCheckInterval    = 30 * time.Second
	defaultConns            = 4096
)

// Front serves one broker to the HTTP SDKs.
type Front struct {
	broker    *broker.Broker
	cfg       Config
	conns     *conns.Limit
	questions *questions
	members   *members
	requests  atomic.Int64
	refused   atomic.Int64
}

// New is a front for b.
func New(b *broker.Broker, cfg Config) *Front {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = defaultConns
	}
	if cfg.Backlog == nil {
		cfg.Backlog = backlog.New(backlog.DefaultLimit)
	}
	if cfg.Intake == nil {
		cfg.Intake = intake.Process
	}
	if cfg.Invisible <= 0 {
		cfg.Invisible = DefaultInvisible
	}
	if cfg.CheckInterval <= 0 {
		cfg.CheckInterval = defaultCheckInterval
	}
	if cfg.InvisibleOrdered <= 0 {
		cfg.InvisibleOrdered = DefaultInvisibleOrdered
	}
	return &Front{broker: b, cfg: cfg, conns: conns.AtMost(cfg.MaxConns, cfg.Logger), questions: newQuestions(b, cfg.Now), members: newMembers(b, cfg.Now)}
}

// Stats is the front's figures.
type Stats struct {
	Connections int
	Requests    int64 // since the start
	Refused     int64 // of them, answered with an error; having no message is none
	Questions   int   // half messages that wait for a producer to look for them
}

// Stats gives the front's figures.
func (f *Front) Stats() Stats {
	return Stats{
		Connections: f.conns.Open(), Requests: f.requests.Load(), Refused: f.refused.Load(), Questions: f.questions.waiting(),
	}
}

// Serve takes clients from the listener until ctx ends, once. It closes the
// listener.
func (f *Front) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler: intake.Handler(f, f.cfg.Intake), ReadHeaderTimeout: headerWithin, ReadTimeout: readWithin, IdleTimeout: idleConn, MaxHeaderBytes: maxHeader,
		// Requests that wait for a message end with the front.
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(f.cfg.Logger.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ConnState: func(c net.Conn, s http.ConnState) {
			if s == http.StateClosed {
				f.broker.Unuse(c)
			}
		},
	}
	sweeping, enough := context.WithCancel(ctx)
	swept := make(chan struct{})
	go func() { defer close(swept); f.sweep(sweeping) }()
	defer func() { enough(); <-swept }()
	return tlsport.ServeHTTP(ctx, srv, tlsport.Listen(f.conns.Listen(ln), f.cfg.TLS, f.cfg.TLSOnly, "http/1.1"), stopWithin)
}

// sweep forgets the clients that have stopped asking, until ctx ends.
func (f *Front) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f.questions.forgetSilent()
			f.members.forgetSilent()
		case <-ctx.Done():
			return
		}
	}
}

// call is one request on its way.
type call struct {
	w     http.ResponseWriter
	r     *http.Request
	id    string // of the request
	query url.Values
	topic string // with its namespace
	from  netip.AddrPort
}

// requests of the protocol, by method and the parameter "trans".
var requests = map[string]func(*Front, *call) error{
	"POST":            (*Front).publish,
	"GET":             (*Front).consume,
	"GET order":       (*Front).consume,
	"GET pop":         (*Front).consumeHalf,
	"DELETE":          (*Front).ack,
	"DELETE commit":   (*Front).endTransaction,
	"DELETE rollback": (*Front).endTransaction,
}

// ServeHTTP answers one request.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.requests.Add(1)
	c := &call{w: w, r: r, id: newRequestID()}
	if a, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		c.from = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	if err := f.handle(c); err != nil {
		f.answerError(c, err)
	}
}

func (f *Front) handle(c *call) error {
	name, ok := topicOf(c.r.URL)
	if !ok {
		return refused(invalidURL, "path %q, want /topics/TOPIC/messages", c.r.URL.Path)
	}
	if len(c.r.URL.RawQuery) > maxQuery {
		return refused(invalidQuery, "query of %d bytes, want at most %d", len(c.r.URL.RawQuery), maxQuery)
	}
	var err error
	if c.query, err = url.ParseQuery(c.r.URL.RawQuery); err != nil {
		return refused(invalidQuery, "query: %v", err)
	}
	ns := c.query.Get("ns")
	if strings.ContainsRune(ns, '%') {
		return refused(invalidArgument, "instance id %q has a %%", ns)
	}
	c.topic = mq.JoinTenant(ns, name)
	if mq.SystemTopic(c.topic) {
		return refused(accessDenied, "topic %q is the broker's own", c.topic)
	}
	what := c.r.Method
	if trans := c.query.Get("trans"); trans != "" {
		what += " " + trans
	}
	run := requests[what]
	if run == nil {
		return refused(invalidURL, "there is no request %q", what)
	}
	if err := f.authorize(c, what); err != nil {
		return err
	}
	if conn := c.conn(); conn != nil {
		if err := f.broker.Use(conn, c.topic); err != nil {
			return err
		}
	}
	return run(f, c)
}

// connKey finds a request's connection in its context.
type connKey struct{}

// conn is the connection of a request, nil where nobody says.
func (c *call) conn() any { return c.r.Context().Value(connKey{}) }

// topicOf is the topic of a path, which is the protocol's only resource.
func topicOf(u *url.URL) (string, bool) {
	rest, ok := strings.CutPrefix(u.Path, "/topics/")
	if !ok {
		return "", false
	}
	name, ok := strings.CutSuffix(rest, "/messages")
	return name, ok && name != "" && !strings.ContainsRune(name, '/')
}

// group is the consumer group of a request, with its namespace.
func (c *call) group() (string, error) {
	name := c.query.Get("consumer")
	if name == "" {
		return "", refused(invalidArgument, "parameter consumer is missing")
	}
	return mq.JoinTenant(c.query.Get("ns"), name), nil
}
