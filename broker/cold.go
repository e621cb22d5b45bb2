package broker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"varve/hot"
	"varve/internal/mq"
)

// Limits of cold reads.
const (
	// maxColdWaiting bounds the pulls that wait for one of MaxColdReads.
	maxColdWaiting = 1024
	// routeMemory is how long a client is given to follow its routing before
	// it is read for here; a client whose route has no history node yet would
	// otherwise come back at once, for ever.
	routeMemory = 10 * time.Second
	maxRouted   = 16384
	// firstOffsetAge is how old a queue's remembered first archived offset may
	// be before it is asked for again, in the background.
	firstOffsetAge = 5 * time.Second
)

// pullCold answers a pull below the hot start, from another goroutine: there
// is a bound on how many read at once and one on how many wait.
func (b *Broker) pullCold(p *pull, r PullResult) {
	select {
	case b.coldWaiting <- struct{}{}:
	default:
		p.done(PullResult{}, fmt.Errorf("%w: %d cold reads wait", ErrBusy, maxColdWaiting))
		return
	}
	started := b.spawn(func(ctx context.Context) {
		defer func() { <-b.coldWaiting }()
		both, cancel := context.WithCancel(p.ctx)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		select {
		case b.coldReads <- struct{}{}:
			defer func() { <-b.coldReads }()
		case <-both.Done():
			p.done(PullResult{}, fmt.Errorf("pull from %v: %w", p.queue, both.Err()))
			return
		}
		r, err := b.readCold(both, p, r)
		b.answer(p, r, err)
	})
	if !started {
		<-b.coldWaiting
		p.done(PullResult{}, ErrClosed)
	}
}

// readCold is one pull below the hot start: sent to the history node where the
// client can go there, read here where it can't.
func (b *Broker) readCold(ctx context.Context, p *pull, r PullResult) (PullResult, error) {
	whole, err := b.reader.Range(ctx, p.queue)
	if err != nil && !errors.Is(err, mq.ErrNoQueue) {
		return PullResult{}, fmt.Errorf("range of %v: %w", p.queue, err)
	}
	b.first.set(p.queue, whole.From, b.now())
	r.Min, r.Max = whole.From, max(r.Max, whole.To)
	switch {
	case p.req.Offset < whole.From: // retention took it
		r.Status, r.Next = PullMoved, whole.From
		return r, nil
	case p.req.Offset > whole.To:
		r.Status, r.Next = PullMoved, whole.To
		return r, nil
	case p.req.Offset == whole.To:
		r.Status, r.Next = PullNoNew, whole.To
		return r, nil
	}
	if b.cfg.HistoryBrokerID != 0 && p.req.Routable && !p.here && !toolGroup(p.req.Group) {
		r.Suggest = b.cfg.HistoryBrokerID
		if b.routed.first(p, b.now()) {
			b.stats.coldRouted.Add(1)
			r.Status, r.Next = PullElsewhere, p.req.Offset
			return r, nil
		}
	}
	b.stats.coldReads.Add(1)
	batch, err := b.reader.Read(ctx, p.queue, p.req.Offset, b.limit(p))
	if err != nil {
		if errors.Is(err, mq.ErrTooLow) { // retention took it since
			r.Status, r.Next = PullNoMatch, p.req.Offset
			return r, nil
		}
		return PullResult{}, fmt.Errorf("cold pull from %v at %d: %w", p.queue, p.req.Offset, err)
	}
	r.fill(batch)
	return r, nil
}

// standsIn reports whether the archive is to answer a pull that the log failed:
// the log is damaged there, and the offset was archived.
func (b *Broker) standsIn(p *pull, err error) bool {
	p.here = err != nil && hot.Damaged(err) && p.req.Offset < b.log.Archived(p.queue)
	return p.here
}

// coldRoutes remembers who was sent to the history node a short while ago.
type coldRoutes struct {
	mu sync.Mutex
	m  map[routedKey]time.Time
}

// routedKey names a client by its address: the table must keep no connection
// alive.
type routedKey struct {
	client       netip.AddrPort
	group, topic string
	queue        int32
}

// first reports whether to send the client there: it wasn't within
// routeMemory.
func (c *coldRoutes) first(p *pull, now time.Time) bool {
	k := routedKey{group: p.req.Group, topic: p.req.Topic, queue: p.req.QueueID}
	if p.req.Client != nil {
		k.client = p.req.Client.RemoteAddr()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.m[k]; ok && now.Sub(at) < routeMemory {
		return false
	}
	if c.m == nil || len(c.m) >= maxRouted {
		c.m = map[routedKey]time.Time{}
	}
	c.m[k] = now
	return true
}

// firstOffsets remembers the first readable offset of queues whose start is in
// the archive, so that a hot pull can name it without asking the archive.
type firstOffsets struct {
	mu sync.Mutex
	m  map[mq.Queue]firstOffset
}

type firstOffset struct {
	offset int64
	at     time.Time
	asking bool
}

func (f *firstOffsets) set(q mq.Queue, offset int64, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m == nil {
		f.m = map[mq.Queue]firstOffset{}
	}
	f.m[q] = firstOffset{offset: offset, at: now}
}

// get gives what is remembered; ask says that the caller is to find out anew.
func (f *firstOffsets) get(q mq.Queue, now time.Time) (offset int64, known, ask bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m == nil {
		f.m = map[mq.Queue]firstOffset{}
	}
	e, known := f.m[q]
	if !e.asking && (!known || now.Sub(e.at) >= firstOffsetAge) {
		ask, e.asking = true, true
		if !known {
			e.offset = -1
		}
		f.m[q] = e
	}
	return e.offset, e.offset >= 0, ask
}

func (f *firstOffsets) forget(topic string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for q := range f.m {
		if q.Topic == topic {
			delete(f.m, q)
		}
	}
}

// firstOffset is the first readable offset of a queue as far as is known
// without asking the archive now: at the most that. Before the archive has
// answered it is 0, since a client that took the hot start for the first offset
// would skip what is archived.
func (b *Broker) firstOffset(q mq.Queue, inLog mq.Range) int64 {
	if inLog.From == 0 || b.log.Archived(q) == 0 {
		return inLog.From
	}
	now := b.now()
	off, known, ask := b.first.get(q, now)
	if ask {
		b.spawn(func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, firstOffsetAge)
			defer cancel()
			r, err := b.reader.Range(ctx, q)
			if err != nil { // what was known before is the best there is
				r.From = off
			}
			b.first.set(q, r.From, now)
		})
	}
	if !known {
		return 0
	}
	return min(off, inLog.From)
}
