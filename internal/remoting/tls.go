package remoting

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

const (
	// tlsHandshake is the first byte of a TLS connection. A frame of this
	// protocol begins with its length, which is never that large.
	tlsHandshake = 0x16
	// handshakeTime bounds a TLS handshake.
	handshakeTime = 10 * time.Second
)

// greet finds out whether the peer speaks TLS, and makes the handshake.
func (c *Conn) greet() error {
	if c.cfg.TLS == nil {
		return nil
	}
	first := make([]byte, 1)
	if err := c.raw.SetReadDeadline(time.Now().Add(c.cfg.IdleTimeout)); err != nil {
		return err
	}
	if _, err := c.raw.Read(first); err != nil {
		return err
	}
	if first[0] != tlsHandshake {
		if c.cfg.TLSOnly {
			return ErrNoTLS
		}
		c.first = first
		return nil
	}
	if err := c.raw.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.ctx, handshakeTime)
	defer cancel()
	over := tls.Server(&resumed{Conn: c.raw, first: first}, c.cfg.TLS)
	if err := over.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	c.nc, c.prompt = over, nil
	return nil
}

// resumed is a connection of which something was read already.
type resumed struct {
	net.Conn
	first []byte
}

func (r *resumed) Read(p []byte) (int, error) {
	if len(r.first) > 0 && len(p) > 0 {
		n := copy(p, r.first)
		r.first = r.first[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}
