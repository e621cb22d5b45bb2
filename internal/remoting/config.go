package remoting

import (
	"cmp"
	"crypto/tls"
	"errors"
	"log/slog"
	"time"

	"varve/internal/intake"
)

// Errors of a connection. They are wrapped with the peer.
var (
	// ErrClosed says that the connection is closed.
	ErrClosed = errors.New("connection closed")
	// ErrSlowReader says that the peer didn't take what was sent to it.
	ErrSlowReader = errors.New("peer doesn't read its replies")
	// ErrTooManyCalls says that a connection awaits as many replies as it may.
	ErrTooManyCalls = errors.New("too many calls await a reply")
	// ErrNoTLS says that the peer doesn't speak TLS and has to.
	ErrNoTLS = errors.New("peer doesn't speak TLS, and this port takes nothing else")
	// ErrSlowFrame says that a frame came too slowly for the memory it holds.
	ErrSlowFrame = errors.New("frame comes too slowly")
)

// Handler takes one request of a connection. It runs on the connection's
// reader, so the next request waits for it to return: what may take long goes
// through Conn.Go. The request is valid until the handler returns.
type Handler func(c *Conn, req *Command)

// Config bounds connections. Zero fields take the defaults.
type Config struct {
	MaxConns     int           // connections served at once; 20,000. More are closed as they come
	IdleTimeout  time.Duration // a connection that sends nothing is closed; 120 s
	FrameTimeout time.Duration // a frame that has begun is whole by then, or its connection is closed; 60 s
	StepTimeout  time.Duration // each MiB of a frame of more than 128 KiB is there by then, likewise; 5 s
	WriteTimeout time.Duration // one write of at most maxWrite bytes; 30 s
	OutHigh      int           // bytes waiting to be written that stop reading; 8 MiB, less where much waits on others
	OutMax       int           // bytes waiting to be written that end the connection; 64 MiB
	MaxWorkers   int           // handlers that Conn.Go runs at once for one connection; 64
	MaxCalls     int           // calls of ours that await a reply on one connection; 65,536

	// AfterRead is called, on the connection's reader, when the handler has had
	// every whole request that was read at once. Replies that were made
	// meanwhile, and those that it makes, are written together afterwards.
	// It says how many of the requests were posts: such whose handling and
	// answers cost less together. See pace.
	AfterRead func(c *Conn) (posts int)
	// BeforeRead, if not nil, is called on the connection's reader before it reads
	// on after posts, when what could be answered was written. It may wait.
	BeforeRead func(c *Conn)
	// Admit, if not nil, sees requests before their handler does, on the
	// connection's reader, and may change them. An error is the answer: a
	// *ReplyError gives the code, any other is NO_PERMISSION. Further requests
	// of the connection are handled without it unless again is true.
	Admit func(c *Conn, req *Command) (again bool, err error)
	// TLS, if not nil, is spoken with clients that begin with a handshake; with
	// others too, unless TLSOnly ends their connections.
	TLS     *tls.Config
	TLSOnly bool
	// OnClose hears of every connection that ended, after its last request.
	OnClose func(c *Conn)
	Logger  *slog.Logger

	workers *workers       // of a server; nil for a client, whose handlers are few
	reading *intake.Budget // bounds the large frames being read; nil for a client, which trusts its server
	writing *backlog       // of all connections; nil for a client
}

func (c Config) withDefaults() Config {
	c.MaxConns = cmp.Or(c.MaxConns, 20_000)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, 120*time.Second)
	c.FrameTimeout = cmp.Or(c.FrameTimeout, 60*time.Second)
	c.StepTimeout = cmp.Or(c.StepTimeout, intake.StepTime)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, 30*time.Second)
	c.OutHigh = cmp.Or(c.OutHigh, 8<<20)
	c.OutMax = cmp.Or(c.OutMax, 64<<20)
	c.MaxWorkers = cmp.Or(c.MaxWorkers, 64)
	c.MaxCalls = cmp.Or(c.MaxCalls, 1<<16)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
