package objtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"varve/internal/objstore"
)

// Run holds the buckets that make gives, each of them empty, to the contract.
func Run(t *testing.T, make func(t *testing.T) objstore.Bucket) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(*testing.T, objstore.Bucket)
	}{
		{"RoundTrip", roundTrip},
		{"Ranges", ranges},
		{"Absent", absent},
		{"Conditions", conditions},
		{"Race", race},
		{"ShortInput", shortInput},
		{"List", list},
		{"Names", names},
		{"Context", contexts},
		{"Concurrent", concurrent},
		{"Probe", probe},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, make(t)) })
	}
}

func put(t *testing.T, b objstore.Bucket, name, data string, c objstore.Cond) error {
	t.Helper()
	return b.Put(t.Context(), name, strings.NewReader(data), int64(len(data)), c)
}

func mustPut(t *testing.T, b objstore.Bucket, name, data string) {
	t.Helper()
	if err := put(t, b, name, data, objstore.Always); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, b objstore.Bucket, name string) string {
	t.Helper()
	r, err := b.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func roundTrip(t *testing.T, b objstore.Bucket) {
	if strings.HasSuffix(b.URL(), "/") || !strings.Contains(b.URL(), "://") {
		t.Errorf("url %q", b.URL())
	}
	for _, size := range []int{0, 1, 4096, 1 << 20, 3<<20 + 17} {
		data := strings.Repeat("0123456789abcde", size/15+1)[:size]
		name := fmt.Sprintf("dir/sub/%d.bin", size)
		if err := put(t, b, name, data, objstore.IfAbsent); err != nil {
			t.Fatal(err)
		}
		if got := content(t, b, name); got != data {
			t.Errorf("%s: %d bytes back, put %d", name, len(got), len(data))
		}
		o, err := b.Head(t.Context(), name)
		if err != nil || o.Name != name || o.Size != int64(size) || o.Modified.IsZero() {
			t.Errorf("head %s: %+v, %v", name, o, err)
		}
	}
	mustPut(t, b, "dir/sub/1.bin", "other content")
	if got := content(t, b, "dir/sub/1.bin"); got != "other content" {
		t.Errorf("after overwriting: %q", got)
	}
	if err := b.Delete(t.Context(), "dir/sub/1.bin"); err != nil {
		t.Error(err)
	}
	if _, err := b.Head(t.Context(), "dir/sub/1.bin"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("head of a deleted object: %v", err)
	}
}

func ranges(t *testing.T, b objstore.Bucket) {
	mustPut(t, b, "x", "0123456789")
	for _, c := range []struct {
		off  int64
		n    int
		want string
	}{{0, 10, "0123456789"}, {3, 4, "3456"}, {9, 1, "9"}, {0, 1, "0"}, {4, 0, ""}} {
		p := make([]byte, c.n)
		if err := b.ReadAt(t.Context(), "x", p, c.off); err != nil || string(p) != c.want {
			t.Errorf("%d at %d: %q, %v", c.n, c.off, p, err)
		}
	}
	for _, c := range []struct {
		off int64
		n   int
	}{{0, 11}, {9, 2}, {10, 1}, {100, 5}} {
		if err := b.ReadAt(t.Context(), "x", make([]byte, c.n), c.off); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d at %d: %v, want io.ErrUnexpectedEOF", c.n, c.off, err)
		}
	}
}

func absent(t *testing.T, b objstore.Bucket) {
	mustPut(t, b, "a/b", "x")
	for _, name := range []string{"none", "a", "a/b/c", "a/none"} {
		if _, err := b.Get(t.Context(), name); !errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("get %s: %v", name, err)
		}
		if err := b.ReadAt(t.Context(), name, make([]byte, 1), 0); !errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("read %s: %v", name, err)
		}
		if _, err := b.Head(t.Context(), name); !errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("head %s: %v", name, err)
		}
		if err := b.Delete(t.Context(), name); err != nil {
			t.Errorf("delete %s: %v", name, err)
		}
	}
	if got := content(t, b, "a/b"); got != "x" {
		t.Errorf("a/b is %q", got)
	}
}

