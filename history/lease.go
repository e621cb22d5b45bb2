package history

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/time/rate"

	"varve/internal/archive"
	"varve/internal/objstore"
)

// ErrCacheFull says that files in use leave no room for another in the disk
// cache.
var ErrCacheFull = errors.New("the disk cache is full of files in use")

// files hands out data files as paths of this machine and pins them while they
// are in use: a pinned file is neither evicted nor removed by retention.
type files struct {
	bucket   objstore.Bucket
	dir      string
	requests chan struct{}
	limit    *rate.Limiter

	mu      sync.Mutex
	pins    map[string]int
	have    *lru[string, string] // path by object name
	pending map[string]*fetch
	names   int64
}

func newFiles(cfg Config, b objstore.Bucket, requests chan struct{}, limit *rate.Limiter) (*files, error) {
	f := &files{
		bucket: b, dir: filepath.Join(cfg.Dir, "files"), requests: requests, limit: limit,
		pins: map[string]int{}, pending: map[string]*fetch{},
	}
	f.have = newLRU(cfg.FileBytes, func(_, path string) { _ = os.Remove(path) })
	f.have.keep = func(name, _ string) bool { return f.pins[name] > 0 }
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the cache directory: %w", err)
	}
	return f, nil
}

// LocalFile gives a data file as a path of this machine: the bucket's own file
// where it is a local directory, else one in the disk cache. The file stays
// until release is called; release may be called more than once.
func (n *Node) LocalFile(ctx context.Context, f archive.DataFile) (path string, release func(), err error) {
	path, release, err = n.files.lease(ctx, f)
	if err != nil && ctx.Err() == nil && (errors.Is(err, archive.ErrDamaged) || errors.Is(err, objstore.ErrNotFound)) {
		n.fileFailed(f, f.Offsets.From, err)
	}
	return path, release, err
}

// Pinned reports whether a data file is in use as a local file.
func (n *Node) Pinned(name string) bool {
	n.files.mu.Lock()
	defer n.files.mu.Unlock()
	return n.files.pins[name] > 0
}

func (c *files) lease(ctx context.Context, f archive.DataFile) (string, func(), error) {
	c.mu.Lock()
	c.pins[f.Name]++
	c.mu.Unlock()
	release := sync.OnceFunc(func() { c.unpin(f.Name) })
	path, err := c.path(ctx, f)
	if err != nil {
		release()
		return "", nil, fmt.Errorf("local file of %s: %w", f.Name, err)
	}
	return path, release, nil
}

func (c *files) unpin(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pins[name]--; c.pins[name] == 0 {
		delete(c.pins, name)
	}
	c.have.shrink()
}

// forget removes a copy that is no good, or may be of an object that is another
// by now; the next lease fetches it again.
func (c *files) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if path, ok := c.have.get(name); ok {
		c.have.remove(name)
		_ = os.Remove(path)
	}
}

func (c *files) path(ctx context.Context, f archive.DataFile) (string, error) {
	if b, ok := c.bucket.(local); ok {
		return b.Path(f.Name), nil
	}
	for {
		c.mu.Lock()
		path, ok := c.have.get(f.Name)
		w := c.pending[f.Name]
		if !ok && w == nil {
			w = &fetch{done: make(chan struct{})}
			c.pending[f.Name] = w
			c.mu.Unlock()
			return c.download(ctx, f, w)
		}
		c.mu.Unlock()
		if ok {
			return path, nil
		}
		select {
		case <-w.done:
			if w.err != nil && !errors.Is(w.err, context.Canceled) && !errors.Is(w.err, context.DeadlineExceeded) {
				return "", w.err
			}
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// download brings a file into the cache for all who wait for it.
func (c *files) download(ctx context.Context, f archive.DataFile, w *fetch) (path string, err error) {
	defer func() {
		c.mu.Lock()
		delete(c.pending, f.Name)
		c.mu.Unlock()
		w.err = err
		close(w.done)
	}()
	if path, err = c.reserve(f); err != nil {
		return "", err
	}
	err = c.copy(ctx, f, path)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.have.used -= f.ObjectBytes() // what reserve took
	if err != nil {
		_ = os.Remove(path)
		return "", err
	}
	c.have.put(f.Name, path, f.ObjectBytes())
	return path, nil
}

// reserve makes room for a file and names its place.
func (c *files) reserve(f archive.DataFile) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	size := f.ObjectBytes()
	c.have.used += size
	c.have.shrink()
	if c.have.used > c.have.budget {
		c.have.used -= size
		return "", fmt.Errorf("%d bytes: %w", size, ErrCacheFull)
	}
	c.names++
	return filepath.Join(c.dir, strconv.FormatInt(c.names, 36)+".parquet"), nil
}

func (c *files) copy(ctx context.Context, f archive.DataFile, path string) (err error) {
	select {
	case c.requests <- struct{}{}:
		defer func() { <-c.requests }()
	case <-ctx.Done():
		return ctx.Err()
	}
	src, err := c.bucket.Get(ctx, f.Name)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o444)
	if err != nil {
		return err
	}
	size, err := io.Copy(dst, &paced{ctx, src, c.limit})
	if cerr := dst.Close(); err == nil {
		err = cerr
	}
	switch {
	case err != nil:
		return err
	case size != f.ObjectBytes():
		return fmt.Errorf("%d bytes, the table says %d: %w", size, f.ObjectBytes(), archive.ErrDamaged)
	}
	return nil
}

// paced keeps a reader within a rate.
type paced struct {
	ctx   context.Context
	r     io.Reader
	limit *rate.Limiter
}

func (p *paced) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if lerr := takeBytes(p.ctx, p.limit, int64(n)); lerr != nil && err == nil {
		err = lerr
	}
	return n, err
}

// copies gives the data files of which there are copies.
func (c *files) copies() (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.have.by {
		out = append(out, name)
	}
	return out
}

// Forget lets go of what this node keeps of a data file that readers shall not
// have any more; one that is in use as a local file goes when it is released and
// its room is needed.
func (n *Node) Forget(name string) {
	if n.cache != nil {
		n.cache.forget(name)
	}
	n.files.mu.Lock()
	defer n.files.mu.Unlock()
	if path, ok := n.files.have.get(name); ok && n.files.pins[name] == 0 {
		n.files.have.remove(name)
		_ = os.Remove(path)
	}
}
