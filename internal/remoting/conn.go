package remoting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// Conn is one connection, of a server or of a Client. Its methods may be
// called from any goroutine.
type Conn struct {
	nc      net.Conn // raw, or TLS over it
	raw     net.Conn
	first   []byte // what was read to find out whether it is TLS
	cfg     *Config
	handler Handler
	known   bool // Config.Admit needn't see more; for the reader
	remote  netip.AddrPort

	prompt  *prompt // of the flusher; nil over TLS
	out     outbox
	flusher func() // flush, made once
	calls   calls
	workers chan struct{}  // one slot per handler that Go runs
	running sync.WaitGroup // handlers that Go runs
	peer    atomic.Uint32  // serializer of the peer's last request

	ctx    context.Context
	cancel context.CancelCauseFunc
}

// calls are the requests of ours that await a reply.
type calls struct {
	mu      sync.Mutex
	last    int32
	waiting map[int32]chan *Command
}

func newConn(ctx context.Context, nc net.Conn, h Handler, cfg *Config) *Conn {
	c := &Conn{nc: nc, raw: nc, cfg: cfg, handler: h, workers: make(chan struct{}, cfg.MaxWorkers)}
	c.out.drained.L, c.out.all = &c.out.mu, cfg.writing
	c.flusher = c.flush
	c.prompt = promptly(nc)
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		p := a.AddrPort()
		c.remote = netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return c
}

// Remote is the peer's address.
func (c *Conn) Remote() netip.AddrPort { return c.remote }

// Context ends with the connection.
func (c *Conn) Context() context.Context { return c.ctx }

// Reply answers a request; a one-way request gets nothing. It never blocks.
// Opaque, flag, serializer, language and version of resp are filled in. The
// connection owns a body of more than 4 KiB from here on and copies a shorter
// one. A reply to a connection that has ended is dropped.
func (c *Conn) Reply(to From, resp *Command) {
	if c.reply(to, resp) {
		c.cfg.workers.run(c.flusher)
	}
}

// ReplyHere is Reply for a handler that Do or Go runs, and has nothing else to
// do: where nobody writes, it writes what waits by itself, which spares waking
// another goroutine. It waits for a peer that doesn't read.
func (c *Conn) ReplyHere(to From, resp *Command) {
	if c.reply(to, resp) {
		c.flush()
	}
}

// reply tells the caller to flush, or to see to it.
func (c *Conn) reply(to From, resp *Command) (start bool) {
	if to.OneWay {
		if resp.Free != nil {
			resp.Free()
		}
		return false
	}
	resp.Opaque, resp.Serializer = to.Opaque, to.Serializer
	resp.Flag = flagReply
	resp.Language, resp.Version = Go, Version
	start, _ = c.add(resp)
	return start
}

// ReplyError answers a request with a code and the reason.
func (c *Conn) ReplyError(to From, code int, remark string) {
	c.Reply(to, &Command{Code: code, Remark: remark})
}

// Push sends a one-way request to the peer. It never blocks.
func (c *Conn) Push(req *Command) error {
	cmd := *req
	cmd.Flag = flagOneWay
	cmd.Opaque = c.calls.next()
	c.stamp(&cmd)
	return c.wrap(&cmd, c.send(&cmd))
}

// Call sends a request to the peer and waits for its reply. A reply with an
// error code is a reply: see Command.Err.
func (c *Conn) Call(ctx context.Context, req *Command) (*Command, error) {
	cmd := *req
	cmd.Flag = 0
	c.stamp(&cmd)
	reply, err := c.calls.open(&cmd, c.cfg.MaxCalls)
	if err != nil {
		return nil, c.wrap(&cmd, err)
	}
	defer c.calls.drop(cmd.Opaque)
	if err := c.send(&cmd); err != nil {
		return nil, c.wrap(&cmd, err)
	}
	select {
	case r := <-reply:
		return r, nil
	case <-ctx.Done():
		return nil, c.wrap(&cmd, ctx.Err())
	case <-c.ctx.Done():
		return nil, c.wrap(&cmd, context.Cause(c.ctx))
	}
}

func (c *Conn) stamp(cmd *Command) {
	cmd.Serializer = Serializer(c.peer.Load())
	cmd.Language, cmd.Version = Go, Version
}

func (c *Conn) wrap(cmd *Command, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("request %d to %s: %w", cmd.Code, c.remote, err)
}

