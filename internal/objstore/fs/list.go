package fs

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"varve/internal/objstore"
)

// walker gives the objects under a prefix in the order of their whole names.
type walker struct {
	b      *Bucket
	ctx    context.Context
	prefix string
	yield  func(objstore.Object, error) bool
}

// walk goes through one directory, named with a slash at the end or empty for
// the root. It is false when the walk is over.
func (w *walker) walk(dir string) bool {
	fail := func(err error) bool { w.yield(objstore.Object{}, err); return false }
	if err := w.ctx.Err(); err != nil {
		return fail(fmt.Errorf("list %s: %w", w.prefix, err))
	}
	if strings.Contains("/"+dir, "/../") {
		return fail(fmt.Errorf("list: %w %q", objstore.ErrBadName, w.prefix))
	}
	entries, err := os.ReadDir(filepath.Join(w.b.root, filepath.FromSlash(dir)))
	if errors.Is(err, iofs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		err = w.b.classify("list", w.prefix, iofs.ErrNotExist)
		if errors.Is(err, objstore.ErrNoBucket) {
			return fail(err)
		}
		return true
	}
	if err != nil {
		return fail(w.b.classify("list", w.prefix, err))
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		name := dir + e.Name()
		if e.IsDir() {
			name += "/" // sorts "a-b" before "a/b", as whole names do
		}
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if !w.entry(name) {
			return false
		}
	}
	return true
}

func (w *walker) entry(name string) bool {
	if name == tmpDir+"/" {
		return true
	}
	if strings.HasSuffix(name, "/") {
		if strings.HasPrefix(name, w.prefix) || strings.HasPrefix(w.prefix, name) {
			return w.walk(name)
		}
		return true
	}
	if !strings.HasPrefix(name, w.prefix) {
		return true
	}
	st, err := os.Stat(w.b.Path(name))
	if errors.Is(err, iofs.ErrNotExist) {
		return true // removed while we listed
	}
	if err != nil {
		w.yield(objstore.Object{}, w.b.classify("list", path.Clean(name), err))
		return false
	}
	return w.yield(describe(name, st), nil)
}
