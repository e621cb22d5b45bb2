package migrate

import (
	"errors"
	"net"
	"testing"
	"time"
)

// TestNameServerThatNeverAnswers: a wrong address is told, and not tried for ever.
func TestNameServerThatNeverAnswers(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), nil, Config{NameServer: addr, FindWithin: 300 * time.Millisecond}); !errors.Is(err, ErrNoNameServer) {
		t.Errorf("nobody listens at %s: %v", addr, err)
	}
}
