package grpc

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"varve/internal/intake"
)

// Bounds of what arrives. A call's message of up to streamWindow comes as it
// likes; a larger one when it is let.
const (
	// freeSmall of a connection counts nothing in the process's sum.
	freeSmall = 128 << 10
	// mostSmall is what calls of one connection may have arriving without being
	// let, and crampedSmall the same where all have more than allSmall.
	mostSmall    = 32 << 20
	crampedSmall = 1 << 20
	allSmall     = 64 << 20
	// mostGranted is what large messages of one connection may have at once; one
	// may be larger.
	mostGranted = 16 << 20
	// Sweeps within which a message has to be whole from its beginning on, and,
	// once it is let come, for each intake.StepBytes and as many more.
	messageSweeps = int64(time.Minute/sweepEvery) + 1
	moreSweeps    = 2
)

// doors is what the connections of a front have arriving.
type doors struct {
	budget *intake.Budget
	small  atomic.Int64 // of all, over freeSmall each
	shed   atomic.Int64 // calls that were ended
	now    atomic.Int64 // sweeps so far

	mu   sync.Mutex
	open map[*door]struct{}
}

func newDoors(b *intake.Budget) *doors { return &doors{budget: b, open: map[*door]struct{}{}} }

// sweep ends the calls whose message takes too long.
func (d *doors) sweep() {
	now := d.now.Add(1)
	d.mu.Lock()
	all := make([]*door, 0, len(d.open))
	for o := range d.open {
		all = append(all, o)
	}
	d.mu.Unlock()
	for _, o := range all {
		o.expire(now)
	}
}

// door is a connection as gRPC reads and writes it. It walks the frames of both
// directions, so that it knows what of which call has arrived, and keeps back
// the window updates by which gRPC has large messages come.
//
// Locks: wmu, then mu; doors.mu is a leaf.
type door struct {
	net.Conn
	all   *doors
	ended func()          // hears of the end
	life  context.Context // ends when it is closed
	end   context.CancelFunc

	in   incoming // the rest up to mu is the reader's
	next []byte   // to be read before the connection is

	mu       sync.Mutex
	known    bool // to all
	closed   bool
	calls    map[uint32]*arriving
	small    int64 // bytes that calls hold without being let
	counted  int64 // of them, in doors.small
	granted  int64
	line     []*arriving   // large messages that wait to be let, in order
	letting  bool          // somebody sees to them
	freed    chan struct{} // tells it that there is more room
	late     []uint32      // calls to be ended when the reader is between frames
	toClient []byte        // whole frames to be written between others

	wmu   sync.Mutex
	wleft int    // bytes to come of the payload that is being written
	carry []byte // the beginning of a frame's head that isn't whole
}

// guard makes a door of a connection; ended hears of its end.
func (d *doors) guard(c net.Conn, ended func()) *door {
	o := &door{Conn: c, all: d, ended: ended, calls: map[uint32]*arriving{}, freed: make(chan struct{}, 1)}
	o.life, o.end = context.WithCancel(context.Background())
	return o
}

// Close ends the connection and gives back what its calls hold.
func (o *door) Close() error {
	o.end()
	o.mu.Lock()
	o.closed = true
	for _, a := range o.calls {
		o.forget(a)
	}
	o.mu.Unlock()
	o.all.mu.Lock()
	delete(o.all.open, o)
	o.all.mu.Unlock()
	o.ended()
	return o.Conn.Close()
}

// Read gives gRPC what the client sends, and resets in its name of calls that
// are ended here.
func (o *door) Read(p []byte) (int, error) {
	for {
		n := copy(p, o.next)
		var err error
		if o.next = o.next[n:]; n == 0 {
			o.next = nil
			if n, err = o.Conn.Read(p); n == 0 {
				if errors.Is(err, os.ErrDeadlineExceeded) && o.life.Err() == nil && o.poked() {
					continue
				}
				return 0, err
			}
		}
		took, late := o.came(p[:n])
		if late {
			o.next = append(o.resets(), append(p[took:n:n], o.next...)...)
		}
		return took, err
	}
}

// poked takes the deadline off by which expire woke the reader. Where it was
// between frames, what is to be ended is.
func (o *door) poked() bool {
	if o.Conn.SetReadDeadline(time.Time{}) != nil {
		return false
	}
	if o.in.whole() {
		o.next = o.resets()
	}
	return true
}

// resets ends the late calls: gRPC reads that the client gave them up, and the
// client that it asks too much.
func (o *door) resets() (toServer []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, stream := range o.late {
		a := o.calls[stream]
		if a == nil {
			continue
		}
		o.forget(a)
		o.all.shed.Add(1)
		toServer = appendFrame(toServer, frameReset, stream, codeCancel)
		o.toClient = appendFrame(o.toClient, frameReset, stream, codeEnhanceCalm)
	}
	o.late = nil
	if len(toServer) > 0 {
		go o.flush()
	}
	return toServer
}

