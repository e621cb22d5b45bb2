package history

import (
	"bytes"
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/mq/mqtest"
	"varve/internal/objstore"
	"varve/internal/objstore/fs"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
)

func TestNodeConformance(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"roomy":       nil,
		"tiny caches": func(c *Config) { c.MemoryBytes, c.DiskBytes, c.ReadAheadTotal, c.Requests = 1, 1, 1, 1 },
		"disk only":   func(c *Config) { c.MemoryBytes = 1 },
		"paced":       func(c *Config) { c.BytesPerSecond = 1 << 30 },
	} {
		t.Run(name, func(t *testing.T) {
			mqtest.Run(t, func(t *testing.T, in []mq.Message) (mq.Reader, []mq.Message) {
				b := mem.New()
				store(t, openArchive(t, b), mqtest.Broker, in, 200)
				return newNode(t, openArchive(t, b), change), in
			})
		})
	}
}

func TestNodeConformanceOnDirectory(t *testing.T) {
	mqtest.Run(t, func(t *testing.T, in []mq.Message) (mq.Reader, []mq.Message) {
		b, err := fs.New(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		a := openArchive(t, b)
		store(t, a, mqtest.Broker, in, 500)
		return newNode(t, a, nil), in
	})
}

func TestClientConformance(t *testing.T) {
	for name, rangeFor := range map[string]time.Duration{"ranges asked": -1, "ranges kept": time.Hour} {
		t.Run(name, func(t *testing.T) {
			mqtest.Run(t, func(t *testing.T, in []mq.Message) (mq.Reader, []mq.Message) {
				b := mem.New()
				a := openArchive(t, b)
				store(t, a, mqtest.Broker, in, 300)
				c := NewClient(serve(t, ServerConfig{Broker: mqtest.Broker}, newNode(t, a, nil)), ClientConfig{RangeFor: rangeFor})
				t.Cleanup(func() { c.Close() })
				return c, in
			})
		})
	}
}

// readers counts what is read of a bucket.
func readCalls(f *objtest.Faulty) (n int) {
	for _, c := range f.Calls() {
		if c.Op == objtest.ReadAt {
			n++
		}
	}
	return n
}

func TestSecondReadIsServedFromTheCache(t *testing.T) {
	inner := mem.New()
	store(t, openArchive(t, inner), broker, plain("t", 0, 5000, time.Unix(0, 0)), 1000)
	bucket := objtest.NewFaulty(inner)
	n := newNode(t, openArchive(t, bucket), func(c *Config) { c.Reader = archive.ReaderOptions{OpenFiles: 1, CursorBytes: 1} })
	q := mq.Queue{Broker: broker, Topic: "t"}
	read := func() {
		for at := int64(0); at < 5000; {
			b, err := n.Read(t.Context(), q, at, mq.Limit{Messages: 100})
			if err != nil {
				t.Fatal(err)
			}
			at = b.Next
		}
	}
	bucket.Calls()
	read()
	first := readCalls(bucket)
	read()
	if second := readCalls(bucket); first == 0 || second != 0 {
		t.Errorf("%d requests at first, %d after", first, second)
	}
	if first > 20 {
		t.Errorf("%d requests for five files", first)
	}
	if s := n.Stats(); s.MemoryHits == 0 || s.FetchedBytes == 0 {
		t.Errorf("%+v", s)
	}
}

func TestCacheReadsRanges(t *testing.T) {
	inner := mem.New()
	object := make([]byte, 5*blockBytes+1234)
	for i := range object {
		object[i] = byte(i * 7 >> 3)
	}
	if err := inner.Put(t.Context(), "o", bytes.NewReader(object), int64(len(object)), objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Dir: t.TempDir(), MemoryBytes: 2 * blockBytes, DiskBytes: 3 * blockBytes}.withDefaults()
	c, err := newCache(cfg, inner, make(chan struct{}, 4), nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 60 {
				off := (i*7919 + g*104729) * 31 % len(object)
				n := min(len(object)-off, 1+(i*i*977)%(2*blockBytes))
				p := make([]byte, n)
				if err := c.ReadAt(t.Context(), "o", p, int64(off)); err != nil || !bytes.Equal(p, object[off:off+n]) {
					t.Errorf("range %d+%d: %v", off, n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if s := c.figures(); s.MemoryBytes > cfg.MemoryBytes || s.DiskBytes > cfg.DiskBytes {
		t.Errorf("over budget: %+v", s)
	}
	if err := c.ReadAt(t.Context(), "o", make([]byte, 2), int64(len(object))-1); err == nil {
		t.Error("a read past the end succeeded")
	}
	if err := c.ReadAt(t.Context(), "none", make([]byte, 2), 0); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("absent object: %v", err)
	}
}

func TestDamagedDiskBlockIsFetchedAgain(t *testing.T) {
	inner := mem.New()
	object := bytes.Repeat([]byte("varve"), blockBytes/2)
	if err := inner.Put(t.Context(), "o", bytes.NewReader(object), int64(len(object)), objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
	c, err := newCache(Config{Dir: t.TempDir(), MemoryBytes: 1}.withDefaults(), inner, make(chan struct{}, 4), nil)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, len(object))
	for range 2 {
		if err := c.ReadAt(t.Context(), "o", p, 0); err != nil || !bytes.Equal(p, object) {
			t.Fatal(err)
		}
		files, err := os.ReadDir(c.dir)
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, f := range files {
			if err := os.WriteFile(c.dir+"/"+f.Name(), bytes.Repeat([]byte("x"), 100), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestLocalFileIsPinned(t *testing.T) {
	inner := mem.New()
	a := openArchive(t, inner)
	store(t, a, broker, plain("t", 0, 3000, time.Unix(0, 0)), 1000)
	q := mq.Queue{Broker: broker, Topic: "t"}
	tbl, err := a.Table(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	files := tbl.Index().Files(q, mq.Range{To: 3000})
	n := newNode(t, a, func(c *Config) { c.FileBytes = files[0].Bytes*2 + 100 })
	var release []func()
	for _, f := range files[:2] {
		path, free, err := n.LocalFile(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(path); err != nil || st.Size() != f.Bytes || !n.Pinned(f.Name) {
			t.Fatalf("%s: %v", path, err)
		}
		release = append(release, free)
	}
	if _, _, err := n.LocalFile(t.Context(), files[2]); !errors.Is(err, ErrCacheFull) {
		t.Fatalf("third file: %v", err)
	}
	again, free, err := n.LocalFile(t.Context(), files[0])
	if err != nil {
		t.Fatal(err)
	}
	release[0]()
	release[0]()
	if !n.Pinned(files[0].Name) {
		t.Error("the second lease is gone with the first")
	}
	free()
	path, free, err := n.LocalFile(t.Context(), files[2])
	if err != nil || path == again {
		t.Fatal(path, err)
	}
	free()
	release[1]()
	if n.Pinned(files[1].Name) {
		t.Error("still pinned")
	}
	if _, _, err := n.LocalFile(t.Context(), archive.DataFile{Name: files[0].Name, Bytes: 1}); err == nil {
		// the file was evicted and its length is wrong now
		t.Error("a file of another length was accepted")
	}
}

// TestBadCopyIsFetchedAgain: what SQL says is bad may be the copy alone.
func TestBadCopyIsFetchedAgain(t *testing.T) {
	a := openArchive(t, mem.New())
	store(t, a, broker, plain("t", 0, 50, time.Unix(0, 0)), 50)
	tbl, err := a.Table(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	f := tbl.Index().All()[0]
	n := newNode(t, a, func(c *Config) { c.FileBytes = f.Bytes + 100 })
	lease := func() (string, []byte) {
		path, free, err := n.LocalFile(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		defer free()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return path, data
	}
	path, good := lease()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), len(good)), 0o600); err != nil {
		t.Fatal(err)
	}
	n.NoteBad(t.Context(), "t", f.Name, "it is not Parquet")
	if now, data := lease(); now == path || !bytes.Equal(data, good) {
		t.Errorf("%s after %s: the bad copy was given again", now, path)
	}
}

func TestReadsWaitTheirTurn(t *testing.T) {
	inner := mem.New()
	store(t, openArchive(t, inner), broker, plain("t", 0, 10, time.Unix(0, 0)), 10)
	n := newNode(t, openArchive(t, inner), func(c *Config) { c.Reads = 1 })
	leave, err := n.lane.enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Read(ctx, mq.Queue{Broker: broker, Topic: "t"}, 0, mq.Limit{}); !errors.Is(err, context.Canceled) {
		t.Errorf("read without a place: %v", err)
	}
	leave()
	if _, err := n.Read(t.Context(), mq.Queue{Broker: broker, Topic: "t"}, 0, mq.Limit{}); err != nil {
		t.Error(err)
	}
}

// A node in another process sees commits by polling, of tables in use.
func TestNodeFollowsCommits(t *testing.T) {
	inner := mem.New()
	writer := openArchive(t, inner)
	now := time.Unix(1000, 0)
	bucket := objtest.NewFaulty(inner)
	n := newNode(t, openArchive(t, bucket), func(c *Config) { c.Now = func() time.Time { return now } })
	q := mq.Queue{Broker: broker, Topic: "t"}
	msgs := plain("t", 0, 20, time.Unix(0, 0))
	store(t, writer, broker, msgs[:10], 10)
	if r, err := n.Range(t.Context(), q); err != nil || r.To != 10 {
		t.Fatal(r, err)
	}
	store(t, writer, broker, msgs[10:], 10)
	n.refresh(t.Context())
	if r, err := n.Range(t.Context(), q); err != nil || r.To != 20 {
		t.Fatal(r, err)
	}
	now = now.Add(usedFor + time.Second)
	n.refresh(t.Context())
	bucket.Calls()
	n.refresh(t.Context())
	if calls := bucket.Calls(); len(calls) > 0 {
		t.Errorf("polls a table that nobody reads: %v", calls)
	}
}
