package replay

import (
	"bufio"
	"container/heap"
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"varve/internal/inflate"
	"varve/internal/mq"
)

// minStreamRead is the least that a stream reads of a queue at a time.
const minStreamRead = 64 << 10

// Stream writes what a spec asks for to w as NDJSON, one message a line, in
// the order of store time; within a queue that is the order of offsets. The
// offsets are fixed when it begins. It ends early with ctx and with w.
func (s *Service) Stream(ctx context.Context, spec Spec, w io.Writer) (Progress, error) {
	keep, err := spec.check()
	if err != nil {
		return Progress{}, err
	}
	if spec.Destination != "" {
		return Progress{}, bad("a stream has no destination topic")
	}
	spans, err := s.plan(ctx, &spec)
	if err != nil {
		return Progress{}, err
	}
	st := &stream{s: s, keep: keep, pace: newPacer(&spec)}
	st.w = bufio.NewWriterSize(w, streamBuffer)
	st.readBytes = max(minStreamRead, s.cfg.StreamBytes/max(1, len(spans)))
	defer st.in.Close()
	all := make(cursors, len(spans))
	for i, sp := range spans {
		st.p.Offsets += sp.to - sp.from
		all[i] = &cursor{span: sp, next: sp.from}
		all[i].at.Store(sp.from)
	}
	defer s.cfg.Streaming(ctx, spec, all.places)()
	for _, c := range all {
		if err := st.fill(ctx, c); err != nil {
			return st.p, err
		}
		if c.rec != nil {
			st.heap = append(st.heap, c)
		}
	}
	heap.Init(&st.heap)
	err = st.merge(ctx)
	if flushErr := st.w.Flush(); err == nil && flushErr != nil {
		err = fmt.Errorf("writing the stream: %w", flushErr)
	}
	return st.p, err
}

// streamBuffer is how much of a stream that is not paced is written at once.
const streamBuffer = 64 << 10

// stream is one running Stream.
type stream struct {
	s         *Service
	keep      mq.Filter
	pace      *pacer
	w         *bufio.Writer
	readBytes int
	in        inflate.Inflater
	heap      cursors
	line      []byte
	p         Progress
}

// cursor reads one queue.
type cursor struct {
	span
	next int64        // offset to read at, behind buf
	buf  []byte       // records not looked at yet
	rec  mq.Record    // the first; nil at the end
	at   atomic.Int64 // offset that is not written yet
}

// Place is where a stream is in one queue: Next is the first offset that it has
// not written yet.
type Place struct {
	Queue    mq.Queue
	Next, To int64
}

func (h cursors) places() []Place {
	out := make([]Place, len(h))
	for i, c := range h {
		out[i] = Place{c.queue, c.at.Load(), c.to}
	}
	return out
}

// fill moves to the next record, reading where there is none left.
func (st *stream) fill(ctx context.Context, c *cursor) error {
	for len(c.buf) == 0 {
		if c.at.Store(c.next); c.next >= c.to {
			c.rec = nil
			return nil
		}
		messages, bytes := st.pace.batch(st.s.cfg.BatchMessages, min(st.readBytes, st.s.cfg.BatchBytes))
		b, skipped, err := st.s.read(ctx, c.queue, c.next, c.to, mq.Limit{Messages: messages, Bytes: bytes, Filter: st.keep})
		if err != nil {
			return fmt.Errorf("reading %s at %d: %w", c.queue, c.next, err)
		}
		st.p.Missing += skipped
		st.p.Read += min(b.Next, c.to) - c.next
		c.buf, c.next = b.Body, b.Next
	}
	var err error
	if c.rec, c.buf, err = mq.NextRecord(c.buf); err != nil {
		return fmt.Errorf("reading %s before %d: %w", c.queue, c.next, err)
	}
	if c.rec.QueueOffset() >= c.to {
		c.rec, c.buf, c.next = nil, nil, c.to
		c.at.Store(c.to)
		return nil
	}
	c.at.Store(c.rec.QueueOffset())
	return nil
}

func (st *stream) merge(ctx context.Context) error {
	for len(st.heap) > 0 {
		c := st.heap[0]
		if err := st.pace.wait(ctx, 1, len(c.rec.Body())); err != nil {
			return err
		}
		var err error
		if st.line, err = appendNDJSON(st.line[:0], c.queue.Broker, c.rec, &st.in); err != nil {
			return fmt.Errorf("%s offset %d: %w", c.queue, c.rec.QueueOffset(), err)
		}
		_, err = st.w.Write(st.line)
		if err == nil && st.pace.limited() {
			err = st.w.Flush() // its reader counts on seeing it in time
		}
		if err != nil {
			return fmt.Errorf("writing the stream: %w", err)
		}
		st.p.Written++
		st.p.Bytes += int64(len(c.rec.Body()))
		if err := st.fill(ctx, c); err != nil {
			return err
		}
		if c.rec == nil {
			heap.Pop(&st.heap)
			continue
		}
		heap.Fix(&st.heap, 0)
	}
	return nil
}

// cursors is a heap by store time, then queue.
type cursors []*cursor

func (h cursors) Len() int      { return len(h) }
func (h cursors) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h cursors) Less(i, j int) bool {
	a, b := h[i], h[j]
	if ta, tb := a.rec.StoreTimeMillis(), b.rec.StoreTimeMillis(); ta != tb {
		return ta < tb
	}
	if a.queue.Broker != b.queue.Broker {
		return a.queue.Broker < b.queue.Broker
	}
	return a.queue.ID < b.queue.ID
}
func (h *cursors) Push(x any) { *h = append(*h, x.(*cursor)) }
func (h *cursors) Pop() any {
	old := *h
	c := old[len(old)-1]
	*h = old[:len(old)-1]
	return c
}