// came walks what the client sent, up to the end of a frame at which calls are
// to be ended.
func (o *door) came(b []byte) (took int, late bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for took < len(b) {
		n, begins, data, ends := o.in.step(b[took:])
		took += n
		f := o.in.frame
		a := o.calls[f.stream]
		switch {
		case begins && (f.typ == frameHeaders || f.typ == frameContinuation):
			a = o.headers(a, f)
		case len(data) > 0 && a != nil:
			o.data(a, data)
		}
		if !ends {
			continue
		}
		if f.ends() && a != nil {
			o.forget(a)
		} else if a != nil && a.held > 0 && o.full() {
			o.late = append(o.late, f.stream)
		}
		if len(o.late) > 0 {
			return took, true
		}
	}
	return took, false
}

// headers begins a call. mu is held.
func (o *door) headers(a *arriving, f frame) *arriving {
	if a == nil {
		if f.typ == frameContinuation || f.flags&flagEndStream != 0 || f.stream == 0 || o.closed {
			return nil
		}
		if !o.known {
			o.known = true
			o.all.mu.Lock()
			o.all.open[o] = struct{}{}
			o.all.mu.Unlock()
		}
		a = &arriving{stream: f.stream, due: o.all.now.Load() + messageSweeps}
		o.calls[f.stream] = a
	}
	if !a.first {
		o.hold(a, int64(f.length))
	}
	return a
}

// data notes what came of a call. mu is held.
func (o *door) data(a *arriving, data []byte) {
	if a.granted == 0 {
		o.hold(a, int64(len(data)))
	}
	whole, behind := a.take(data)
	if whole {
		o.ungrant(a)
		if !a.first { // what comes behind it may be read late, or never
			a.first = true
			o.hold(a, int64(behind)-a.held)
		}
	}
	switch {
	case !a.begun():
		a.due = 0
	case a.due == 0 || whole:
		a.due = o.all.now.Load() + messageSweeps
	}
}

// hold counts n bytes more of a call. mu is held.
func (o *door) hold(a *arriving, n int64) {
	a.held += n
	o.small += n
	if over := max(0, o.small-freeSmall); over != o.counted {
		o.all.small.Add(over - o.counted)
		o.counted = over
	}
}

// full reports whether the connection has too much arriving. mu is held.
func (o *door) full() bool {
	return o.small > mostSmall || o.small > crampedSmall && o.all.small.Load() > allSmall
}

// forget ends the counting of a call. mu is held.
func (o *door) forget(a *arriving) {
	o.hold(a, -a.held)
	o.ungrant(a)
	a.gone = true
	delete(o.calls, a.stream)
}

// expire has the reader end the calls that are late. Where it couldn't since the
// last sweep, within a frame that doesn't end, the connection is over.
func (o *door) expire(now int64) {
	o.mu.Lock()
	stuck := len(o.late) > 0
	for _, a := range o.calls {
		if a.due > 0 && a.due < now {
			o.late = append(o.late, a.stream)
		}
	}
	poke := len(o.late) > 0
	o.mu.Unlock()
	switch {
	case stuck:
		_ = o.Close()
	case poke:
		_ = o.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// Write sends what gRPC writes, but for the window updates that are kept back.
func (o *door) Write(p []byte) (int, error) {
	o.wmu.Lock()
	defer o.wmu.Unlock()
	b := p
	if len(o.carry) > 0 {
		b = append(o.carry, p...)
		o.carry = nil
	}
	at, from := 0, 0
	var out []byte
	for {
		n := min(o.wleft, len(b)-at)
		at += n
		if o.wleft -= n; o.wleft > 0 || len(b)-at < frameHead {
			break
		}
		f := parseFrame(b[at:])
		if f.typ == frameWindow && f.stream != 0 && f.length == windowUpdateLen {
			if len(b)-at < frameHead+windowUpdateLen {
				break
			}
			if !o.window(f.stream, binary.BigEndian.Uint32(b[at+frameHead:])) {
				out = append(out, b[from:at]...)
				from = at + frameHead + windowUpdateLen
			}
			at += frameHead + windowUpdateLen
			continue
		}
		if f.ends() {
			o.done(f.stream)
		}
		at += frameHead
		o.wleft = f.length
	}
	if at < len(b) {
		o.carry = append([]byte(nil), b[at:]...)
	}
	return o.send(p, out, b[from:at])
}

// send writes what is left of p, and the frames that wait where p ends with one.
// wmu is held.
func (o *door) send(p, out, rest []byte) (int, error) {
	if out == nil {
		out = rest
	} else {
		out = append(out, rest...)
	}
	if o.wleft == 0 {
		o.mu.Lock()
		if len(o.toClient) > 0 {
			out = append(out[:len(out):len(out)], o.toClient...)
			o.toClient = nil
		}
		o.mu.Unlock()
	}
	if len(out) > 0 {
		if n, err := o.Conn.Write(out); err != nil {
			return min(n, len(p)), err
		} else if n < len(out) {
			return min(n, len(p)), io.ErrShortWrite
		}
	}
	return len(p), nil
}

// flush writes the frames that wait, unless gRPC is within one.
func (o *door) flush() {
	o.wmu.Lock()
	defer o.wmu.Unlock()
	if o.wleft > 0 {
		return
	}
	_, _ = o.send(nil, nil, nil) // gRPC hears of an error by itself
}

// done notes that gRPC is done with a call.
func (o *door) done(stream uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a := o.calls[stream]; a != nil {
		o.forget(a)
	}
}
