package remoting

import (
	"net"
	"sync"
	"time"
)

const (
	// chunkSize is the capacity of the pooled chunks that small frames gather in.
	chunkSize = 16 << 10
	// inlineBody is the longest body that is copied behind its header; a
	// longer one is written from where it lies.
	inlineBody = 4 << 10
	// maxWrite bounds one write, so that a deadline measures progress.
	maxWrite = 4 << 20
	// inlineFlush is how many bytes the reader writes by itself over TLS; more
	// may have to wait for the peer, which may wait for the reader.
	inlineFlush = 32 << 10
	// earlyFlush is how many bytes the reader doesn't let gather over more
	// requests of one read. Two answers to a usual pull pass it, one doesn't: a
	// write to both costs half of two, and the peer still has those to go on
	// with while the next are read.
	earlyFlush = 64 << 10
	// promptRounds is how often the reader writes what others add meanwhile.
	promptRounds = 4
	// maxVectors bounds the pieces of one write.
	maxVectors = 64
)

var chunks = sync.Pool{New: func() any { b := make([]byte, 0, chunkSize); return &b }}

// piece is a run of bytes to write.
type piece struct {
	b      []byte
	pooled *[]byte // b's home in the pool, nil for a body
	free   func()  // takes a body back, nil if nobody wants it
}

// outbox gathers what waits to be written. Appending never blocks.
type outbox struct {
	all      *backlog
	mu       sync.Mutex
	drained  sync.Cond // bytes went down, or closed
	sealed   []piece
	tail     *[]byte // chunk being filled, nil if none
	bytes    int     // encoded and not yet written
	flushing bool
	corked   bool // the reader flushes when it is through with what it read
	closed   bool
}

// add encodes a frame; start tells the caller to start the flusher. The body
// belongs to the outbox from here on if it is longer than inlineBody.
func (o *outbox) add(cmd *Command, body []byte) (start bool, waiting int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false, 0, ErrClosed
	}
	if o.tail == nil {
		o.tail = chunks.Get().(*[]byte)
	}
	before := len(*o.tail)
	*o.tail = appendHead(*o.tail, cmd, len(body))
	if len(body) <= inlineBody {
		*o.tail = append(*o.tail, body...)
		body = nil
	}
	added := len(*o.tail) - before + len(body)
	o.bytes += added
	o.all.add(added)
	if body != nil || len(*o.tail) > chunkSize*3/4 {
		o.seal()
	}
	if body != nil {
		o.sealed = append(o.sealed, piece{b: body, free: cmd.Free})
	}
	start = !o.flushing && !o.corked
	o.flushing = o.flushing || start
	return start, o.bytes, nil
}

// cork keeps what is added from being written before uncork.
func (o *outbox) cork() {
	o.mu.Lock()
	o.corked = true
	o.mu.Unlock()
}

// uncork tells the caller to flush, where something waits that nobody writes.
func (o *outbox) uncork() (start bool, waiting int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.corked = false
	start = !o.flushing && o.bytes > 0 && !o.closed
	o.flushing = o.flushing || start
	return start, o.bytes
}

// waiting is how many bytes are encoded and not yet written.
func (o *outbox) waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes
}

func (o *outbox) seal() {
	o.sealed = append(o.sealed, piece{b: *o.tail, pooled: o.tail})
	o.tail = nil
}

// take moves pieces of at most maxWrite bytes (but at least one piece) to
// batch. Where nothing waits the flusher has to end.
func (o *outbox) take(batch []piece) []piece {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.tail != nil && len(o.sealed) < maxVectors {
		o.seal()
	}
	n, k := 0, 0
	for k < len(o.sealed) && k < maxVectors && (k == 0 || n+len(o.sealed[k].b) <= maxWrite) {
		n += len(o.sealed[k].b)
		k++
	}
	batch = append(batch, o.sealed[:k]...)
	rest := copy(o.sealed, o.sealed[k:])
	clear(o.sealed[rest:])
	o.sealed = o.sealed[:rest]
	if rest == 0 && cap(o.sealed) > 2*maxVectors {
		o.sealed = nil
	}
	if k == 0 {
		o.flushing = false
		o.drained.Broadcast()
	}
	return batch
}

// wrote accounts for written bytes. Where nothing else waits, the flusher has
// to end.
func (o *outbox) wrote(n int) (more bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	o.bytes -= n
	o.all.add(-n)
	o.drained.Broadcast()
	o.flushing = o.bytes > 0
	return o.flushing
}

// waitBelow blocks until fewer than limit bytes wait, or the box is closed.
func (o *outbox) waitBelow(limit int) {
	o.mu.Lock()
	for o.bytes >= limit && !o.closed {
		o.drained.Wait()
	}
	o.mu.Unlock()
}

