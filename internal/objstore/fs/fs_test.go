package fs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"varve/internal/objstore"
	"varve/internal/objstore/fs"
	"varve/internal/objstore/objtest"
)

func open(t *testing.T, dir string) *fs.Bucket {
	t.Helper()
	b, err := fs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestConformance(t *testing.T) {
	objtest.Run(t, func(t *testing.T) objstore.Bucket { return open(t, filepath.Join(t.TempDir(), "new dir")) })
}

func TestNothingIsLeftInTmp(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	for _, c := range []objstore.Cond{objstore.IfAbsent, objstore.IfAbsent, objstore.Always} {
		_ = b.Put(t.Context(), "a/b", strings.NewReader("x"), 1, c)
	}
	_ = b.Put(t.Context(), "short", strings.NewReader("x"), 2, objstore.Always)
	left, err := os.ReadDir(filepath.Join(dir, ".tmp"))
	if err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestObjectsAreReadOnlyFiles(t *testing.T) {
	b := open(t, t.TempDir())
	if err := b.Put(t.Context(), "a/b", strings.NewReader("x"), 1, objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(b.Path("a/b"))
	if err != nil || st.Mode().Perm() != 0o444 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

func TestDirectoryGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	b := open(t, dir)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), "x", strings.NewReader("x"), 1, objstore.Always); !errors.Is(err, objstore.ErrNoBucket) {
		t.Errorf("put: %v", err)
	}
	if _, err := b.Head(t.Context(), "x"); !errors.Is(err, objstore.ErrNoBucket) {
		t.Errorf("head: %v", err)
	}
	for _, err := range b.List(t.Context(), "") {
		if !errors.Is(err, objstore.ErrNoBucket) {
			t.Errorf("list: %v", err)
		}
	}
}

func TestDirectoryIsAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := fs.New(path); err == nil {
		t.Error("opened a file as a bucket")
	}
}

// TestDirectoriesComeBack: a directory that somebody removed is made again.
func TestDirectoriesComeBack(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	if err := b.Put(t.Context(), "a/b/c", strings.NewReader("x"), 1, objstore.Always); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	var err error
	for range 2 { // the first attempt may still believe that it is there
		if err = b.Put(t.Context(), "a/b/d", strings.NewReader("x"), 1, objstore.Always); err == nil {
			return
		}
	}
	t.Error(err)
}

func TestDenied(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	dir := t.TempDir()
	b := open(t, dir)
	if err := os.Chmod(filepath.Join(dir, ".tmp"), 0o500); err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), "x", strings.NewReader("x"), 1, objstore.Always); !errors.Is(err, objstore.ErrDenied) {
		t.Errorf("put: %v", err)
	}
}
