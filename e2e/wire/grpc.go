package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"varve/e2e/corpus"
)

// Statuses of calls.
const (
	codeOKv2    = 20000
	codeNoneYet = 40401 // no message came in time
)

// ClientGRPC is what a gRPC load calls as, and for what.
type ClientGRPC struct {
	Addr, Topic, Group, Broker string
	Connections                int
	Window                     int // unanswered calls a connection
}

// SendGRPC sends messages of the corpus, one a call, until the limit.
func (c ClientGRPC) SendGRPC(ctx context.Context, limit time.Duration, corp *corpus.Corpus, serial *atomic.Int64) (*Sent, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return c.run(ctx, "send", func(w *callerGRPC) {
		w.request = func() (string, []byte, bool) {
			if ctx.Err() != nil {
				return "", nil, false
			}
			w.buf = c.appendSend(w.buf[:0], corp, serial.Add(1), &w.body)
			return "SendMessage", w.buf, false
		}
		w.got = w.status
	})
}

// Begin has the group ask once, for it begins where the queues end then.
func (c ClientGRPC) Begin(ctx context.Context) error {
	_, err := c.run(ctx, "begin", func(w *callerGRPC) {
		w.settings = c.settings()
		asked := false
		w.request = func() (string, []byte, bool) {
			if asked {
				return "", nil, false
			}
			asked = true
			return "ReceiveMessage", c.receiveRequest(1), false
		}
		w.got = func([]byte) error { return nil }
	})
	return err
}

// ReceiveAndAck receives messages, batch a call, and acks each by a call of its
// own, until so many are acked.
func (c ClientGRPC) ReceiveAndAck(ctx context.Context, n int64, batch int) (*Sent, error) {
	var left, away atomic.Int64
	var why atomic.Value // string: how the last of the receives was answered that were turned away
	why.Store("")
	left.Store(n)
	request := c.receiveRequest(batch)
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	sent, err := c.run(ctx, "receive", func(w *callerGRPC) {
		var due [][]byte // acks to be sent
		w.settings, w.ends = c.settings(), true
		w.ackWindow = ackWindow
		w.request = func() (string, []byte, bool) {
			// The oldest first: a message's invisible time runs from when it was received.
			if len(due) > 0 && w.acking < w.ackWindow {
				b := due[0]
				due = due[1:]
				return "AckMessage", b, true
			}
			if len(due) > ackWindow || len(w.free) == 0 { // no call that waits for a slot holds up the acks
				return "", nil, false
			}
			return "ReceiveMessage", request, false
		}
		w.got = func(m []byte) error {
			if msg := field(m, 2); msg != nil {
				sys := field(msg, 3)
				due = append(due, c.appendAck(nil, field(sys, 3), field(sys, 12)))
			} else if s := field(m, 1); s != nil && varint(s, 1) != codeOKv2 && varint(s, 1) != codeNoneYet {
				away.Add(1)
				why.Store(fmt.Sprintf("%d %s", varint(s, 1), field(s, 2)))
			}
			return nil
		}
		w.acked = func(m []byte) error {
			before := w.sent
			err := w.status(m)
			if w.sent > before && left.Add(-1) == 0 {
				enough()
			}
			return err
		}
	})
	if err == nil && left.Load() > 0 && sent.Refused == 0 {
		err = fmt.Errorf("%d of %d messages were received and acked, %d receives were turned away %q: %w",
			n-left.Load(), n, away.Load(), why.Load(), context.Cause(ctx))
	}
	return sent, err
}

// callerGRPC keeps one connection's window of calls full.
type callerGRPC struct {
	conn     *grpcConn
	window   int
	settings []byte                                           // to tell first on a telemetry stream; nil for none
	ends     bool                                             // the context's end ends the load without its answers
	request  func() (method string, request []byte, ack bool) // no method: nothing now
	got      func(message []byte) error
	acked    func(message []byte) error

	free              []int
	begun             []time.Time
	acking, ackWindow int // open acks, and how many may be
	next              struct {
		method  string
		request []byte
		ack     bool
	}
	buf, body     []byte
	sent, refused int64
	refusal       string
	latency       Histogram
}

// Slots of calls that are not of the window.
const (
	telemetrySlot = -1
	ackSlot       = -2
)

// ackWindow is how many acks of a connection are unanswered at a time.
const ackWindow = 64