// Go runs a handler that may take long on another goroutine, with a copy
// of the request. Where Config.MaxWorkers run already it waits for one to end,
// and with it the reading of further requests.
func (c *Conn) Go(req *Command, h Handler) {
	own := req.Clone()
	c.Do(own.From(), func() { h(c, own) })
}

// Do is Go for a handler that has taken what it needs out of the request.
func (c *Conn) Do(from From, f func()) {
	select {
	case c.workers <- struct{}{}:
	case <-c.ctx.Done():
		return
	}
	c.running.Add(1)
	c.cfg.workers.run(func() {
		defer c.running.Done()
		defer func() { <-c.workers }()
		defer c.recovered(from)
		f()
	})
}

func (c *Conn) handle(h Handler, req *Command) {
	defer c.recovered(req.From())
	if !c.known && c.cfg.Admit != nil && !c.admit(req) {
		return
	}
	h(c, req)
}

// admit answers a request that may not be handled.
func (c *Conn) admit(req *Command) bool {
	again, err := c.cfg.Admit(c, req)
	c.known = !again
	if err == nil {
		return true
	}
	if reply := (*ReplyError)(nil); errors.As(err, &reply) {
		c.ReplyError(req.From(), reply.Code, reply.Remark)
		return false
	}
	c.ReplyError(req.From(), NoPermission, err.Error())
	return false
}

// recovered is deferred around handlers. It turns a panic into an error reply:
// one request must not end the process for all others.
func (c *Conn) recovered(from From) {
	p := recover()
	if p == nil {
		return
	}
	c.cfg.Logger.Error("request handler panicked", slog.Int("code", from.Code),
		slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
	c.ReplyError(from, SystemError, fmt.Sprintf("internal error while handling request %d", from.Code))
}

// Close ends the connection; replies that wait to be written are dropped.
func (c *Conn) Close() error {
	c.fail(ErrClosed)
	return nil
}

// fail ends the connection for a reason. Only the first reason counts.
func (c *Conn) fail(err error) {
	if c.ctx.Err() == nil {
		c.cancel(fmt.Errorf("%w: %w", ErrClosed, err))
	}
	c.out.close()
	_ = c.raw.Close()
}

func (c *Conn) send(cmd *Command) error {
	start, err := c.add(cmd)
	if start {
		c.cfg.workers.run(c.flusher)
	}
	return err
}

// add puts a command into the outbox; start tells the caller to flush.
func (c *Conn) add(cmd *Command) (start bool, err error) {
	start, waiting, err := c.out.add(cmd, cmd.Body)
	if cmd.Free != nil && (err != nil || len(cmd.Body) <= inlineBody) {
		cmd.Free()
	}
	if err != nil {
		return false, err
	}
	if waiting > c.cfg.OutMax {
		c.cfg.Logger.Warn("connection closed: peer doesn't read its replies",
			slog.String("peer", c.remote.String()), slog.Int("waiting_bytes", waiting))
		c.fail(ErrSlowReader)
		return false, ErrSlowReader
	}
	return start, nil
}

// next gives a fresh opaque number. They are never negative, so that -1 names
// no request.
func (t *calls) next() int32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bump()
}

func (t *calls) bump() int32 {
	t.last = (t.last + 1) & 0x7FFFFFFF
	return t.last
}

func (t *calls) open(cmd *Command, limit int) (<-chan *Command, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) >= limit {
		return nil, ErrTooManyCalls
	}
	if t.waiting == nil {
		t.waiting = make(map[int32]chan *Command)
	}
	cmd.Opaque = t.bump()
	for t.waiting[cmd.Opaque] != nil {
		cmd.Opaque = t.bump()
	}
	ch := make(chan *Command, 1)
	t.waiting[cmd.Opaque] = ch
	return ch, nil
}

func (t *calls) drop(opaque int32) {
	t.mu.Lock()
	delete(t.waiting, opaque)
	t.mu.Unlock()
}

// deliver hands a reply to its call; a reply that nobody awaits is dropped.
func (t *calls) deliver(reply *Command) {
	t.mu.Lock()
	ch := t.waiting[reply.Opaque]
	delete(t.waiting, reply.Opaque)
	t.mu.Unlock()
	if ch != nil {
		ch <- reply.Clone()
	}
}
