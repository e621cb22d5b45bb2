package tlsport

import (
	"io"
	"net"
	"time"
)

// Bounds of reading what nobody wants.
const (
	lingerFor   = 5 * time.Second
	lingerBytes = 64 << 20
)

// lingering gives an HTTP server connections whose clients learn what they were
// answered though they haven't been read to their end.
type lingering struct{ net.Listener }

func (l lingering) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &lingerer{Conn: nc}, nil
}

type lingerer struct{ net.Conn }

// CloseWrite is what net/http calls where it ends a connection of which it
// leaves something unread, such as headers or a body over the limit. A close
// then would be a reset, which takes the answer from a client that still sends:
// so the answer's end is said, and what comes is read for a while.
func (c *lingerer) CloseWrite() error {
	closeWrite(c.Conn)
	_ = c.SetReadDeadline(time.Now().Add(lingerFor))
	_, err := io.CopyN(io.Discard, c.Conn, lingerBytes)
	return err
}

// closeWrite says the end of what is written where the connection can.
func closeWrite(c net.Conn) {
	if c, ok := c.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
}

// CloseWrite says the end of what is written, within TLS too.
func (c *conn) CloseWrite() error {
	if over := c.over.Load(); over != nil {
		closeWrite(*over)
	}
	return nil
}

// CloseWrite says the end of what is written.
func (b *begun) CloseWrite() error {
	closeWrite(b.Conn)
	return nil
}
