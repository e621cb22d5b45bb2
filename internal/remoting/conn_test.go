package remoting

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// echo answers with the request's fields and body.
func echo(c *Conn, req *Command) {
	resp := &Command{Body: bytes.Clone(req.Body)}
	for k, v := range req.Ext.All() {
		resp.Ext.Set(k, v)
	}
	c.Reply(req.From(), resp)
}

// serve starts a server for the test's time and gives its address.
func serve(t *testing.T, h Handler, cfg Config) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, ln, h, cfg) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return ln.Addr().String()
}

func dial(t *testing.T, addr string, cfg ClientConfig) *Client {
	t.Helper()
	c, err := Dial(t.Context(), addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestCallBothSerializers(t *testing.T) {
	addr := serve(t, echo, Config{})
	for _, ser := range []Serializer{JSON, Binary} {
		c := dial(t, addr, ClientConfig{Serializer: ser})
		for _, size := range []int{0, 1, 1000, 5000, 200_000, 5 << 20} {
			req := NewRequest(310, "b", "topic\x01\x02\"\\é", "i", strings.Repeat("p", 3000))
			req.Body = bytes.Repeat([]byte{'x'}, size)
			r, err := c.Call(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if r.Code != Success || !bytes.Equal(r.Body, req.Body) || r.Ext.Get("b") != req.Ext.Get("b") || r.Ext.Get("i") != req.Ext.Get("i") {
				t.Errorf("serializer %d, body of %d: reply %+v differs", ser, size, r.Code)
			}
			if r.Serializer != ser {
				t.Errorf("reply in serializer %d, want %d", r.Serializer, ser)
			}
		}
	}
}

func TestConcurrentCalls(t *testing.T) {
	addr := serve(t, func(c *Conn, req *Command) { c.Go(req, echo) }, Config{MaxWorkers: 3})
	c := dial(t, addr, ClientConfig{Serializer: Binary})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			body := bytes.Repeat([]byte{byte(i)}, 100+i*1000)
			for range 50 {
				req := NewRequest(1000)
				req.Body = body
				r, err := c.Call(t.Context(), req)
				if err != nil || !bytes.Equal(r.Body, body) {
					t.Errorf("call: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestServerCallsClient(t *testing.T) {
	got := make(chan string, 1)
	addr := serve(t, func(c *Conn, req *Command) {
		c.Go(req, func(c *Conn, req *Command) {
			r, err := c.Call(c.Context(), NewRequest(GetConsumerRunningInfo, "clientId", "me"))
			if err != nil {
				t.Error(err)
				return
			}
			got <- string(r.Body)
			c.Reply(req.From(), &Command{})
		})
	}, Config{})
	c := dial(t, addr, ClientConfig{Handler: func(c *Conn, req *Command) {
		c.Reply(req.From(), &Command{Body: []byte(req.Ext.Get("clientId") + " runs")})
	}})
	if _, err := c.Call(t.Context(), NewRequest(1)); err != nil {
		t.Fatal(err)
	}
	if s := <-got; s != "me runs" {
		t.Errorf("got %q", s)
	}
}

// rawPeer is a connection to a server whose bytes the test writes itself.
func rawPeer(t *testing.T, addr string) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return nc
}

func readReply(t *testing.T, nc net.Conn) *Command {
	t.Helper()
	_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	var head [4]byte
	if _, err := readFull(nc, head[:]); err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := readFull(nc, frame); err != nil {
		t.Fatal(err)
	}
	var cmd Command
	if err := DecodeFrame(frame, &cmd); err != nil {
		t.Fatal(err)
	}
	return &cmd
}

func readFull(nc net.Conn, p []byte) (int, error) {
	n := 0
	for n < len(p) {
		k, err := nc.Read(p[n:])
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func jsonFrame(header string, body int) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)+body))
	b = binary.BigEndian.AppendUint32(b, uint32(len(header)))
	b = append(b, header...)
	return append(b, make([]byte, body)...)
}

// TestBadFramesKeepConnection sends every kind of bad frame whose end is known,
// and a good one after each.
func TestBadFramesKeepConnection(t *testing.T) {
	addr := serve(t, echo, Config{})
	binaryCut := []byte{0, 0, 0, 19, 1, 0, 0, 15, 0, 10, 9, 1, 61, 0, 0, 0, 77, 0, 0, 0, 0, 9, 9}
	cases := []struct {
		name   string
		frame  []byte
		code   int
		opaque int32
	}{
		{"over the limit", jsonFrame(`{"code":10,"opaque":5}`, MaxFrame), MessageIllegal, 5},
		{"far over the limit", jsonFrame(`{"code":10,"opaque":6}`, 3*MaxFrame), MessageIllegal, 6},
		{"bad JSON", jsonFrame(`{"code":10,"opaque":7,}`, 10), SystemError, 7},
		{"no JSON", jsonFrame(`hello`, 10), SystemError, -1},
		{"bad field", jsonFrame(`{"code":"x","opaque":8}`, 0), SystemError, 8},
		{"empty", jsonFrame(``, 0), SystemError, -1},
		{"shorter than a header word", []byte{0, 0, 0, 2, 1, 1}, SystemError, -1},
		{"header longer than frame", []byte{0, 0, 0, 4, 0, 0, 0, 9}, SystemError, -1},
		{"unknown serializer", []byte{0, 0, 0, 5, 7, 0, 0, 1, 0}, SystemError, -1},
		{"binary cut off", binaryCut, SystemError, 77},
	}
	nc := rawPeer(t, addr)
	for _, tc := range cases {
		if _, err := nc.Write(tc.frame); err != nil {
			t.Fatal(err)
		}
		if r := readReply(t, nc); r.Code != tc.code || r.Opaque != tc.opaque || r.Remark == "" {
			t.Errorf("%s: reply %d to %d (%s), want %d to %d", tc.name, r.Code, r.Opaque, r.Remark, tc.code, tc.opaque)
		}
		if _, err := nc.Write(jsonFrame(`{"code":10,"opaque":99,"extFields":{"a":"b"}}`, 3)); err != nil {
			t.Fatal(err)
		}
		if r := readReply(t, nc); r.Opaque != 99 || r.Ext.Get("a") != "b" || len(r.Body) != 3 {
			t.Errorf("after %s: reply %+v", tc.name, r)
		}
	}
}

func TestForeignProtocolEndsConnection(t *testing.T) {
	addr := serve(t, echo, Config{})
	for _, first := range []string{"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01", "\xff\xff\xff\xff\x00"} {
		nc := rawPeer(t, addr)
		if _, err := nc.Write([]byte(first)); err != nil {
			t.Fatal(err)
		}
		_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, err := nc.Read(make([]byte, 10)); n != 0 || err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%q: read %d bytes, %v; want the end", first, n, err)
		}
	}
}

func TestMaxConns(t *testing.T) {
	addr := serve(t, echo, Config{MaxConns: 1})
	c := dial(t, addr, ClientConfig{})
	if _, err := c.Call(t.Context(), NewRequest(1)); err != nil {
		t.Fatal(err)
	}
	second := dial(t, addr, ClientConfig{})
	if _, err := second.Call(t.Context(), NewRequest(1)); !errors.Is(err, ErrClosed) {
		t.Errorf("second connection: %v, want ErrClosed", err)
	}
	if _, err := c.Call(t.Context(), NewRequest(1)); err != nil {
		t.Errorf("first connection: %v", err)
	}
}

func TestClientReconnects(t *testing.T) {
	addr := serve(t, func(c *Conn, req *Command) {
		if req.Code == 666 {
			_ = c.Close()
			return
		}
		echo(c, req)
	}, Config{})
	c := dial(t, addr, ClientConfig{})
	if _, err := c.Call(t.Context(), NewRequest(666)); !errors.Is(err, ErrClosed) {
		t.Errorf("call: %v, want ErrClosed", err)
	}
	if _, err := c.Call(t.Context(), NewRequest(1)); err != nil {
		t.Errorf("call after a lost connection: %v", err)
	}
}

func TestHandlerPanicIsAnError(t *testing.T) {
	addr := serve(t, func(*Conn, *Command) { panic("boom") }, Config{})
	c := dial(t, addr, ClientConfig{})
	for range 2 {
		r, err := c.Call(t.Context(), NewRequest(1))
		if err != nil || r.Code != SystemError {
			t.Errorf("got %v, %v; want code 1", r, err)
		}
	}
}

// pipeConn runs a connection over net.Pipe inside a synctest bubble.
func pipeConn(h Handler, cfg Config) (c *Conn, peer net.Conn, done <-chan struct{}) {
	cfg = cfg.withDefaults()
	a, b := net.Pipe()
	c = newConn(context.Background(), a, h, &cfg)
	end := make(chan struct{})
	go func() { c.read(); close(end) }()
	return c, b, end
}

func TestIdleConnectionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, peer, done := pipeConn(echo, Config{})
		time.Sleep(100 * time.Second)
		go func() { _, _ = peer.Write(jsonFrame(`{"code":10,"opaque":5,"flag":2}`, 5000)) }()
		<-done
		if d := time.Since(start); d != 220*time.Second {
			t.Errorf("ended after %s, want 220s", d)
		}
	})
}

