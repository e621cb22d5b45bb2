package grpc

import (
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
)

// connections counts what is open, up to a bound.
type connections struct {
	max  int64
	open atomic.Int64
}

// limited is a listener that closes connections beyond the bound.
type limited struct {
	net.Listener
	conns  *connections
	logger *slog.Logger
}

// Accept waits for a connection that there is room for.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.conns.open.Add(1) <= l.conns.max {
			return &counted{Conn: c, of: l.conns}, nil
		}
		l.conns.open.Add(-1)
		l.logger.Warn("connection refused: too many", slog.Int64("limit", l.conns.max), slog.String("peer", c.RemoteAddr().String()))
		_ = c.Close()
	}
}

type counted struct {
	net.Conn
	of   *connections
	once sync.Once
}

// Close gives the place back.
func (c *counted) Close() error {
	c.once.Do(func() { c.of.open.Add(-1) })
	return c.Conn.Close()
}
