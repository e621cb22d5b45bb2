package history

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"varve/internal/archive"
	"varve/internal/objstore"
)

// cache reads ranges of objects through memory and disk. It implements
// archive.RangeReader.
//
// Objects are cut into blocks. A block that is nowhere is fetched with its
// missing neighbours in one request; several readers of a block share one
// fetch.
type cache struct {
	bucket   objstore.Bucket
	dir      string
	requests chan struct{}
	limit    *rate.Limiter // nil for none

	mu      sync.Mutex
	memory  *lru[block, []byte]
	disk    *lru[block, diskBlock]
	sizes   *lru[string, int64]
	pending map[block]*fetch
	files   int64 // names of disk blocks
	stats   CacheStats
}

type block struct {
	name string
	n    int64
}

type diskBlock struct {
	path string
	size int
	crc  uint32
}

// fetch is a request that is under way.
type fetch struct {
	done chan struct{}
	data []byte
	err  error
}

// CacheStats are a cache's figures since New.
type CacheStats struct {
	MemoryHits   int64 `json:"memory_hits"`
	DiskHits     int64 `json:"disk_hits"`
	Misses       int64 `json:"misses"`
	Requests     int64 `json:"requests"`
	FetchedBytes int64 `json:"fetched_bytes"`
	MemoryBytes  int64 `json:"memory_bytes"`
	DiskBytes    int64 `json:"disk_bytes"`
}

var _ archive.RangeReader = (*cache)(nil)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newCache(cfg Config, b objstore.Bucket, requests chan struct{}, limit *rate.Limiter) (*cache, error) {
	c := &cache{
		bucket: b, dir: filepath.Join(cfg.Dir, "blocks"), requests: requests, limit: limit,
		pending: map[block]*fetch{}, sizes: newLRU[string, int64](knownSizes, nil),
	}
	c.memory = newLRU[block, []byte](cfg.MemoryBytes, nil)
	c.disk = newLRU(cfg.DiskBytes, func(_ block, d diskBlock) { _ = os.Remove(d.path) })
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the cache directory: %w", err)
	}
	return c, nil
}

// note tells the cache an object's length, which saves it a request.
func (c *cache) note(name string, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sizes.put(name, size, 1)
}

func (c *cache) size(ctx context.Context, name string) (int64, error) {
	c.mu.Lock()
	n, ok := c.sizes.get(name)
	c.mu.Unlock()
	if ok {
		return n, nil
	}
	o, err := c.bucket.Head(ctx, name)
	if err != nil {
		return 0, err
	}
	c.note(name, o.Size)
	return o.Size, nil
}

// ReadAt implements archive.RangeReader.
func (c *cache) ReadAt(ctx context.Context, name string, p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	size, err := c.size(ctx, name)
	if err != nil {
		return err
	}
	end := off + int64(len(p))
	if off < 0 || end > size {
		return fmt.Errorf("read %s from %d to %d of %d bytes: %w", name, off, end, size, io.ErrUnexpectedEOF)
	}
	return c.each(ctx, name, size, off, end, func(n int64, data []byte) {
		from := n * blockBytes
		lo, hi := max(off, from), min(end, from+int64(len(data)))
		copy(p[lo-off:hi-off], data[lo-from:hi-from])
	})
}

// ahead brings a range into the cache.
func (c *cache) ahead(ctx context.Context, name string, size, off, end int64) error {
	off, end = max(off, 0), min(end, size)
	if off >= end {
		return nil
	}
	return c.each(ctx, name, size, off, end, func(int64, []byte) {})
}

// each calls f with every block of a range, concurrently but for different
// blocks.
func (c *cache) each(ctx context.Context, name string, size, off, end int64, f func(n int64, data []byte)) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(requestsPerRead)
	last := (end - 1) / blockBytes
	for n := off / blockBytes; n <= last; {
		data, own, wait := c.claim(block{name, n}, last)
		switch {
		case data != nil:
			f(n, data)
			n++
		case wait != nil:
			b := block{name, n}
			g.Go(func() error {
				data, err := c.await(gctx, wait, b, size)
				if err == nil {
					f(b.n, data)
				}
				return err
			})
			n++
		default:
			first, count := n, int64(len(own))
			g.Go(func() error { return c.fetch(gctx, name, size, first, own, f) })
			n += count
		}
	}
	return g.Wait()
}