// A frame that trickles is not kept alive by its bytes.
func TestTricklingFrameEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, peer, done := pipeConn(echo, Config{})
		time.Sleep(50 * time.Second)
		var writer sync.WaitGroup
		writer.Go(func() {
			for _, b := range jsonFrame(`{"code":10,"opaque":5}`, 5000) {
				if _, err := peer.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		<-done
		if d := time.Since(start); d != 110*time.Second {
			t.Errorf("ended after %s, want 110s", d)
		}
		writer.Wait()
	})
}

func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var handled int
		c, peer, done := pipeConn(func(c *Conn, req *Command) {
			handled++
			c.Reply(req.From(), &Command{Body: make([]byte, 1000)})
		}, Config{OutHigh: 4000, WriteTimeout: time.Minute})
		go func() {
			f := jsonFrame(`{"code":10,"opaque":5}`, 0)
			for {
				if _, err := peer.Write(f); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		if handled > 10 {
			t.Errorf("%d requests handled for a peer that reads nothing", handled)
		}
		<-done // by the write timeout
		if c.ctx.Err() == nil {
			t.Error("connection lives on")
		}
	})
}

// Replies that the peer doesn't take keep the reader from nothing; when it takes
// them all are there, in order. More in one write than an idle socket holds goes
// through the flusher.
func TestReaderWaitsForNoPeer(t *testing.T) {
	const replies, size = 24, 1 << 20
	reached := make(chan struct{})
	body := bytes.Repeat([]byte{'b'}, size)
	addr := serve(t, func(c *Conn, req *Command) {
		if req.Code == 1 {
			close(reached)
			return
		}
		c.Reply(req.From(), &Command{Body: body})
	}, Config{OutHigh: 2 * replies * size, OutMax: 2 * replies * size})
	nc := rawPeer(t, addr)
	var out []byte
	for i := range replies {
		req := NewRequest(10)
		req.Opaque = int32(i)
		out = AppendFrame(out, req)
	}
	last := NewRequest(1)
	last.Flag = flagOneWay
	if _, err := nc.Write(AppendFrame(out, last)); err != nil {
		t.Fatal(err)
	}
	<-reached
	for i := range replies {
		if r := readReply(t, nc); r.Opaque != int32(i) || !bytes.Equal(r.Body, body) {
			t.Fatalf("reply %d is of request %d with %d bytes", i, r.Opaque, len(r.Body))
		}
	}
}

func TestOutMaxEndsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, done := pipeConn(echo, Config{OutMax: 10_000})
		var err error
		for i := 0; i < 100 && err == nil; i++ {
			err = c.Push(&Command{Code: NotifyConsumerIDsChanged, Body: make([]byte, 1000)})
		}
		if !errors.Is(err, ErrSlowReader) {
			t.Errorf("push: %v, want ErrSlowReader", err)
		}
		<-done
	})
}

func TestStopWritesWhatWaits(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- Serve(ctx, ln, func(c *Conn, req *Command) {
			c.Reply(req.From(), &Command{Body: make([]byte, 1<<20)})
			cancel()
		}, Config{})
	}()
	nc := rawPeer(t, ln.Addr().String())
	if _, err := nc.Write(jsonFrame(`{"code":10,"opaque":5}`, 0)); err != nil {
		t.Fatal(err)
	}
	if r := readReply(t, nc); len(r.Body) != 1<<20 {
		t.Errorf("body of %d bytes", len(r.Body))
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
