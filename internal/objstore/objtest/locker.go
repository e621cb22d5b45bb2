package objtest

import (
	"context"
	"errors"
	"testing"

	"varve/internal/objstore"
)

// RunLocker holds the buckets that make gives, each of them empty and keeping
// locks, to the contract of objstore.Locker.
func RunLocker(t *testing.T, make func(t *testing.T) objstore.Bucket) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(*testing.T, objstore.Bucket)
	}{
		{"Lock", lockAndUnlock},
		{"LockOfNone", lockOfNone},
		{"LockedAndDeleted", lockedAndDeleted},
		{"LockStopsWithItsContext", lockContexts},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, make(t)) })
	}
}

func wantLocked(t *testing.T, b objstore.Bucket, name string, want bool) {
	t.Helper()
	if on, err := objstore.LockerOf(b).Locked(t.Context(), name); err != nil || on != want {
		t.Errorf("%s is locked: %v, %v; want %v", name, on, err, want)
	}
}

func setLock(t *testing.T, b objstore.Bucket, name string, on bool) {
	t.Helper()
	if err := objstore.LockerOf(b).SetLock(t.Context(), name, on); err != nil {
		t.Fatal(err)
	}
}

func lockAndUnlock(t *testing.T, b objstore.Bucket) {
	if on, err := objstore.LockerOf(b).Locks(t.Context()); err != nil || !on {
		t.Fatalf("keeps locks: %v, %v", on, err)
	}
	for _, name := range []string{"x", "dir/a b=c+d"} {
		mustPut(t, b, name, "some")
		wantLocked(t, b, name, false)
		setLock(t, b, name, false)
		for range 2 {
			setLock(t, b, name, true)
			wantLocked(t, b, name, true)
		}
	}
	if got := content(t, b, "x"); got != "some" {
		t.Errorf("locked, it holds %q", got)
	}
	if err := put(t, b, "x", "other", objstore.IfAbsent); !errors.Is(err, objstore.ErrExists) {
		t.Errorf("create-only put over a locked object: %v", err)
	}
	for range 2 {
		setLock(t, b, "x", false)
		wantLocked(t, b, "x", false)
	}
	wantLocked(t, b, "dir/a b=c+d", true)
	setLock(t, b, "dir/a b=c+d", false)
}

func lockOfNone(t *testing.T, b objstore.Bucket) {
	mustPut(t, b, "a/b", "x")
	l := objstore.LockerOf(b)
	for name, want := range map[string]error{"none": objstore.ErrNotFound, "a": objstore.ErrNotFound, "a/../b": objstore.ErrBadName} {
		if _, err := l.Locked(t.Context(), name); !errors.Is(err, want) {
			t.Errorf("locked %s: %v", name, err)
		}
		for _, on := range []bool{true, false} {
			if err := l.SetLock(t.Context(), name, on); !errors.Is(err, want) {
				t.Errorf("lock %s: %v", name, err)
			}
		}
	}
}

// lockedAndDeleted: where a locked object can be deleted at all, it is only
// hidden, and its name is free.
func lockedAndDeleted(t *testing.T, b objstore.Bucket) {
	mustPut(t, b, "x", "first")
	setLock(t, b, "x", true)
	if err := b.Delete(t.Context(), "x"); err != nil {
		wantLocked(t, b, "x", true)
		setLock(t, b, "x", false)
		return
	}
	l := objstore.LockerOf(b)
	if _, err := l.Locked(t.Context(), "x"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("lock of a deleted object: %v", err)
	}
	if err := l.SetLock(t.Context(), "x", true); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("lock a deleted object: %v", err)
	}
	if _, err := b.Get(t.Context(), "x"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("get: %v", err)
	}
	if err := b.ReadAt(t.Context(), "x", make([]byte, 1), 0); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("read: %v", err)
	}
	for o, err := range b.List(t.Context(), "") {
		t.Errorf("listed %+v, %v", o, err)
	}
	if err := put(t, b, "x", "second", objstore.IfAbsent); err != nil {
		t.Errorf("create-only put over a deleted object: %v", err)
	}
	wantLocked(t, b, "x", false)
}

func lockContexts(t *testing.T, b objstore.Bucket) {
	mustPut(t, b, "x", "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := objstore.LockerOf(b)
	if _, err := l.Locks(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("locks: %v", err)
	}
	if _, err := l.Locked(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("locked: %v", err)
	}
	if err := l.SetLock(ctx, "x", true); !errors.Is(err, context.Canceled) {
		t.Errorf("lock: %v", err)
	}
	wantLocked(t, b, "x", false)
}