// claim gives a block's data, or the fetch of it that is under way, or makes
// the caller fetch it and the missing ones that follow.
func (c *cache) claim(b block, last int64) (data []byte, own []*fetch, wait *fetch) {
	if data = c.cached(b); data != nil {
		return data, nil, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for b.n <= last && len(own) < maxRequest/blockBytes {
		if w := c.pending[b]; w != nil {
			if len(own) == 0 {
				return nil, nil, w
			}
			break
		}
		_, inMemory := c.memory.by[b]
		_, onDisk := c.disk.by[b]
		if len(own) > 0 && (inMemory || onDisk) {
			break
		}
		f := &fetch{done: make(chan struct{})}
		c.pending[b] = f
		own = append(own, f)
		c.stats.Misses++
		b.n++
	}
	return nil, own, nil
}

// cached looks in memory and on disk.
func (c *cache) cached(b block) []byte {
	c.mu.Lock()
	if data, ok := c.memory.get(b); ok {
		c.stats.MemoryHits++
		c.mu.Unlock()
		return data
	}
	d, ok := c.disk.get(b)
	c.mu.Unlock()
	if !ok {
		return nil
	}
	data, err := os.ReadFile(d.path)
	bad := err != nil || len(data) != d.size || crc32.Checksum(data, castagnoli) != d.crc
	c.mu.Lock()
	defer c.mu.Unlock()
	if bad { // evicted meanwhile, or the disk lost it
		if now, ok := c.disk.get(b); ok && now.path == d.path {
			c.disk.remove(b)
		}
		return nil
	}
	c.stats.DiskHits++
	c.memory.put(b, data, int64(len(data)))
	return data
}

// await waits for another reader's fetch. Where that reader gave up, this one
// fetches by itself.
func (c *cache) await(ctx context.Context, w *fetch, b block, size int64) ([]byte, error) {
	select {
	case <-w.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if w.err == nil || !errors.Is(w.err, context.Canceled) && !errors.Is(w.err, context.DeadlineExceeded) {
		return w.data, w.err
	}
	from := b.n * blockBytes
	data := make([]byte, min(blockBytes, size-from))
	if err := c.request(ctx, b.name, data, from); err != nil {
		return nil, err
	}
	return data, nil
}

// fetch reads consecutive blocks in one request and shares them.
func (c *cache) fetch(ctx context.Context, name string, size, first int64, own []*fetch, f func(int64, []byte)) error {
	from := first * blockBytes
	buf := make([]byte, min(int64(len(own))*blockBytes, size-from))
	err := c.request(ctx, name, buf, from)
	for i, w := range own {
		b := block{name, first + int64(i)}
		if w.err = err; err == nil {
			lo := i * blockBytes
			w.data = buf[lo:min(lo+blockBytes, len(buf)):min(lo+blockBytes, len(buf))]
			if len(own) > 1 {
				w.data = append([]byte(nil), w.data...) // blocks are evicted one by one
			}
			c.store(b, w.data)
			f(b.n, w.data)
		}
		c.mu.Lock()
		delete(c.pending, b)
		c.mu.Unlock()
		close(w.done)
	}
	return err
}

// request is one read of the bucket within the budgets.
func (c *cache) request(ctx context.Context, name string, p []byte, off int64) error {
	if err := takeBytes(ctx, c.limit, int64(len(p))); err != nil {
		return err
	}
	select {
	case c.requests <- struct{}{}:
		defer func() { <-c.requests }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := c.bucket.ReadAt(ctx, name, p, off); err != nil {
		return err
	}
	c.mu.Lock()
	c.stats.Requests++
	c.stats.FetchedBytes += int64(len(p))
	c.mu.Unlock()
	return nil
}

// takeBytes waits until a rate allows n bytes.
func takeBytes(ctx context.Context, l *rate.Limiter, n int64) error {
	for l != nil && n > 0 {
		k := min(n, int64(l.Burst()))
		if err := l.WaitN(ctx, int(k)); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// store keeps a block in memory and on disk. A disk that takes none is no
// error: the block is fetched again.
func (c *cache) store(b block, data []byte) {
	c.mu.Lock()
	c.memory.put(b, data, int64(len(data)))
	c.files++
	d := diskBlock{
		path: filepath.Join(c.dir, strconv.FormatInt(c.files, 36)),
		size: len(data), crc: crc32.Checksum(data, castagnoli),
	}
	room := c.disk.budget >= int64(len(data))
	c.mu.Unlock()
	if !room {
		return
	}
	if err := os.WriteFile(d.path, data, 0o600); err != nil {
		_ = os.Remove(d.path)
		return
	}
	c.mu.Lock()
	old, had := c.disk.get(b)
	c.disk.put(b, d, int64(len(data)))
	c.mu.Unlock()
	if had {
		_ = os.Remove(old.path)
	}
}

// forget lets go of all that is kept of an object.
func (c *cache) forget(name string) {
	var paths []string
	c.mu.Lock()
	c.sizes.remove(name)
	for b := range c.memory.by {
		if b.name == name {
			c.memory.remove(b)
		}
	}
	for b, el := range c.disk.by {
		if b.name == name {
			paths = append(paths, el.Value.(*entry[block, diskBlock]).value.path)
			c.disk.remove(b)
		}
	}
	c.mu.Unlock()
	for _, p := range paths {
		_ = os.Remove(p) // what stays is never read again
	}
}

// names gives the files of which anything is cached, some more than once.
func (c *cache) names() (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for b := range c.memory.by {
		if len(out) == 0 || out[len(out)-1] != b.name {
			out = append(out, b.name)
		}
	}
	for b := range c.disk.by {
		if len(out) == 0 || out[len(out)-1] != b.name {
			out = append(out, b.name)
		}
	}
	return out
}

func (c *cache) figures() CacheStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.MemoryBytes, s.DiskBytes = c.memory.used, c.disk.used
	return s
}

// direct reads a local bucket within the budgets, without a cache.
type direct struct {
	bucket   objstore.Bucket
	requests chan struct{}
	limit    *rate.Limiter
}

// ReadAt implements archive.RangeReader.
func (d *direct) ReadAt(ctx context.Context, name string, p []byte, off int64) error {
	if err := takeBytes(ctx, d.limit, int64(len(p))); err != nil {
		return err
	}
	select {
	case d.requests <- struct{}{}:
		defer func() { <-d.requests }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return d.bucket.ReadAt(ctx, name, p, off)
}
