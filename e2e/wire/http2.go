package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Frames of HTTP/2, and the flags of them that count here.
const (
	frameData         = 0
	frameHeaders      = 1
	frameReset        = 3
	frameSettings     = 4
	framePing         = 6
	frameGoAway       = 7
	frameWindow       = 8
	flagEndStream     = 1
	flagAck           = 1
	flagEndHeaders    = 4
	flagPadded        = 8
	settingWindow     = 4
	frameHead         = 9
	grpcHead          = 5 // before each message: compressed or not, length
	firstWindow       = 65535
	ownWindow         = 1 << 30
	dynamicTableFirst = 62
)

// grpcConn is one connection to a gRPC server; one goroutine uses it. It knows
// as much of HTTP/2 as calls need that have one request message each: headers
// of answers are not decoded, what counts is in their messages.
type grpcConn struct {
	c       net.Conn
	r       *bufio.Reader
	out     []byte
	headers [][2]string
	indexed bool // the server has the headers in its table
	next    uint32
	window  int // bytes that may be sent
	taken   int // bytes received since the last word on it
	calls   map[uint32]*grpcCall
	spare   []*grpcCall
	frame   []byte
}

// grpcCall is an open call: its slot, and what came of its next message.
type grpcCall struct {
	slot int
	part []byte
}

func dialGRPC(addr, client string) (*grpcConn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", addr, err)
	}
	g := &grpcConn{c: c, r: bufio.NewReaderSize(c, connBuffer), next: 1, window: firstWindow, calls: map[uint32]*grpcCall{}}
	if err := c.SetDeadline(time.Now().Add(connLimit)); err != nil {
		return nil, errors.Join(fmt.Errorf("setting a deadline: %w", err), c.Close())
	}
	g.headers = [][2]string{
		{":authority", addr},
		{"content-type", "application/grpc"},
		{"te", "trailers"},
		{"grpc-timeout", "30S"},
		{"x-mq-client-id", client},
		{"x-mq-language", "GO"},
		{"x-mq-protocol", "v2"},
		{"x-mq-client-version", "5.1.3"},
	}
	g.out = append(g.out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"...)
	at := g.begin(frameSettings, 0, 0)
	g.out = binary.BigEndian.AppendUint16(g.out, settingWindow)
	g.out = binary.BigEndian.AppendUint32(g.out, ownWindow)
	g.end(at)
	g.allow(ownWindow)
	return g, g.flush()
}

func (g *grpcConn) begin(kind, flags byte, stream uint32) int {
	at := len(g.out)
	g.out = append(g.out, 0, 0, 0, kind, flags)
	g.out = binary.BigEndian.AppendUint32(g.out, stream)
	return at
}

func (g *grpcConn) end(at int) {
	n := len(g.out) - at - frameHead
	g.out[at], g.out[at+1], g.out[at+2] = byte(n>>16), byte(n>>8), byte(n)
}

// allow lets the server send more on the connection.
func (g *grpcConn) allow(n int) {
	at := g.begin(frameWindow, 0, 0)
	g.out = binary.BigEndian.AppendUint32(g.out, uint32(n))
	g.end(at)
}

// room says whether a request of so many bytes may be sent now.
func (g *grpcConn) room(n int) bool { return g.window >= n+grpcHead }

// call puts a call with its request into the out-buffer.
func (g *grpcConn) call(method string, request []byte, slot int, last bool) {
	id := g.next
	g.next += 2
	at := g.begin(frameHeaders, flagEndHeaders, id)
	g.appendHeaders(method)
	g.end(at)
	flags := byte(0)
	if last {
		flags = flagEndStream
	}
	at = g.begin(frameData, flags, id)
	g.out = append(g.out, 0)
	g.out = binary.BigEndian.AppendUint32(g.out, uint32(len(request)))
	g.out = append(g.out, request...)
	g.end(at)
	g.window -= len(request) + grpcHead
	var c *grpcCall
	if n := len(g.spare); n > 0 {
		c, g.spare = g.spare[n-1], g.spare[:n-1]
	} else {
		c = &grpcCall{}
	}
	c.slot, c.part = slot, c.part[:0]
	g.calls[id] = c
}

