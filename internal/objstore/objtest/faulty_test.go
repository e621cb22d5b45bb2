package objtest_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"varve/internal/objstore"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
)

func put(b objstore.Bucket, name string) error {
	return b.Put(context.Background(), name, strings.NewReader("0123456789"), 10, objstore.IfAbsent)
}

func names(t *testing.T, b objstore.Bucket) string {
	t.Helper()
	var out []string
	for o, err := range b.List(t.Context(), "") {
		if err != nil {
			out = append(out, err.Error())
			continue
		}
		out = append(out, o.Name)
	}
	return strings.Join(out, " ")
}

func TestFaultyWithoutScript(t *testing.T) {
	objtest.Run(t, func(*testing.T) objstore.Bucket { return objtest.NewFaulty(mem.New()) })
}

func TestFaultyLocks(t *testing.T) {
	objtest.RunLocker(t, func(*testing.T) objstore.Bucket { return objtest.NewFaulty(mem.NewLocking()) })
	b := objtest.NewFaulty(mem.NewLocking(),
		objtest.Fault{Op: objtest.Lock, How: objtest.Lie, Times: 1},
		objtest.Fault{Op: objtest.Lock, How: objtest.After, Times: 1},
		objtest.Fault{Op: objtest.Unlock, How: objtest.Before})
	if err := put(b, "x"); err != nil {
		t.Fatal(err)
	}
	look := func(want bool) {
		t.Helper()
		if on, err := b.Locked(t.Context(), "x"); err != nil || on != want {
			t.Errorf("locked: %v, %v", on, err)
		}
	}
	if err := b.SetLock(t.Context(), "x", true); err != nil {
		t.Error("lie:", err)
	}
	look(false)
	if err := b.SetLock(t.Context(), "x", true); !errors.Is(err, objtest.ErrLost) {
		t.Error("after:", err)
	}
	look(true)
	if err := b.SetLock(t.Context(), "x", false); !errors.Is(err, objtest.ErrUnavailable) {
		t.Error("before:", err)
	}
	look(true)
	if on, err := objtest.NewFaulty(mem.New()).Locks(t.Context()); on || err != nil {
		t.Errorf("over a bucket without locks: %v, %v", on, err)
	}
}

func TestFaultyPuts(t *testing.T) {
	inner := mem.New()
	b := objtest.NewFaulty(inner,
		objtest.Fault{Op: objtest.Put, Name: "a", How: objtest.Before, Times: 1},
		objtest.Fault{Op: objtest.Put, Name: "a", How: objtest.Half, Times: 1},
		objtest.Fault{Op: objtest.Put, Name: "a", How: objtest.After, Times: 1, Skip: 1},
		objtest.Fault{Op: objtest.Put, Name: "z", How: objtest.Lie})
	if err := put(b, "a1"); !errors.Is(err, objtest.ErrUnavailable) {
		t.Error("before:", err)
	}
	if err := put(b, "a1"); !errors.Is(err, objtest.ErrLost) {
		t.Error("half:", err)
	}
	if got := names(t, inner); got != "" {
		t.Errorf("stored %q", got)
	}
	if err := put(b, "a1"); err != nil {
		t.Error("skipped:", err)
	}
	if err := put(b, "a2"); !errors.Is(err, objtest.ErrLost) {
		t.Error("after:", err)
	}
	if err := put(b, "z"); err != nil {
		t.Error("lie:", err)
	}
	if got := names(t, inner); got != "a1 a2" {
		t.Errorf("stored %q", got)
	}
	if n := len(b.Calls()); n != 5 {
		t.Errorf("%d calls noted", n)
	}
}

func TestFaultyReads(t *testing.T) {
	b := objtest.NewFaulty(mem.New())
	if err := put(b, "x"); err != nil {
		t.Fatal(err)
	}
	b.Add(objtest.Fault{Op: objtest.Get, How: objtest.Half}, objtest.Fault{Op: objtest.ReadAt, How: objtest.Half})
	r, err := b.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(r); string(data) != "01234" || !errors.Is(err, objtest.ErrLost) {
		t.Errorf("half a get: %q, %v", data, err)
	}
	p := make([]byte, 4)
	if err := b.ReadAt(t.Context(), "x", p, 0); string(p) != "01\x00\x00" || !errors.Is(err, objtest.ErrLost) {
		t.Errorf("half a read: %q, %v", p, err)
	}
	b.Clear()
	if err := b.ReadAt(t.Context(), "x", p, 0); err != nil {
		t.Error(err)
	}
}

func TestFaultyLists(t *testing.T) {
	b := objtest.NewFaulty(mem.New())
	for _, name := range []string{"a", "b"} {
		if err := put(b, name); err != nil {
			t.Fatal(err)
		}
	}
	waited := 0
	b.Add(objtest.Fault{Op: objtest.List, How: objtest.Stale, Times: 1},
		objtest.Fault{Op: objtest.List, How: objtest.Half, Times: 1},
		objtest.Fault{Op: objtest.List, How: objtest.Slow, Wait: func(context.Context) error { waited++; return nil }})
	if err := put(b, "c"); err != nil {
		t.Fatal(err)
	}
	if got := names(t, b); got != "a b" {
		t.Errorf("stale list %q", got)
	}
	if got := names(t, b); !strings.HasPrefix(got, "a list") {
		t.Errorf("half a list %q", got)
	}
	if got := names(t, b); got != "a b c" || waited != 1 {
		t.Errorf("list %q, waited %d times", got, waited)
	}
}
