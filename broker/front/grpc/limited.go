package grpc

import (
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
)

// limited is a listener that closes connections beyond a number at once.
type limited struct {
	net.Listener
	max    int64
	open   atomic.Int64
	logger *slog.Logger
}

func newLimited(ln net.Listener, maxConns int, logger *slog.Logger) *limited {
	return &limited{Listener: ln, max: int64(maxConns), logger: logger}
}

// Accept waits for a connection that there is room for.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.max {
			return &counted{Conn: c, of: l}, nil
		}
		l.open.Add(-1)
		l.logger.Warn("connection refused: too many", slog.Int64("limit", l.max), slog.String("peer", c.RemoteAddr().String()))
		_ = c.Close()
	}
}

type counted struct {
	net.Conn
	of   *limited
	once sync.Once
}

// Close gives the place back.
func (c *counted) Close() error {
	c.once.Do(func() { c.of.open.Add(-1) })
	return c.Conn.Close()
}
