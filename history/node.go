package history

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"varve/internal/archive"
	"varve/internal/mq"
)

// Node reads the archive within budgets. It implements mq.Reader and
// mq.Finder, and may be used concurrently.
type Node struct {
	cfg     Config
	archive *archive.Archive
	reader  *archive.Reader
	cache   *cache // nil where the bucket is a local directory
	ranges  archive.RangeReader
	files   *files
	lane    *lane
	ahead   *readAhead // of bytes; nil as the cache
	runs    *runs

	mu   sync.Mutex
	used map[string]time.Time // topics, when they were last read
	// looked are the versions of tables, by their roots, and since when nothing is
	// kept of files that have left them.
	looked map[string]looked
	// damaged are the topics whose table couldn't be read when it was last
	// tried, and why.
	damaged  map[string]string
	bad      badFiles
	renewals *lru[string, *renewal] // by topic
}

var (
	_ mq.Reader = (*Node)(nil)
	_ mq.Finder = (*Node)(nil)
)

// local is a bucket whose objects are files of this machine.
type local interface{ Path(name string) string }

// New makes a node. It serves reads at once; Run keeps it fresh.
func New(cfg Config, a *archive.Archive) (*Node, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(cfg.Dir); err != nil {
		return nil, fmt.Errorf("empty the cache directory: %w", err)
	}
	n := &Node{
		cfg: cfg, archive: a, lane: newLane(cfg.Reads, cfg.HotEnd),
		used: map[string]time.Time{}, looked: map[string]looked{}, damaged: map[string]string{},
		renewals: newLRU[string, *renewal](maxRenewals, nil),
	}
	requests := make(chan struct{}, cfg.Requests)
	var limit *rate.Limiter
	if cfg.BytesPerSecond > 0 {
		limit = rate.NewLimiter(rate.Limit(cfg.BytesPerSecond), int(min(max(cfg.BytesPerSecond, blockBytes), maxRequest)))
	}
	var err error
	if n.files, err = newFiles(cfg, a.Bucket(), requests, limit); err != nil {
		return nil, err
	}
	if _, ok := a.Bucket().(local); ok {
		n.ranges = &direct{bucket: a.Bucket(), requests: requests, limit: limit}
	} else {
		if n.cache, err = newCache(cfg, a.Bucket(), requests, limit); err != nil {
			return nil, err
		}
		n.ranges = n.cache
		n.ahead = newReadAhead(cfg, n.cache)
	}
	cfg.Reader.Pace, cfg.Reader.Failed = n.lane.pace, n.fileFailed
	n.reader = archive.NewReader(a, n.ranges, cfg.Reader)
	n.runs = newRuns(cfg.DecodedBytes, n.readNow)
	return n, nil
}

// Archive is what the node reads.
func (n *Node) Archive() *archive.Archive { return n.archive }

// Run follows other processes' commits until ctx ends.
func (n *Node) Run(ctx context.Context) error {
	if n.ahead != nil {
		defer n.ahead.close()
	}
	defer n.runs.close()
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() { every(ctx, tryEvery, n.tryBad) })
	beside.Go(func() { every(ctx, runsKept, func(context.Context) { n.runs.sweep() }) })
	every(ctx, n.cfg.Poll, n.refresh)
	return nil
}

// every calls f at each interval until ctx ends, never where that is negative.
func every(ctx context.Context, interval time.Duration, f func(ctx context.Context)) {
	if interval < 0 {
		<-ctx.Done()
		return
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f(ctx)
		}
	}
}

// refresh looks at the tables that were read lately, and at damaged ones.
func (n *Node) refresh(ctx context.Context) {
	now := n.cfg.Now()
	var topics []string
	n.mu.Lock()
	for t, at := range n.used {
		if now.Sub(at) > usedFor {
			delete(n.used, t)
			continue
		}
		topics = append(topics, t)
	}
	for t := range n.damaged {
		if _, ok := n.used[t]; !ok {
			topics = append(topics, t)
		}
	}
	n.mu.Unlock()
	for _, topic := range topics {
		t, err := n.archive.Table(ctx, topic)
		if err == nil {
			_, err = t.Refresh(ctx)
		}
		if err == nil {
			n.forgetGone(t)
		}
		n.note(topic, err)
		if ctx.Err() == nil {
			n.sayRefresh(topic, err)
		}
	}
}

// lookOn is how long after a table's new version what is kept is looked through
// for files that left it: a read of one that had begun before keeps what it got.
const lookOn = 2 * time.Minute

type looked struct {
	version int64
	since   time.Time
}

// forgetGone lets go of what is kept of data files that have left their table:
// nobody reads them any more, and they may have what was erased.
func (n *Node) forgetGone(t *archive.Table) {
	version, root := t.Snapshot().Version, t.Root()
	now := n.cfg.Now()
	n.mu.Lock()
	last, ok := n.looked[root]
	if !ok || last.version != version {
		last = looked{version, now}
		n.looked[root] = last
	}
	n.mu.Unlock()
	if now.Sub(last.since) > lookOn {
		return
	}
	kept := n.files.copies()
	if n.cache != nil {
		kept = append(kept, n.cache.names()...)
	}
	slices.Sort(kept)
	for _, name := range slices.Compact(kept) {
		if _, ok := t.Index().File(name); !ok && strings.HasPrefix(name, root+"/") {
			n.Forget(name)
		}
	}
}

// sayRefresh tells of a refresh that failed. A bucket that is away has been told
// of by who found it out.
func (n *Node) sayRefresh(topic string, err error) {
	switch {
	case err == nil, errors.Is(err, archive.ErrNoTable):
	case errors.Is(err, archive.ErrUnavailable):
		n.cfg.Logger.Debug("refresh a table", slog.String("topic", topic), slog.Any("err", err))
	default:
		n.cfg.Logger.Warn("refresh a table", slog.String("topic", topic), slog.Any("err", err))
	}
}

