package remoting_test

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"time"

	"varve/broker"
	"varve/broker/front/fronttest"
	front "varve/broker/front/remoting"
	"varve/broker/route"
	"varve/hot"
	"varve/internal/auth"
	"varve/internal/guard"
	"varve/internal/meta"
	wire "varve/internal/remoting"
)

// node is a broker with its front and a name server on free ports.
type node struct {
	broker *broker.Broker
	auth   *auth.Store
	log    *hot.Store
	route  string // address of the name server
	addr   string // address of the front

	stirred *signal // fires when something has happened, see until
}

// nodeOptions change what startNode makes.
type nodeOptions struct {
	conf    func(*broker.Config)
	conn    wire.Config
	dir     string // a new one if empty
	auth    bool   // access control is on, with the super user admin (password admin)
	tls     *tls.Config
	tlsOnly bool
}

// startNode runs a node until the test ends.
func startNode(t testing.TB, o nodeOptions) *node {
	t.Helper()
	ln, addr := fronttest.Listen(t)
	nsln, routeAddr := fronttest.Listen(t)
	n := fronttest.Open(t, fronttest.Options{Addr: addr, Conf: o.conf, Dir: o.dir})
	b := n.Broker
	users := users(t, n.State, o.auth)
	guard := guard.New(guard.Config{
		Store: users, HasTopic: func(name string) bool { _, ok := b.Topic(name); return ok },
		HasGroup: func(name string) bool { _, ok := b.Group(name); return ok },
	})
	o.conn.Admit, o.conn.TLS, o.conn.TLSOnly = guard.Admit, o.tls, o.tlsOnly
	stirred := newSignal()
	n.Log.OnArrival(func([]hot.Arrival) { stirred.fire() })
	f := front.New(b, front.Config{Conn: o.conn, Auth: users})
	routes := route.New(route.Config{KV: n.State.Table("kv")})
	routes.Join(route.Member{Cluster: n.Conf.Cluster, Broker: n.Conf.Broker, Addr: addr.String()}, front.Topics(b))
	n.With("front", func(ctx context.Context) error { return f.Serve(ctx, watched{ln, stirred}) })
	n.With("route", func(ctx context.Context) error {
		return wire.Serve(ctx, nsln, routes.Serve, wire.Config{OnClose: routes.ConnectionEnded, Admit: guard.Admit, TLS: o.tls, TLSOnly: o.tlsOnly})
	}).Run(t)
	return &node{broker: b, auth: users, log: n.Log, route: routeAddr.String(), addr: addr.String(), stirred: stirred}
}

// users makes the users of a node.
func users(t testing.TB, state *meta.Store, on bool) *auth.Store {
	t.Helper()
	s, err := auth.Open(state, auth.Config{On: on, Key: auth.NewKey(), Cluster: "DefaultCluster"})
	if err != nil {
		t.Fatal(err)
	}
	if on {
		if err := s.CreateUser(auth.Anybody, auth.User{Name: "admin", Password: "admin", Type: auth.Super}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// client is a connection to the node's front.
func (n *node) client(t testing.TB, s wire.Serializer) *wire.Client {
	t.Helper()
	c := wire.NewClient(n.addr, wire.ClientConfig{Serializer: s})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// signal tells whoever waits that something has happened.
type signal struct {
	mu sync.Mutex
	c  chan struct{}
}

func newSignal() *signal { return &signal{c: make(chan struct{})} }

func (s *signal) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.c)
	s.c = make(chan struct{})
}

func (s *signal) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.c
}

// until waits for a condition, which it looks at whenever the node has handled
// requests, a message has arrived or a consumer of the test has been called.
func (n *node) until(t testing.TB, wait time.Duration, what string, cond func() bool) {
	t.Helper()
	for limit := time.After(wait); ; {
		stirred := n.stirred.next()
		if cond() {
			return
		}
		select {
		case <-stirred:
		case <-limit:
			t.Fatalf("%s: not within %s", what, wait)
		}
	}
}

// watched is a listener whose connections tell when all that was read is
// handled, and when something is written.
type watched struct {
	net.Listener
	stirred *signal
}

func (w watched) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return watchedConn{c, w.stirred}, nil
}

type watchedConn struct {
	net.Conn
	stirred *signal
}

func (c watchedConn) Read(p []byte) (int, error) {
	c.stirred.fire()
	return c.Conn.Read(p)
}

func (c watchedConn) Write(p []byte) (int, error) {
	defer c.stirred.fire()
	return c.Conn.Write(p)
}
