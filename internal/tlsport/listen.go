package tlsport

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// ErrPlain says that a client doesn't speak TLS where it has to.
var ErrPlain = errors.New("client doesn't speak TLS, and this port takes nothing else")

const (
	tlsHandshake = 0x16             // first byte of a TLS connection
	helloTime    = 10 * time.Second // for the first byte of a connection
)

// Listen takes TLS connections on ln, and plain ones too unless only. protos
// are the protocols offered within TLS (ALPN). A nil cfg gives ln itself.
func Listen(ln net.Listener, cfg *tls.Config, only bool, protos ...string) net.Listener {
	if cfg == nil {
		return ln
	}
	own := cfg.Clone()
	own.NextProtos = protos
	return &listener{Listener: ln, cfg: own, only: only}
}

type listener struct {
	net.Listener
	cfg  *tls.Config
	only bool
}

func (l *listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: nc, l: l}, nil
}

// conn is a connection that finds out what it is when it is first used.
type conn struct {
	net.Conn // as accepted
	l        *listener

	once sync.Once
	over atomic.Pointer[net.Conn] // what is read and written
	err  error
}

func (c *conn) greet() error {
	c.once.Do(func() {
		b := make([]byte, 1)
		late := time.AfterFunc(helloTime, func() { _ = c.Conn.Close() })
		defer late.Stop()
		if _, c.err = c.Conn.Read(b); c.err != nil {
			return
		}
		var over net.Conn = &begun{Conn: c.Conn, first: b}
		switch {
		case b[0] == tlsHandshake:
			over = tls.Server(over, c.l.cfg)
		case c.l.only:
			c.err = ErrPlain
			_ = c.Conn.Close()
		}
		c.over.Store(&over)
	})
	return c.err
}

func (c *conn) Read(p []byte) (int, error) {
	if err := c.greet(); err != nil {
		return 0, err
	}
	return (*c.over.Load()).Read(p)
}

func (c *conn) Write(p []byte) (int, error) {
	if err := c.greet(); err != nil {
		return 0, err
	}
	return (*c.over.Load()).Write(p)
}

// Close says goodbye where TLS is spoken.
func (c *conn) Close() error {
	if over := c.over.Load(); over != nil {
		return (*over).Close()
	}
	return c.Conn.Close()
}

// begun is a connection of which the first byte was read already.
type begun struct {
	net.Conn
	first []byte
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.first) > 0 && len(p) > 0 {
		n := copy(p, b.first)
		b.first = b.first[n:]
		return n, nil
	}
	return b.Conn.Read(p)
}
