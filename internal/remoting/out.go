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
	// inlineFlush is how many bytes the reader writes by itself; more may have
	// to wait for the peer, which may wait for the reader.
	inlineFlush = 32 << 10
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
	o.bytes += len(*o.tail) - before + len(body)
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
	o.bytes -= n
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
	o.sealed, o.tail, o.bytes = nil, nil, 0
	o.drained.Broadcast()
	o.mu.Unlock()
}

// flushWork is a flusher's own memory.
type flushWork struct {
	pieces [maxVectors]piece
	vec    [maxVectors][]byte
	bufs   net.Buffers
}

var flushWorks = sync.Pool{New: func() any { return new(flushWork) }}

// uncork writes what gathered since cork, in the caller's goroutine where it is
// little.
func (c *Conn) uncork() {
	switch start, waiting := c.out.uncork(); {
	case !start:
	case waiting > inlineFlush:
		go c.flush()
	case c.flushOnce():
		go c.flush() // others go on adding
	}
}

// flush writes until nothing waits. One flusher runs at a time.
func (c *Conn) flush() {
	for c.flushOnce() {
	}
}

// flushOnce writes some of what waits and reports whether anything is left; if
// not, the caller is the flusher no longer.
func (c *Conn) flushOnce() (more bool) {
	w := flushWorks.Get().(*flushWork)
	defer flushWorks.Put(w)
	batch := c.out.take(w.pieces[:0])
	if len(batch) == 0 {
		return false
	}
	n := 0
	w.bufs = w.vec[:0]
	for _, p := range batch {
		w.bufs = append(w.bufs, p.b)
		n += len(p.b)
	}
	_ = c.nc.SetWriteDeadline(time.Now().Add(c.cfg.WriteTimeout))
	var err error
	if len(w.bufs) == 1 {
		_, err = c.nc.Write(w.bufs[0])
	} else {
		_, err = w.bufs.WriteTo(c.nc)
	}
	clear(w.vec[:])
	recycle(batch)
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
