package connector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
)

var errDead = errors.New("the process is dead")

// dying is a bucket whose process dies at one of its calls, before or after
// the call took effect. From then on nothing gets through.
type dying struct {
	objstore.Bucket
	mu    sync.Mutex
	left  int
	after bool // the last call takes effect
	dead  chan struct{}
}

func newDying(b objstore.Bucket, calls int, after bool) *dying {
	return &dying{Bucket: b, left: calls, after: after, dead: make(chan struct{})}
}

func (d *dying) do(call func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left < 0 {
		return errDead
	}
	d.left--
	if d.left >= 0 {
		return call()
	}
	if d.after {
		_ = call()
	}
	close(d.dead)
	return errDead
}

func (d *dying) Get(ctx context.Context, name string) (r io.ReadCloser, err error) {
	err = d.do(func() error { r, err = d.Bucket.Get(ctx, name); return err })
	return r, err
}

func (d *dying) ReadAt(ctx context.Context, name string, p []byte, off int64) error {
	return d.do(func() error { return d.Bucket.ReadAt(ctx, name, p, off) })
}

func (d *dying) Put(ctx context.Context, name string, r io.Reader, size int64, c objstore.Cond) error {
	return d.do(func() error { return d.Bucket.Put(ctx, name, r, size, c) })
}

func (d *dying) Head(ctx context.Context, name string) (o objstore.Object, err error) {
	err = d.do(func() error { o, err = d.Bucket.Head(ctx, name); return err })
	return o, err
}

func (d *dying) Delete(ctx context.Context, name string) error {
	return d.do(func() error { return d.Bucket.Delete(ctx, name) })
}

func (d *dying) List(ctx context.Context, prefix string) iter.Seq2[objstore.Object, error] {
	if err := d.do(func() error { return nil }); err != nil {
		return func(yield func(objstore.Object, error) bool) { yield(objstore.Object{}, err) }
	}
	return d.Bucket.List(ctx, prefix)
}

// TestKilledAtEveryCall kills the process at one call to the bucket after the
// other, with what the disk had synced, and demands after each restart that
// what is archived was sent, and at the end that each message is there once.
func TestKilledAtEveryCall(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { killLoop(t, seed) })
	}
}

func killLoop(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	fs := vfs.NewCrashableMem()
	bucket, o := mem.New(), newOracle(seed)
	for calls := 2; calls < 120; calls += 1 + rng.IntN(5) {
		log := openLog(t, fs)
		o.send(t, log, 20+rng.IntN(200), 2, 2)
		if err := log.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		d := newDying(bucket, 1<<30, rng.IntN(2) == 0)
		c := start(t, log, d, nil)
		d.mu.Lock()
		d.left = calls
		d.mu.Unlock()
		o.send(t, log, rng.IntN(200), 2, 2)
		flushOrDie(c, d.dead)
		clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		c.stop()
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		fs = clone
		o.forgetLost(t, fs)
		o.check(t, bucket, false)
	}
	log := openLog(t, fs)
	defer log.Close()
	c := start(t, log, bucket, nil)
	c.mustFlush(t)
	o.check(t, bucket, true)
}

// flushOrDie waits until the process died, or has archived everything.
func flushOrDie(c *running, dead <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	flushed := make(chan error, 1)
	go func() { flushed <- c.Flush(ctx) }()
	select {
	case <-dead:
	case <-flushed:
	}
}

// forgetLost drops from the oracle what an asynchronous flush lost in the
// crash; none of it may be archived.
func (o *oracle) forgetLost(t *testing.T, fs vfs.FS) {
	t.Helper()
	log := openLog(t, fs)
	defer log.Close()
	for q, sent := range o.sent {
		r, err := log.Range(t.Context(), q)
		if err != nil && !errors.Is(err, mq.ErrNoQueue) {
			t.Fatal(err)
		}
		if r.To < int64(len(sent)) {
			o.sent[q] = sent[:r.To]
		}
	}
}
