package conns

import (
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
)

// Limit is a bound on connections, and how many there are.
type Limit struct {
	max    int64
	logger *slog.Logger
	open   atomic.Int64
}

// AtMost makes a bound.
func AtMost(n int, logger *slog.Logger) *Limit { return &Limit{max: int64(n), logger: logger} }

// Open is how many connections there are.
func (l *Limit) Open() int { return int(l.open.Load()) }

// Listen gives ln the bound: connections beyond it are closed as they come.
func (l *Limit) Listen(ln net.Listener) net.Listener { return &listener{ln, l} }

type listener struct {
	net.Listener
	of *Limit
}

// Accept waits for a connection that there is room for.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.of.open.Add(1) <= l.of.max {
			return &counted{Conn: c, of: l.of}, nil
		}
		l.of.open.Add(-1)
		l.of.logger.Warn("connection refused: too many", slog.Int64("limit", l.of.max), slog.String("peer", c.RemoteAddr().String()))
		_ = c.Close()
	}
}

type counted struct {
	net.Conn
	of   *Limit
	once sync.Once
}

// CloseWrite says the end of what is written, where the connection can.
func (c *counted) CloseWrite() error {
	if under, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return under.CloseWrite()
	}
	return nil
}

// Close gives the place back.
func (c *counted) Close() error {
	c.once.Do(func() { c.of.open.Add(-1) })
	return c.Conn.Close()
}
