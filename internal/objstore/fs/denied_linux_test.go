package fs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"varve/internal/objstore"
)

// TestADeniedDirectoryIsABucketThatSaysSo: it opens, and works as soon as it may
// be used. The thread asks as nobody, because root is denied nothing.
func TestADeniedDirectoryIsABucketThatSaysSo(t *testing.T) {
	const nobody = 65534
	dir := filepath.Join(t.TempDir(), "archive")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	as := os.Getuid()
	if as != 0 {
		if err := os.Chmod(dir, 0); err != nil {
			t.Fatal(err)
		}
	}
	errs := make(chan error, 2)
	var b *Bucket
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if as == 0 {
			if err := syscall.Setfsuid(nobody); err != nil {
				t.Errorf("asking as nobody: %v", err)
			}
		}
		var err error
		b, err = New(dir)
		errs <- err
		if err == nil {
			err = b.Put(t.Context(), "x", bytes.NewReader(nil), 0, objstore.IfAbsent)
		}
		errs <- err
	}()
	if err := <-errs; err != nil {
		t.Fatalf("a directory that may not be used: %v", err)
	}
	if err := <-errs; !errors.Is(err, objstore.ErrDenied) {
		t.Errorf("a put into it: %v, want ErrDenied", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), "x", bytes.NewReader(nil), 0, objstore.IfAbsent); err != nil {
		t.Errorf("once it may be used: %v", err)
	}
}
