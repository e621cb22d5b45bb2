package mem

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"varve/internal/objstore"
)

// Bucket holds objects in a map. The zero value is not ready; use New.
type Bucket struct {
	locks bool

	mu      sync.RWMutex
	objects map[string]object
	hidden  []string
}

type object struct {
	data     []byte // never changed once stored
	etag     string
	modified time.Time
	locked   bool
}

var (
	_ objstore.Bucket = (*Bucket)(nil)
	_ objstore.Locker = (*Bucket)(nil)
)

// New makes an empty bucket.
func New() *Bucket { return &Bucket{objects: map[string]object{}} }

// NewLocking makes an empty bucket that keeps locks.
func NewLocking() *Bucket {
	b := New()
	b.locks = true
	return b
}

// Locks implements objstore.Locker.
func (b *Bucket) Locks(ctx context.Context) (bool, error) { return b.locks, ctx.Err() }

// Locked implements objstore.Locker.
func (b *Bucket) Locked(ctx context.Context, name string) (bool, error) {
	o, err := b.find(ctx, "lock of", name)
	return o.locked, err
}

// SetLock implements objstore.Locker.
func (b *Bucket) SetLock(ctx context.Context, name string, on bool) error {
	if _, err := b.find(ctx, "lock", name); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if o, ok := b.objects[name]; ok {
		o.locked = on
		b.objects[name] = o
	}
	return nil
}

// Hidden gives the names of objects that were deleted or written over while they
// were locked: a real store has their bytes still, and nobody reads them.
func (b *Bucket) Hidden() []string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return slices.Clone(b.hidden)
}

// hide notes that an object goes; the caller holds mu.
func (b *Bucket) hide(name string) {
	if b.objects[name].locked {
		b.hidden = append(b.hidden, name)
	}
}

// URL names no place that another program could open.
func (b *Bucket) URL() string { return "mem://bucket" }

func (b *Bucket) find(ctx context.Context, op, name string) (object, error) {
	if err := ctx.Err(); err != nil {
		return object{}, fmt.Errorf("%s %s: %w", op, name, err)
	}
	if err := objstore.CheckName(name); err != nil {
		return object{}, fmt.Errorf("%s: %w", op, err)
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	o, ok := b.objects[name]
	if !ok {
		return object{}, fmt.Errorf("%s %s: %w", op, name, objstore.ErrNotFound)
	}
	return o, nil
}

// Get implements objstore.Bucket.
func (b *Bucket) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	o, err := b.find(ctx, "get", name)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(o.data)), nil
}

// ReadAt implements objstore.Bucket.
func (b *Bucket) ReadAt(ctx context.Context, name string, p []byte, off int64) error {
	o, err := b.find(ctx, "read", name)
	if err != nil {
		return err
	}
	if off < 0 || off+int64(len(p)) > int64(len(o.data)) {
		return fmt.Errorf("read %s: %d bytes at %d of %d: %w", name, len(p), off, len(o.data), io.ErrUnexpectedEOF)
	}
	copy(p, o.data[off:])
	return nil
}

// Put implements objstore.Bucket.
func (b *Bucket) Put(ctx context.Context, name string, r io.Reader, size int64, c objstore.Cond) error {
	if err := objstore.CheckName(name); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(r, size))
	if err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	if int64(len(data)) != size {
		return fmt.Errorf("put %s: have %d bytes of %d: %w", name, len(data), size, io.ErrUnexpectedEOF)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	etag := fmt.Sprintf("%08x", crc32.ChecksumIEEE(data))
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, taken := b.objects[name]; taken && c == objstore.IfAbsent {
		return fmt.Errorf("put %s: %w", name, objstore.ErrExists)
	}
	b.hide(name)
	b.objects[name] = object{data: data, etag: etag, modified: time.Now()}
	return nil
}

// Head implements objstore.Bucket.
func (b *Bucket) Head(ctx context.Context, name string) (objstore.Object, error) {
	o, err := b.find(ctx, "head", name)
	if err != nil {
		return objstore.Object{}, err
	}
	return describe(name, o), nil
}

func describe(name string, o object) objstore.Object {
	return objstore.Object{
		Name:     name,
		Size:     int64(len(o.data)),
		ETag:     o.etag,
		Modified: o.modified,
	}
}

// Delete implements objstore.Bucket.
func (b *Bucket) Delete(ctx context.Context, name string) error {
	if err := objstore.CheckName(name); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hide(name)
	delete(b.objects, name)
	return nil
}

// List implements objstore.Bucket: it gives the objects as they were at its
// start.
func (b *Bucket) List(ctx context.Context, prefix string) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		b.mu.RLock()
		var found []objstore.Object
		for name, o := range b.objects {
			if strings.HasPrefix(name, prefix) {
				found = append(found, describe(name, o))
			}
		}
		b.mu.RUnlock()
		slices.SortFunc(found, func(x, y objstore.Object) int { return strings.Compare(x.Name, y.Name) })
		for _, o := range found {
			if err := ctx.Err(); err != nil {
				yield(objstore.Object{}, fmt.Errorf("list %s: %w", prefix, err))
				return
			}
			if !yield(o, nil) {
				return
			}
		}
	}
}
