package remoting

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"
)

// ClientConfig sets up a Client. Zero fields take the defaults.
type ClientConfig struct {
	Serializer  Serializer    // of our requests; JSON
	DialTimeout time.Duration // 3 s
	Handler     Handler       // requests of the peer's; nil answers them with code 3
	Conn        Config        // IdleTimeout is off unless set; MaxConns is not used
	// Dial makes connections; net.Dialer over TCP if nil.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// TLS, if not nil, is spoken over them.
	TLS *tls.Config
	// Sign, if not nil, adds its signature to a copy of every request.
	Sign func(req *Command)
}

// Client calls one server over one connection, which is made when it is needed
// and made anew after it broke. A call that was under way then fails: whether
// the server acted on it is not known.
type Client struct {
	addr string
	cfg  ClientConfig

	mu      sync.Mutex
	conn    *Conn // nil or ended if there is none
	closed  bool
	reading sync.WaitGroup
}

// never is an idle timeout that doesn't come.
const never = 100 * 365 * 24 * time.Hour

// NewClient is a client that connects with its first call.
func NewClient(addr string, cfg ClientConfig) *Client {
	cfg.DialTimeout = cmp.Or(cfg.DialTimeout, 3*time.Second)
	cfg.Conn.IdleTimeout = cmp.Or(cfg.Conn.IdleTimeout, never)
	cfg.Conn = cfg.Conn.withDefaults()
	if cfg.Dial == nil {
		var d net.Dialer
		cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	}
	return &Client{addr: addr, cfg: cfg}
}

// Dial is a client that is connected already.
func Dial(ctx context.Context, addr string, cfg ClientConfig) (*Client, error) {
	c := NewClient(addr, cfg)
	if _, err := c.connect(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// Addr is the server's address.
func (c *Client) Addr() string { return c.addr }

// Call sends a request and waits for its reply. A reply with an error code is
// a reply: see Command.Err.
func (c *Client) Call(ctx context.Context, req *Command) (*Command, error) {
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	return conn.Call(ctx, c.signed(req))
}

// signed is the request, or a signed copy of it.
func (c *Client) signed(req *Command) *Command {
	if c.cfg.Sign == nil {
		return req
	}
	out := *req
	out.Ext = req.Ext.clone()
	c.cfg.Sign(&out)
	return &out
}

// OneWay sends a request that gets no reply.
func (c *Client) OneWay(ctx context.Context, req *Command) error {
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	return conn.Push(c.signed(req))
}

// Close ends the connection and refuses further calls.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	conn := c.conn
	c.mu.Unlock()
	if conn != nil {
		_ = conn.Close()
	}
	c.reading.Wait()
	return nil
}

func (c *Client) connect(ctx context.Context) (*Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, fmt.Errorf("call to %s: %w", c.addr, ErrClosed)
	}
	if c.conn != nil && c.conn.ctx.Err() == nil {
		return c.conn, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.DialTimeout)
	defer cancel()
	nc, err := c.cfg.Dial(ctx, c.addr)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", c.addr, err)
	}
	if c.cfg.TLS != nil {
		over := tls.Client(nc, tlsFor(c.cfg.TLS, c.addr))
		if err := over.HandshakeContext(ctx); err != nil {
			_ = nc.Close()
			return nil, fmt.Errorf("connect to %s: %w", c.addr, err)
		}
		nc = over
	}
	conn := newConn(context.Background(), nc, c.cfg.Handler, &c.cfg.Conn)
	conn.peer.Store(uint32(c.cfg.Serializer))
	c.conn = conn
	c.reading.Go(func() {
		conn.read()
		if f := c.cfg.Conn.OnClose; f != nil {
			f(conn)
		}
	})
	return conn, nil
}

// tlsFor is the configuration for a server at an address.
func tlsFor(cfg *tls.Config, addr string) *tls.Config {
	if cfg.ServerName != "" {
		return cfg
	}
	own := cfg.Clone()
	own.ServerName, _, _ = net.SplitHostPort(addr)
	return own
}
