package grpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// tlsRecord is the first byte of a TLS handshake. HTTP/2 in plaintext begins
// with "PRI".
const tlsRecord = 0x16

// sniffer lets plaintext and TLS in by one port, by the first byte of a
// connection.
type sniffer struct {
	credentials.TransportCredentials // plaintext
	tls                              credentials.TransportCredentials
	only                             bool // TLS
	begin                            func(net.Conn, credentials.AuthInfo) (net.Conn, *connection)
}

// newSniffer makes the credentials of a server; begin makes what calls of one
// connection share, and what is read and written of it.
func newSniffer(c *tls.Config, only bool, begin func(net.Conn, credentials.AuthInfo) (net.Conn, *connection)) credentials.TransportCredentials {
	s := &sniffer{TransportCredentials: insecure.NewCredentials(), only: only, begin: begin}
	if c != nil {
		s.tls = credentials.NewTLS(c)
	}
	return s
}

var errPlain = errors.New("the client speaks plaintext, which this port doesn't take")

var errNoTLS = errors.New("the client speaks TLS, which is not set up at this port")

// ServerHandshake reads the first byte within the server's connection timeout.
func (s *sniffer) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c := &replayed{Conn: raw, unread: true}
	if _, err := io.ReadFull(raw, c.first[:]); err != nil {
		return nil, nil, fmt.Errorf("first byte of a connection: %w", err)
	}
	if c.first[0] != tlsRecord && s.only {
		return nil, nil, errPlain
	}
	as := s.TransportCredentials
	if c.first[0] == tlsRecord {
		if as = s.tls; as == nil {
			return nil, nil, errNoTLS
		}
	}
	conn, info, err := as.ServerHandshake(c)
	if err != nil {
		return nil, nil, err
	}
	conn, shared := s.begin(conn, info)
	return conn, shared, nil
}

// ClientHandshake is not for a server.
func (s *sniffer) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are a server's")
}

// Clone gives the credentials themselves: they hold nothing of a connection.
func (s *sniffer) Clone() credentials.TransportCredentials { return s }

// replayed is a connection whose first byte is read already.
type replayed struct {
	net.Conn
	first  [1]byte
	unread bool
}

// Read gives the first byte again, once.
func (c *replayed) Read(p []byte) (int, error) {
	if c.unread && len(p) > 0 {
		c.unread = false
		p[0] = c.first[0]
		return 1, nil
	}
	return c.Conn.Read(p)
}
