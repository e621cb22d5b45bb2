package conns

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
)

func TestConnectionsBeyondTheBoundAreClosed(t *testing.T) {
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	limit := AtMost(1, slog.New(slog.DiscardHandler))
	ln := limit.Listen(raw)
	accepted := make(chan net.Conn, 4)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", raw.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	dial()
	first := <-accepted
	if _, err := dial().Read(make([]byte, 1)); err == nil {
		t.Error("a second connection is open")
	} else if !errors.Is(err, io.EOF) {
		t.Logf("refused with %v", err)
	}
	if limit.Open() != 1 {
		t.Errorf("%d are open, want 1", limit.Open())
	}
	_ = first.Close()
	_ = first.Close() // gives one place back
	dial()
	defer (<-accepted).Close()
	if limit.Open() != 1 {
		t.Errorf("%d are open, want 1", limit.Open())
	}
}