func conditions(t *testing.T, b objstore.Bucket) {
	if err := put(t, b, "x", "first", objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
	if err := put(t, b, "x", "second", objstore.IfAbsent); !errors.Is(err, objstore.ErrExists) {
		t.Errorf("second create-only put: %v", err)
	}
	if got := content(t, b, "x"); got != "first" {
		t.Errorf("a refused put changed the object to %q", got)
	}
	mustPut(t, b, "x", "third")
	if err := put(t, b, "x", "fourth", objstore.IfAbsent); !errors.Is(err, objstore.ErrExists) {
		t.Errorf("create-only put of an overwritten object: %v", err)
	}
	if err := b.Delete(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if err := put(t, b, "x", "fifth", objstore.IfAbsent); err != nil {
		t.Errorf("create-only put after a delete: %v", err)
	}
}

func race(t *testing.T, b objstore.Bucket) {
	const writers = 16
	var won atomic.Int64
	var winner atomic.Value
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			data := fmt.Sprintf("writer %02d", i)
			switch err := b.Put(t.Context(), "prize", strings.NewReader(data), int64(len(data)), objstore.IfAbsent); {
			case err == nil:
				won.Add(1)
				winner.Store(data)
			case !errors.Is(err, objstore.ErrExists):
				t.Errorf("writer %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d of %d create-only puts succeeded", won.Load(), writers)
	}
	if got := content(t, b, "prize"); got != winner.Load() {
		t.Errorf("the object is %q, %q won", got, winner.Load())
	}
}

func shortInput(t *testing.T, b objstore.Bucket) {
	if err := b.Put(t.Context(), "short", strings.NewReader("abc"), 5, objstore.Always); err == nil {
		t.Error("a put of 3 bytes for 5 succeeded")
	}
	if _, err := b.Head(t.Context(), "short"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("a part of an object is visible: %v", err)
	}
	broken := errors.New("source broke")
	r := io.MultiReader(strings.NewReader("abc"), &errReader{broken})
	if err := b.Put(t.Context(), "short", r, 5, objstore.IfAbsent); err == nil {
		t.Error("a put from a broken reader succeeded")
	}
	if _, err := b.Head(t.Context(), "short"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("a part of an object is visible: %v", err)
	}
	if err := b.Put(t.Context(), "long", strings.NewReader("abcdef"), 4, objstore.Always); err != nil {
		t.Error(err)
	} else if got := content(t, b, "long"); got != "abcd" {
		t.Errorf("a put of 4 bytes stored %q", got)
	}
}

type errReader struct{ err error }

func (r *errReader) Read([]byte) (int, error) { return 0, r.err }

func list(t *testing.T, b objstore.Bucket) {
	all := []string{"a-b/x", "a/b/c", "a/b/d", "a/b.c", "a0", "b/a", "z~!_"}
	slices.Sort(all)
	for _, name := range all {
		mustPut(t, b, name, name)
	}
	for _, prefix := range []string{"", "a", "a/", "a/b", "a/b/", "a/b/c", "none", "b/", "a-"} {
		var want, got []string
		for _, name := range all {
			if strings.HasPrefix(name, prefix) {
				want = append(want, name)
			}
		}
		for o, err := range b.List(t.Context(), prefix) {
			if err != nil {
				t.Fatal(err)
			}
			if o.Size != int64(len(o.Name)) || o.Modified.IsZero() {
				t.Errorf("listed %+v", o)
			}
			got = append(got, o.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("list %q: %q, want %q", prefix, got, want)
		}
	}
	n := 0
	for range b.List(t.Context(), "") {
		if n++; n == 2 {
			break
		}
	}
}

func names(t *testing.T, b objstore.Bucket) {
	for _, name := range []string{
		"", "/a", "a/", "a//b", "../a", "a/../b", ".", "a/.", ".hidden", "a\x00b", "a\\b", "ö",
		strings.Repeat("x", objstore.MaxPartLen+1), strings.Repeat("a/", 600) + "b",
	} {
		if err := put(t, b, name, "x", objstore.Always); !errors.Is(err, objstore.ErrBadName) {
			t.Errorf("put %.20q: %v", name, err)
		}
		if _, err := b.Get(t.Context(), name); !errors.Is(err, objstore.ErrBadName) {
			t.Errorf("get %.20q: %v", name, err)
		}
		if err := b.Delete(t.Context(), name); !errors.Is(err, objstore.ErrBadName) {
			t.Errorf("delete %.20q: %v", name, err)
		}
	}
	for _, name := range []string{"a b", "!25RETRY!25g", "x.y-z_0", "a/.b", "a=b+c", strings.Repeat("x", objstore.MaxPartLen)} {
		mustPut(t, b, name, name)
		if got := content(t, b, name); got != name {
			t.Errorf("%q holds %q", name, got)
		}
	}
}

func contexts(t *testing.T, b objstore.Bucket) {
	mustPut(t, b, "x", "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Get(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("get: %v", err)
	}
	if err := b.ReadAt(ctx, "x", make([]byte, 1), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("read: %v", err)
	}
	if err := b.Put(ctx, "y", strings.NewReader("y"), 1, objstore.IfAbsent); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	if _, err := b.Head(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("head: %v", err)
	}
	if err := b.Delete(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("delete: %v", err)
	}
	for _, err := range b.List(ctx, "") {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("list: %v", err)
		}
	}
	if got := content(t, b, "x"); got != "x" {
		t.Errorf("x is %q", got)
	}
}

func concurrent(t *testing.T, b objstore.Bucket) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 10 {
				name := fmt.Sprintf("c/%d/%d", i, j)
				data := []byte(strings.Repeat(name, 100))
				if err := b.Put(t.Context(), name, bytes.NewReader(data), int64(len(data)), objstore.IfAbsent); err != nil {
					t.Error(err)
					return
				}
				got := make([]byte, len(data))
				if err := b.ReadAt(t.Context(), name, got, 0); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	wg.Wait()
	n := 0
	for _, err := range b.List(t.Context(), "c/") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 80 {
		t.Errorf("%d of 80 objects listed", n)
	}
}

func probe(t *testing.T, b objstore.Bucket) {
	if err := objstore.Probe(t.Context(), b); err != nil {
		t.Error(err)
	}
	for o := range b.List(t.Context(), "") {
		t.Errorf("probe left %s", o.Name)
	}
}
