package grpc

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	rpc "google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"varve/broker"
	"varve/internal/auth"
	"varve/internal/backlog"
	"varve/internal/conns"
	"varve/internal/intake"
	"varve/internal/mq"
)

// Limits of the port.
const (
	// maxStreams bounds the calls under way of one connection. A push consumer
	// holds one for each queue that it waits for.
	maxStreams = 4096
	// roomForMessages is what a call may be longer than the longest body: its
	// properties, or the other messages of a small batch.
	roomForMessages = 4 << 20
	// maxMetadata bounds what a call says beside its message.
	maxMetadata = 16 << 10
	// connWindow is what a connection may have on its way to the broker.
	connWindow    = 4 << 20
	connectWithin = 10 * time.Second
	idleConn      = 2 * time.Minute  // without a call
	pingAfter     = 30 * time.Second // of silence; the answer is due within pingWithin
	pingWithin    = 15 * time.Second
	leastPing     = 5 * time.Second // between pings of a client
	stopWithin    = 2 * time.Second
)

// Config sets up a Front.
type Config struct {
	// Advertise is host:port as clients are told in routes. Where it is empty
	// they are told the address by which they came, so that a port that is
	// forwarded works, and Listen where they didn't say.
	Advertise string
	Listen    netip.AddrPort
	// TLS serves TLS beside plaintext; nil serves plaintext alone.
	TLS      *tls.Config
	TLSOnly  bool             // refuses plaintext
	Auth     *auth.Store      // users and policies; nil lets everybody do everything
	MaxConns int              // connections at once; 4096
	Backlog  *backlog.Total   // what clients haven't read, with those of others; its own where nil
	Intake   *intake.Budget   // bounds the large messages that arrive; the process's where nil
	Now      func() time.Time // time.Now
	Logger   *slog.Logger     // discards
}

const defaultConns = 4096

// Front serves one broker to gRPC clients.
type Front struct {
	v2.UnimplementedMessagingServiceServer

	broker  *broker.Broker
	cfg     Config
	own     *v2.Endpoints // of Advertise or Listen
	clients *clients
	conns   *conns.Limit
	doors   *doors
	lined   lines         // sends that wait for their connection's turn
	ended   chan struct{} // closed when Serve ends
}

// New is a front for b.
func New(b *broker.Broker, cfg Config) (*Front, error) {
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
	addr := cfg.Advertise
	if addr == "" {
		addr = cfg.Listen.String()
	}
	own, err := endpointsOf(addr)
	if err != nil {
		return nil, err
	}
	return &Front{broker: b, cfg: cfg, own: own, clients: newClients(), doors: newDoors(cfg.Intake), conns: conns.AtMost(cfg.MaxConns, cfg.Logger), ended: make(chan struct{})}, nil
}

// Serve takes clients from the listener until ctx ends, once. It closes the
// listener.
func (f *Front) Serve(ctx context.Context, ln net.Listener) error {
	s := rpc.NewServer(
		rpc.Creds(newSniffer(f.cfg.TLS, f.cfg.TLSOnly, f.begin)),
		rpc.MaxConcurrentStreams(maxStreams),
		rpc.MaxHeaderListSize(maxMetadata),
		rpc.StaticStreamWindowSize(streamWindow),
		rpc.StaticConnWindowSize(connWindow),
		rpc.MaxRecvMsgSize(mq.MaxBodyLen+roomForMessages),
		rpc.MaxSendMsgSize(1<<30), // what the broker reads is bounded by itself
		rpc.ConnectionTimeout(connectWithin),
		rpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleConn, Time: pingAfter, Timeout: pingWithin}),
		rpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: leastPing, PermitWithoutStream: true}),
	)
	v2.RegisterMessagingServiceServer(s, f)
	served := make(chan error, 1)
	go func() { served <- s.Serve(f.conns.Listen(ln)) }()
	swept := make(chan struct{})
	go func() { defer close(swept); f.sweep(ctx) }()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
	}
	close(f.ended)
	force := time.AfterFunc(stopWithin, s.Stop)
	s.GracefulStop()
	force.Stop()
	if ctx.Err() == nil {
		return err
	}
	<-swept
	return nil
}

// begin makes what calls of a new connection share.
func (f *Front) begin(conn net.Conn, info credentials.AuthInfo) (net.Conn, *connection) {
	c := &connection{AuthInfo: info, backlog: f.cfg.Backlog.Conn()}
	c.turns.share, c.turns.all = f.broker.SendShare, &f.lined
	return f.doors.guard(conn, func() { c.ended(f.broker) }), c
}

// sweep renews handles and looks for silent clients until ctx ends.
func (f *Front) sweep(ctx context.Context) {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			f.expireClients()
			f.doors.sweep()
		case <-f.ended:
			return
		case <-ctx.Done():
			return
		}
	}
}

// caller is who makes a call.
type caller struct {
	id   string
	addr netip.AddrPort
}

// Names of the metadata that clients send.
const (
	mdClientID = "x-mq-client-id"
	mdLanguage = "x-mq-language"
	mdVersion  = "x-mq-client-version"
)

// admit finds out who makes a call, before anything is done for it.
func (f *Front) admit(ctx context.Context, m proto.Message) (caller, error) {
	c := caller{id: header(ctx, mdClientID)}
	if c.id == "" {
		return c, refused(v2.Code_CLIENT_ID_REQUIRED, "the call has no client id (metadata %s)", mdClientID)
	}
	if p, ok := peer.FromContext(ctx); ok {
		if a, ok := p.Addr.(*net.TCPAddr); ok {
			ap := a.AddrPort()
			c.addr = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
		}
	}
	return c, f.authorize(ctx, c, m)
}

// header is the first value of a call's metadata, "" where it is absent.
func header(ctx context.Context, name string) string {
	if v := metadata.ValueFromIncomingContext(ctx, name); len(v) > 0 {
		return v[0]
	}
	return ""
}
