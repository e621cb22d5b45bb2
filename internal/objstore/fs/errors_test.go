package fs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"varve/internal/objstore"
)

// TestErrorsAreClassified: each refusal of the system becomes the sentinel
// that callers act on, and keeps saying what was done to what.
func TestErrorsAreClassified(t *testing.T) {
	b, err := New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for errno, want := range map[syscall.Errno]error{
		syscall.ENOSPC: objstore.ErrFull,
		syscall.EDQUOT: objstore.ErrFull,
		syscall.EROFS:  objstore.ErrDenied,
		syscall.EACCES: objstore.ErrDenied,
		syscall.EPERM:  objstore.ErrDenied,
		syscall.ENOENT: objstore.ErrNotFound,
		syscall.EEXIST: objstore.ErrExists,
	} {
		got := b.classify("put", "a/b", &os.PathError{Op: "open", Path: "x", Err: errno})
		if !errors.Is(got, want) || !strings.HasPrefix(got.Error(), "put a/b: ") {
			t.Errorf("%v: %v", errno, got)
		}
	}
	if err := os.RemoveAll(b.root); err != nil {
		t.Fatal(err)
	}
	if got := b.classify("get", "x", syscall.ENOENT); !errors.Is(got, objstore.ErrNoBucket) || !strings.Contains(got.Error(), filepath.Base(b.root)) {
		t.Errorf("missing directory: %v", got)
	}
}