func (c ClientGRPC) run(ctx context.Context, what string, set func(*callerGRPC)) (*Sent, error) {
	callers := make([]*callerGRPC, c.Connections)
	for i := range callers {
		conn, err := dialGRPC(c.Addr, fmt.Sprintf("bench-%s-%d@%d", what, i, time.Now().UnixNano()))
		if err != nil {
			return nil, err
		}
		defer conn.c.Close()
		w := &callerGRPC{conn: conn, window: c.Window, begun: make([]time.Time, c.Window)}
		for slot := range c.Window {
			w.free = append(w.free, slot)
		}
		set(w)
		if err := w.tell(); err != nil {
			return nil, err
		}
		callers[i] = w
	}
	start := time.Now()
	errs := make([]error, len(callers))
	var wg sync.WaitGroup
	for i, w := range callers {
		wg.Go(func() { errs[i] = w.run(ctx) })
	}
	wg.Wait()
	sum := &Sent{Elapsed: time.Since(start)}
	for _, w := range callers {
		sum.Messages += w.sent
		sum.Refused += w.refused
		sum.Latency.Merge(&w.latency)
		if w.refusal != "" {
			sum.Refusal = w.refusal
		}
	}
	return sum, errors.Join(errs...)
}

// tell opens a telemetry stream with the settings and awaits the server's.
func (w *callerGRPC) tell() error {
	if w.settings == nil {
		return nil
	}
	w.conn.call("Telemetry", w.settings, telemetrySlot, false)
	if err := w.conn.flush(); err != nil {
		return err
	}
	told := false
	for !told {
		err := w.conn.receive(func(int, []byte) error { told = true; return nil }, func(int) {})
		if err != nil {
			return fmt.Errorf("telling the settings: %w", err)
		}
		if len(w.conn.calls) == 0 {
			return errors.New("telling the settings: the server ended the stream")
		}
	}
	return nil
}

