package tlsport

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"varve/internal/conns"
)

// A client that sends more than it may, and reads only then, learns its status,
// with TLS and without.
func TestWhatIsTooLongIsAnswered(t *testing.T) {
	certFile, keyFile, trust := own(t, t.TempDir())
	cfg, err := Load(certFile, keyFile, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	srv := &http.Server{MaxHeaderBytes: 4 << 10, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<10)); err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
	})}
	done := make(chan error, 1)
	go func() {
		done <- ServeHTTP(ctx, srv, Listen(conns.AtMost(10, slog.New(slog.DiscardHandler)).Listen(raw), cfg, false, "http/1.1"), time.Second)
	}()
	defer func() { cancel(); <-done }()
	const long = 20 << 20
	for _, c := range []struct{ name, head, rest, want string }{
		{"a body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20971520\r\n\r\n", "", "413 "},
		{"a body of chunks", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1400000\r\n", "\r\n0\r\n\r\n", "413 "},
		{"headers", "GET / HTTP/1.1\r\nHost: x\r\nX: ", "\r\n\r\n", "431 "},
		{"a path", "GET /", " HTTP/1.1\r\nHost: x\r\n\r\n", "431 "},
	} {
		for _, secure := range []bool{false, true} {
			nc, err := net.Dial("tcp", raw.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if secure {
				nc = tls.Client(nc, &tls.Config{RootCAs: trust, ServerName: "varve.test"})
			}
			_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
			if _, err := io.WriteString(nc, c.head+strings.Repeat("x", long)+c.rest); err != nil {
				t.Errorf("%s, TLS %v: sending: %v", c.name, secure, err)
			}
			if line, err := bufio.NewReader(nc).ReadString('\n'); err != nil || !strings.Contains(line, c.want) {
				t.Errorf("%s, TLS %v: answered %q, %v; want %s", c.name, secure, line, err, c.want)
			}
			_ = nc.Close()
		}
	}
}
