package fs

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"varve/internal/objstore"
)

const (
	tmpDir   = ".tmp"
	tmpAge   = 24 * time.Hour
	dirMode  = 0o755
	fileMode = 0o444
	copySize = 1 << 20
)

// Bucket keeps objects as files under one directory.
type Bucket struct {
	root string   // absolute
	made []string // directories that New made, the innermost first
	dirs sync.Map
}

var _ objstore.Bucket = (*Bucket)(nil)

// New opens a directory as a bucket and makes it where it is missing. One that
// may not be used is a bucket all the same: each use of it says ErrDenied, until
// somebody gives the right.
func New(dir string) (*Bucket, error) {
	root, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("bucket directory %s: %w", dir, err)
	}
	b := &Bucket{root: root}
	tmp := filepath.Join(root, tmpDir)
	for _, dir := range []string{tmp, root} {
		if _, err := os.Stat(dir); errors.Is(err, iofs.ErrNotExist) {
			b.made = append(b.made, dir)
		}
	}
	if err := os.MkdirAll(tmp, dirMode); err != nil {
		if err = b.classify("open bucket directory", root, err); !errors.Is(err, objstore.ErrDenied) {
			return nil, err
		}
	}
	b.sweep(tmp)
	return b, nil
}

// Unmake removes the directories that New made where nothing is in them, so
// that what somebody moves to this place doesn't come to lie within them.
func (b *Bucket) Unmake() {
	for _, dir := range b.made {
		_ = os.Remove(dir)
	}
}

// sweep removes what a crashed process left behind. What can't be removed
// does no harm.
func (b *Bucket) sweep(tmp string) {
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > tmpAge {
			_ = os.Remove(filepath.Join(tmp, e.Name()))
		}
	}
}

// URL gives the directory as "file://" and its path as it is: table formats
// take paths unescaped.
func (b *Bucket) URL() string { return "file://" + filepath.ToSlash(b.root) }

// Path gives the local file of an object, for programs that read it in place.
func (b *Bucket) Path(name string) string {
	return filepath.Join(b.root, filepath.FromSlash(name))
}

// classify wraps an error of the file system with what was done to what, and
// with the sentinel that fits.
func (b *Bucket) classify(op, what string, err error) error {
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		if _, serr := os.Stat(b.root); errors.Is(serr, iofs.ErrNotExist) {
			return fmt.Errorf("%s %s: %w: directory %s is gone", op, what, objstore.ErrNoBucket, b.root)
		}
		return fmt.Errorf("%s %s: %w", op, what, objstore.ErrNotFound)
	case errors.Is(err, iofs.ErrExist):
		return fmt.Errorf("%s %s: %w", op, what, objstore.ErrExists)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%s %s: %w: the file system of %s is read-only", op, what, objstore.ErrDenied, b.root)
	case errors.Is(err, iofs.ErrPermission):
		return fmt.Errorf("%s %s: %w: %w", op, what, objstore.ErrDenied, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%s %s: %w: %w", op, what, objstore.ErrFull, err)
	}
	return fmt.Errorf("%s %s: %w", op, what, err)
}

func (b *Bucket) check(ctx context.Context, op, name string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s %s: %w", op, name, err)
	}
	if err := objstore.CheckName(name); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

func (b *Bucket) open(ctx context.Context, op, name string) (*os.File, error) {
	if err := b.check(ctx, op, name); err != nil {
		return nil, err
	}
	f, err := os.Open(b.Path(name))
	if err != nil {
		if errors.Is(err, syscall.ENOTDIR) {
			err = iofs.ErrNotExist
		}
		return nil, b.classify(op, name, err)
	}
	return f, nil
}

// Get implements objstore.Bucket.
func (b *Bucket) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	f, err := b.open(ctx, "get", name)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err == nil && st.IsDir() {
		_ = f.Close()
		return nil, fmt.Errorf("get %s: %w", name, objstore.ErrNotFound)
	}
	return &reader{File: f, ctx: ctx}, nil
}

// reader stops soon after its context ends.
type reader struct {
	*os.File
	ctx context.Context
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.File.Read(p)
}

// ReadAt implements objstore.Bucket.
func (b *Bucket) ReadAt(ctx context.Context, name string, p []byte, off int64) error {
	f, err := b.open(ctx, "read", name)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := f.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: %d bytes of %d at %d: %w", name, n, len(p), off, io.ErrUnexpectedEOF)
	}
	if errors.Is(err, syscall.EISDIR) {
		err = iofs.ErrNotExist
	}
	return b.classify("read", name, err)
}