// appendHeaders: the method literally, the others by their place in the
// server's table once it has them.
func (g *grpcConn) appendHeaders(method string) {
	const post, http, path, literal = 0x83, 0x86, 0x04, 0x40
	text := func(s string) {
		g.out = append(g.out, byte(len(s)))
		g.out = append(g.out, s...)
	}
	g.out = append(g.out, post, http, path)
	text("/apache.rocketmq.v2.MessagingService/" + method)
	for i, h := range g.headers {
		if g.indexed {
			g.out = append(g.out, 0x80|byte(dynamicTableFirst+len(g.headers)-1-i))
			continue
		}
		g.out = append(g.out, literal)
		text(h[0])
		text(h[1])
	}
	g.indexed = true
}

func (g *grpcConn) flush() error {
	if len(g.out) == 0 {
		return nil
	}
	_, err := g.c.Write(g.out)
	g.out = g.out[:0]
	if err != nil {
		return fmt.Errorf("writing calls: %w", err)
	}
	return nil
}

// receive reads a frame and those that are there already. Each message is given
// to got, the end of each call to ended.
func (g *grpcConn) receive(got func(slot int, message []byte) error, ended func(slot int)) error {
	for {
		if err := g.receiveOne(got, ended); err != nil {
			return err
		}
		if g.r.Buffered() < frameHead {
			break
		}
	}
	if g.taken > ownWindow/2 {
		g.allow(g.taken)
		g.taken = 0
	}
	return nil
}

func (g *grpcConn) receiveOne(got func(slot int, message []byte) error, ended func(slot int)) error {
	var head [frameHead]byte
	if _, err := io.ReadFull(g.r, head[:]); err != nil {
		return fmt.Errorf("reading an answer: %w", err)
	}
	n := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
	if cap(g.frame) < n {
		g.frame = make([]byte, 2*n)
	}
	b := g.frame[:n]
	if _, err := io.ReadFull(g.r, b); err != nil {
		return fmt.Errorf("reading an answer: %w", err)
	}
	kind, flags, id := head[3], head[4], binary.BigEndian.Uint32(head[5:])&(1<<31-1)
	switch kind {
	case frameData:
		g.taken += n
		if err := g.data(id, b, got); err != nil {
			return err
		}
	case frameSettings:
		if flags&flagAck == 0 {
			g.end(g.begin(frameSettings, flagAck, 0))
			return g.flush()
		}
	case framePing:
		if flags&flagAck == 0 {
			at := g.begin(framePing, flagAck, 0)
			g.out = append(g.out, b...)
			g.end(at)
			return g.flush()
		}
	case frameGoAway:
		return fmt.Errorf("the server ended the connection: %q", b)
	case frameWindow:
		if id == 0 && n >= 4 {
			g.window += int(binary.BigEndian.Uint32(b))
		}
	}
	if c := g.calls[id]; c != nil && (kind == frameReset || (kind == frameData || kind == frameHeaders) && flags&flagEndStream != 0) {
		delete(g.calls, id)
		g.spare = append(g.spare, c)
		ended(c.slot)
	}
	return nil
}

// data takes a piece of a call's answer.
func (g *grpcConn) data(id uint32, b []byte, got func(slot int, message []byte) error) error {
	c := g.calls[id]
	if c == nil {
		return nil
	}
	if len(c.part) > 0 {
		c.part = append(c.part, b...)
		b = c.part
	}
	for len(b) >= grpcHead {
		n := int(binary.BigEndian.Uint32(b[1:]))
		if len(b) < grpcHead+n {
			break
		}
		if err := got(c.slot, b[grpcHead:grpcHead+n]); err != nil {
			return err
		}
		b = b[grpcHead+n:]
	}
	c.part = append(c.part[:0], b...)
	return nil
}