// close drops what waits.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.all.add(-o.bytes)
	o.sealed, o.tail, o.bytes = nil, nil, 0
	o.drained.Broadcast()
	o.mu.Unlock()
}

// flushWork is a flusher's own memory.
type flushWork struct {
	pieces [maxVectors]piece
	vec    [maxVectors][]byte
	batch  []piece     // being written
	bufs   net.Buffers // of it, what is not written yet
	n      int         // bytes of batch
}

var flushWorks = sync.Pool{New: func() any { return new(flushWork) }}

// uncork writes what gathered since cork: in the caller's goroutine what the
// socket takes at once, or where that can't be known, what is little.
func (c *Conn) uncork() {
	switch start, waiting := c.out.uncork(); {
	case !start:
	case c.prompt != nil:
		c.flushPromptly()
	case waiting > inlineFlush:
		c.cfg.workers.run(c.flusher)
	case c.flushOnce():
		c.cfg.workers.run(c.flusher) // others go on adding
	}
}

// relieve is uncork and cork where much has gathered: the peer can go on with
// it, and it doesn't pile up.
func (c *Conn) relieve() {
	if c.out.waiting() < earlyFlush {
		return
	}
	c.uncork()
	c.out.waitBelow(c.cfg.writing.high(c.cfg.OutHigh))
	c.out.cork()
}

// flush writes until nothing waits. One flusher runs at a time.
func (c *Conn) flush() {
	for c.flushOnce() {
	}
}

// flushOnce writes some of what waits and reports whether anything is left; if
// not, the caller is the flusher no longer.
func (c *Conn) flushOnce() (more bool) {
	w := c.load()
	if w == nil {
		return false
	}
	if done, err := c.tryWrite(w); err != nil || done {
		return c.unload(w, err)
	}
	return c.unload(w, c.write(w))
}

// flushPromptly is flush for who must not wait for the peer: what the socket
// doesn't take at once another goroutine writes.
func (c *Conn) flushPromptly() {
	for range promptRounds {
		w := c.load()
		if w == nil {
			return
		}
		done, err := c.tryWrite(w)
		if err == nil && !done {
			c.cfg.workers.run(func() {
				if c.unload(w, c.write(w)) {
					c.flush()
				}
			})
			return
		}
		if !c.unload(w, err) {
			return
		}
	}
	c.cfg.workers.run(c.flusher) // others go on adding
}

// load takes what is to be written next, nil where nothing waits.
func (c *Conn) load() *flushWork {
	w := flushWorks.Get().(*flushWork)
	w.batch = c.out.take(w.pieces[:0])
	if len(w.batch) == 0 {
		flushWorks.Put(w)
		return nil
	}
	w.n, w.bufs = 0, w.vec[:0]
	for _, p := range w.batch {
		w.bufs = append(w.bufs, p.b)
		w.n += len(p.b)
	}
	return w
}

// tryWrite writes what the socket takes at once; done says that it was all.
func (c *Conn) tryWrite(w *flushWork) (done bool, err error) {
	if c.prompt == nil {
		return false, nil
	}
	n, err := c.prompt.write(w.bufs)
	for n > 0 && len(w.bufs) > 0 {
		k := min(n, len(w.bufs[0]))
		w.bufs[0] = w.bufs[0][k:]
		if n -= k; len(w.bufs[0]) == 0 {
			w.bufs = w.bufs[1:]
		}
	}
	return len(w.bufs) == 0, err
}

// write waits until the peer has taken the rest.
func (c *Conn) write(w *flushWork) error {
	_ = c.nc.SetWriteDeadline(time.Now().Add(c.cfg.WriteTimeout))
	var err error
	if len(w.bufs) == 1 {
		_, err = c.nc.Write(w.bufs[0])
	} else {
		_, err = w.bufs.WriteTo(c.nc)
	}
	if c.prompt != nil { // whose writes wait for nothing, and must not find it over
		_ = c.nc.SetWriteDeadline(time.Time{})
	}
	return err
}

// unload ends with what load took; more says that something else waits.
func (c *Conn) unload(w *flushWork, err error) (more bool) {
	n := w.n
	clear(w.vec[:])
	recycle(w.batch)
	w.batch, w.bufs = nil, nil
	flushWorks.Put(w)
	if err != nil {
		c.fail(err)
		return false
	}
	return c.out.wrote(n)
}

func recycle(batch []piece) {
	for i := range batch {
		if p := batch[i].pooled; p != nil && cap(*p) <= 2*chunkSize {
			*p = (*p)[:0]
			chunks.Put(p)
		}
		if free := batch[i].free; free != nil {
			free()
		}
		batch[i] = piece{}
	}
}