// Put implements objstore.Bucket.
func (b *Bucket) Put(ctx context.Context, name string, r io.Reader, size int64, c objstore.Cond) error {
	if err := b.check(ctx, "put", name); err != nil {
		return err
	}
	target := b.Path(name)
	if c == objstore.IfAbsent {
		if _, err := os.Lstat(target); err == nil {
			return fmt.Errorf("put %s: %w", name, objstore.ErrExists)
		}
	}
	tmp, err := b.writeTemp(ctx, r, size)
	if err != nil {
		return b.classify("put", name, err)
	}
	defer func() { _ = os.Remove(tmp) }() // gone already after a rename
	if err := b.makeDir(filepath.Dir(target)); err != nil {
		return b.classify("put", name, err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	if c == objstore.IfAbsent {
		err = os.Link(tmp, target)
	} else {
		err = os.Rename(tmp, target)
	}
	if err != nil {
		b.dirs.Clear() // somebody may have removed a directory
		if c == objstore.IfAbsent && noLinks(err) {
			return fmt.Errorf("put %s: %w: the file system of %s has no hard links, which create-only puts need: %w", name, objstore.ErrUnsafe, b.root, err)
		}
		return b.classify("put", name, err)
	}
	if err := syncDir(filepath.Dir(target)); err != nil {
		return b.classify("put", name, err)
	}
	return nil
}

// noLinks reports whether link failed because the file system has none. The
// temporary file beside it was just made, so it isn't a matter of rights.
func noLinks(err error) bool {
	for _, e := range []error{syscall.EPERM, syscall.ENOSYS, syscall.ENOTSUP, syscall.EOPNOTSUPP} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// writeTemp writes and syncs size bytes of r to a new temporary file.
func (b *Bucket) writeTemp(ctx context.Context, r io.Reader, size int64) (_ string, err error) {
	var id [12]byte
	if _, err := rand.Read(id[:]); err != nil {
		return "", err
	}
	name := filepath.Join(b.root, tmpDir, hex.EncodeToString(id[:]))
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if errors.Is(err, iofs.ErrNotExist) {
		if _, serr := os.Stat(b.root); serr == nil && os.Mkdir(filepath.Join(b.root, tmpDir), dirMode) == nil {
			f, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
		}
	}
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(name)
		}
	}()
	for left := size; left > 0; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := io.CopyN(f, r, min(left, copySize))
		left -= n
		if errors.Is(err, io.EOF) {
			return "", fmt.Errorf("have %d bytes of %d: %w", size-left, size, io.ErrUnexpectedEOF)
		}
		if err != nil {
			return "", err
		}
	}
	if err := f.Sync(); err != nil {
		return "", err
	}
	return name, f.Close()
}

// makeDir makes a directory and its parents, and syncs each one's parent.
func (b *Bucket) makeDir(dir string) error {
	if _, known := b.dirs.Load(dir); known || dir == b.root {
		return nil
	}
	if err := b.makeDir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, iofs.ErrExist) {
		return err
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	b.dirs.Store(dir, struct{}{})
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Head implements objstore.Bucket.
func (b *Bucket) Head(ctx context.Context, name string) (objstore.Object, error) {
	if err := b.check(ctx, "head", name); err != nil {
		return objstore.Object{}, err
	}
	st, err := os.Stat(b.Path(name))
	switch {
	case errors.Is(err, syscall.ENOTDIR), err == nil && st.IsDir():
		return objstore.Object{}, fmt.Errorf("head %s: %w", name, objstore.ErrNotFound)
	case err != nil:
		return objstore.Object{}, b.classify("head", name, err)
	}
	return describe(name, st), nil
}

func describe(name string, st os.FileInfo) objstore.Object {
	return objstore.Object{
		Name:     name,
		Size:     st.Size(),
		ETag:     fmt.Sprintf("%x-%x", st.ModTime().UnixNano(), st.Size()),
		Modified: st.ModTime(),
	}
}

// Delete implements objstore.Bucket.
func (b *Bucket) Delete(ctx context.Context, name string) error {
	if err := b.check(ctx, "delete", name); err != nil {
		return err
	}
	path := b.Path(name)
	if st, err := os.Lstat(path); err == nil && st.IsDir() {
		return nil // a directory is no object
	}
	if err := os.Remove(path); err != nil {
		err = b.classify("delete", name, err)
		if errors.Is(err, objstore.ErrNotFound) || errors.Is(err, syscall.ENOTDIR) {
			return nil
		}
		return err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return b.classify("delete", name, err)
	}
	return nil
}

// List implements objstore.Bucket. It reads one directory at a time and
// enters only those that the prefix allows.
func (b *Bucket) List(ctx context.Context, prefix string) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		dir := ""
		if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
			dir = prefix[:i+1]
		}
		w := walker{b: b, ctx: ctx, prefix: prefix, yield: yield}
		w.walk(dir)
	}
}