// table gives a topic's table, mq.ErrNoQueue where there is none. The archive
// remembers both in memory: most pulls ask.
func (n *Node) table(ctx context.Context, topic string) (*archive.Table, error) {
	t, err := n.archive.Table(ctx, topic)
	now := n.cfg.Now()
	n.mu.Lock()
	if err == nil || archive.Unreadable(err) {
		n.used[topic] = now
	}
	n.mu.Unlock()
	if err != nil {
		n.note(topic, err)
	}
	if errors.Is(err, archive.ErrNoTable) {
		return nil, mq.ErrNoQueue
	}
	return t, err
}

// note remembers whether a topic's table could be read; an error of the bucket
// says nothing of it.
func (n *Node) note(topic string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case archive.Unreadable(err):
		n.damaged[topic] = err.Error()
	case err == nil, errors.Is(err, archive.ErrNoTable):
		delete(n.damaged, topic)
	}
}

// Damaged gives the topics whose table couldn't be read when a reader or the
// retainer last tried, and why.
func (n *Node) Damaged() map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.damaged)
}

// Range implements mq.Reader from memory.
func (n *Node) Range(ctx context.Context, q mq.Queue) (mq.Range, error) {
	t, err := n.table(ctx, q.Topic)
	if err != nil {
		return mq.Range{}, fmt.Errorf("archive of %v: %w", q, err)
	}
	r, ok := t.Index().Range(q)
	if !ok {
		return mq.Range{}, fmt.Errorf("archive of %v: %w", q, mq.ErrNoQueue)
	}
	return r, nil
}

// Read implements mq.Reader. What a reader will want next is decoded ahead of
// it, unless it has a filter.
func (n *Node) Read(ctx context.Context, q mq.Queue, at int64, lim mq.Limit) (mq.Batch, error) {
	if lim.Filter != nil {
		return n.readNow(ctx, q, at, lim)
	}
	s := n.runs.claim(q, at, false)
	if s != nil {
		t, err := n.table(ctx, q.Topic)
		if err != nil {
			n.runs.drop(s)
			return mq.Batch{}, fmt.Errorf("archive of %v: %w", q, err)
		}
		if b, ok := n.runs.batch(ctx, t.Index(), s, at, lim); ok {
			n.runs.park(t.Index(), s, b.Next)
			return b, nil
		}
		n.runs.drop(s)
	}
	b, err := n.readNow(ctx, q, at, lim)
	if err != nil || b.Count == 0 {
		return b, err
	}
	if t, err := n.table(ctx, q.Topic); err == nil {
		n.runs.begin(t.Index(), q, &b, s != nil)
	}
	return b, nil
}

// Ready is a Read without a filter that finds what was decoded ahead for it; ok
// is false where that isn't there, and then Read is to be called.
func (n *Node) Ready(q mq.Queue, at int64, lim mq.Limit) (b mq.Batch, ok bool) {
	s := n.runs.claim(q, at, true)
	if s == nil {
		return b, false
	}
	if t := n.archive.Opened(q.Topic); t != nil {
		if b, ok = n.runs.batch(context.Background(), t.Index(), s, at, lim); ok { // which has nothing to wait for
			n.runs.park(t.Index(), s, b.Next)
			return b, true
		}
	}
	n.runs.drop(s)
	return b, false
}

// readNow reads without regard to what was read before.
func (n *Node) readNow(ctx context.Context, q mq.Queue, at int64, lim mq.Limit) (mq.Batch, error) {
	t, err := n.table(ctx, q.Topic)
	if err != nil {
		return mq.Batch{}, fmt.Errorf("archive of %v: %w", q, err)
	}
	if n.ahead != nil {
		n.ahead.before(t.Index(), q, at)
	}
	leave, err := n.lane.enter(ctx)
	if err != nil {
		return mq.Batch{}, err
	}
	defer leave()
	b, err := n.reader.Read(ctx, q, at, lim)
	if err == nil {
		n.bad.read(q, at, b.Next)
	}
	if err == nil && n.ahead != nil {
		n.ahead.after(t.Index(), q, at, b.Next)
	}
	return b, err
}

// OffsetAt implements mq.Reader.
func (n *Node) OffsetAt(ctx context.Context, q mq.Queue, millis int64, b mq.Bound) (int64, error) {
	if _, err := n.table(ctx, q.Topic); err != nil {
		return 0, fmt.Errorf("archive of %v: %w", q, err)
	}
	leave, err := n.lane.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	return n.reader.OffsetAt(ctx, q, millis, b)
}

// FindPhysical implements mq.Finder.
func (n *Node) FindPhysical(ctx context.Context, broker string, physicalOffset int64) (mq.Record, error) {
	leave, err := n.lane.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	return n.reader.FindPhysical(ctx, broker, physicalOffset)
}

// FindKey implements mq.Finder.
func (n *Node) FindKey(ctx context.Context, k mq.KeyQuery) (mq.Batch, error) {
	switch _, err := n.table(ctx, k.Topic); {
	case errors.Is(err, mq.ErrNoQueue):
		return mq.Batch{}, nil
	case err != nil:
		return mq.Batch{}, err
	}
	leave, err := n.lane.enter(ctx)
	if err != nil {
		return mq.Batch{}, err
	}
	defer leave()
	return n.reader.FindKey(ctx, k)
}

// Stats gives the cache's figures; they are zero where the bucket is local.
func (n *Node) Stats() CacheStats {
	if n.cache == nil {
		return CacheStats{}
	}
	return n.cache.figures()
}