func (w *callerGRPC) run(ctx context.Context) error {
	if w.ends {
		stop := context.AfterFunc(ctx, func() { _ = w.conn.c.SetReadDeadline(time.Now()) })
		defer stop()
	}
	for {
		w.fill()
		if err := w.conn.flush(); err != nil {
			return err
		}
		if len(w.free) == w.window && w.acking == 0 && w.next.method == "" {
			return nil
		}
		if err := w.conn.receive(w.take, w.end); err != nil {
			if w.ends && ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

func (w *callerGRPC) take(slot int, m []byte) error {
	switch slot {
	case telemetrySlot:
		return nil
	case ackSlot:
		return w.acked(m)
	}
	return w.got(m)
}

func (w *callerGRPC) end(slot int) {
	switch slot {
	case telemetrySlot:
	case ackSlot:
		w.acking--
	default:
		w.latency.Add(time.Since(w.begun[slot]))
		w.free = append(w.free, slot)
	}
}

// fill uses every free slot, as far as the server's window goes.
func (w *callerGRPC) fill() {
	for len(w.free) > 0 || w.acking < w.ackWindow {
		p := &w.next
		if p.method == "" {
			p.method, p.request, p.ack = w.request()
		}
		if p.method == "" || !w.conn.room(len(p.request)) || !p.ack && len(w.free) == 0 {
			return
		}
		slot := ackSlot
		if p.ack {
			w.acking++
		} else {
			slot = w.free[len(w.free)-1]
			w.free = w.free[:len(w.free)-1]
			w.begun[slot] = time.Now()
		}
		w.conn.call(p.method, p.request, slot, true)
		p.method = ""
	}
}

// status counts an answer as done or refused.
func (w *callerGRPC) status(m []byte) error {
	s := field(m, 1)
	if varint(s, 1) == codeOKv2 {
		w.sent++
		return nil
	}
	w.refused++
	w.refusal = string(field(s, 2))
	return nil
}

// Messages of the protocol.

func appendBytes(b []byte, n int, v []byte) []byte {
	b = binary.AppendUvarint(b, uint64(n)<<3|2)
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

func appendText(b []byte, n int, v string) []byte { return appendBytes(b, n, []byte(v)) }

func appendInt(b []byte, n int, v int64) []byte {
	b = binary.AppendUvarint(b, uint64(n)<<3)
	return binary.AppendUvarint(b, uint64(v))
}

func resource(name string) []byte { return appendText(nil, 2, name) }

func (c ClientGRPC) appendSend(b []byte, corp *corpus.Corpus, n int64, scratch *[]byte) []byte {
	now := time.Now()
	at := (*scratch)[:0]
	at = appendBytes(at, 1, resource(c.Topic))
	sys := appendText(nil, 1, corpus.Tags[n%int64(len(corpus.Tags))])
	sys = appendBytes(sys, 2, appendSerial([]byte("O-2026-"), n))
	sys = appendBytes(sys, 3, appendSerial([]byte("01AABBCCDDEEFF00000000"), n))
	sys = appendInt(sys, 5, 1) // identity
	sys = appendInt(sys, 6, 1) // normal
	sys = appendBytes(sys, 7, appendInt(appendInt(nil, 1, now.Unix()), 2, int64(now.Nanosecond())))
	sys = appendText(sys, 8, "127.0.0.1")
	at = appendBytes(at, 3, sys)
	at = appendBytes(at, 4, corp.Append(nil, n))
	*scratch = at
	return appendBytes(b, 1, at)
}

func (c ClientGRPC) receiveRequest(batch int) []byte {
	seconds := func(n int64) []byte { return appendInt(nil, 1, n) }
	queue := appendBytes(nil, 1, resource(c.Topic))
	queue = appendInt(queue, 2, math.MaxUint32) // -1 is any
	queue = appendInt(queue, 3, 3)
	queue = appendBytes(queue, 4, appendText(nil, 1, c.Broker))
	b := appendBytes(nil, 1, resource(c.Group))
	b = appendBytes(b, 2, queue)
	b = appendBytes(b, 3, appendText(appendInt(nil, 1, 1), 2, "*"))
	b = appendInt(b, 4, int64(batch))
	b = appendBytes(b, 5, seconds(600))
	return appendBytes(b, 7, seconds(5))
}

func (c ClientGRPC) appendAck(b, id, handle []byte) []byte {
	b = appendBytes(b, 1, resource(c.Group))
	b = appendBytes(b, 2, resource(c.Topic))
	return appendBytes(b, 3, appendBytes(appendBytes(nil, 1, id), 2, handle))
}

// settings are those of a simple consumer.
func (c ClientGRPC) settings() []byte {
	entry := appendBytes(nil, 1, resource(c.Topic))
	entry = appendBytes(entry, 2, appendText(appendInt(nil, 1, 1), 2, "*"))
	sub := appendBytes(nil, 1, resource(c.Group))
	sub = appendBytes(sub, 2, entry)
	sub = appendBytes(sub, 5, appendInt(nil, 1, 5))
	point := appendBytes(appendInt(nil, 1, 1), 2, appendInt(appendText(nil, 1, "127.0.0.1"), 2, 8081))
	s := appendInt(nil, 1, 3)
	s = appendBytes(s, 2, point)
	s = appendBytes(s, 4, appendInt(nil, 1, 3))
	s = appendBytes(s, 6, sub)
	s = appendBytes(s, 7, appendText(appendInt(nil, 1, 4), 2, "5.1.3"))
	return appendBytes(nil, 2, s)
}

// field finds a field of bytes, nil where there is none.
func field(b []byte, n int) []byte {
	v, _ := find(b, n)
	return v
}

// varint finds a field that is a number, 0 where there is none.
func varint(b []byte, n int) int64 {
	_, v := find(b, n)
	return v
}

func find(b []byte, n int) ([]byte, int64) {
	for len(b) > 0 {
		key, k := binary.Uvarint(b)
		if k <= 0 {
			return nil, 0
		}
		b = b[k:]
		switch key & 7 {
		case 0:
			v, k := binary.Uvarint(b)
			if k <= 0 {
				return nil, 0
			}
			if int(key>>3) == n {
				return nil, int64(v)
			}
			b = b[k:]
		case 2:
			size, k := binary.Uvarint(b)
			if k <= 0 || uint64(len(b)-k) < size {
				return nil, 0
			}
			if v := b[k : k+int(size)]; int(key>>3) == n {
				return v, 0
			}
			b = b[k+int(size):]
		case 5:
			b = b[min(4, len(b)):]
		case 1:
			b = b[min(8, len(b)):]
		default:
			return nil, 0
		}
	}
	return nil, 0
}
