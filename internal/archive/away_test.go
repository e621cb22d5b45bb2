package archive

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
)

// TestAway: what Watch finds unanswered for the timeout fails at once from then
// on, also for who waits for somebody that asked before, and works again when
// the bucket answers. What is known by heart stays known.
func TestAway(t *testing.T) {
	b := objtest.NewFaulty(mem.New())
	a := openArchive(t, b, Options{Timeout: 100 * time.Millisecond})
	known := createTable(t, a, "known")
	mustAppend(t, known, commitOf("1", 1, fake(t, known, mq.Queue{Broker: testQueue.Broker, Topic: "known"}, mq.Range{To: 10}, 1)))
	createTable(t, openArchive(t, b, Options{}), "unknown")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go a.Watch(ctx)

	back := make(chan struct{})
	hang := func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-back:
			return objstore.ErrNoAnswer
		}
	}
	b.Add(objtest.Fault{Wait: hang})
	asked := make(chan error, 2)
	for range 2 { // one asks the bucket, the other waits for it
		go func() { _, err := a.Table(ctx, "unknown"); asked <- err }()
	}
	if err := <-asked; !errors.Is(err, ErrUnavailable) {
		t.Errorf("who waits: %v", err)
	}
	for what, ask := range map[string]func() error{
		"topics":  func() error { _, err := a.Topics(ctx); return err },
		"refresh": func() error { _, err := known.Refresh(ctx); return err },
		"read":    func() error { return a.Bucket().ReadAt(ctx, "x", make([]byte, 1), 0) },
		"get":     func() error { _, err := a.Bucket().Get(ctx, "x"); return err },
		"head":    func() error { _, err := a.Bucket().Head(ctx, "x"); return err },
	} {
		if err := ask(); !errors.Is(err, ErrUnavailable) || Unreadable(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got, err := a.Table(ctx, "known"); err != nil || got != known {
		t.Errorf("a table that is open: %v", err)
	}
	b.Clear()
	close(back)
	if err := <-asked; !errors.Is(err, ErrUnavailable) || !errors.Is(err, objstore.ErrNoAnswer) {
		t.Errorf("who asked: %v", err)
	}
	for {
		if _, away := a.Away(); away == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if _, err := a.Topics(ctx); err != nil {
		t.Errorf("back: %v", err)
	}
}

// TestToldApart: a bucket's failure is ErrUnavailable, what it says of an object
// is not, and neither is the end of who asked.
func TestToldApart(t *testing.T) {
	b := objtest.NewFaulty(mem.New())
	a := openArchive(t, b, Options{})
	read := func(ctx context.Context) error { return a.Bucket().ReadAt(ctx, identityName, make([]byte, 1), 0) }
	for _, is := range []error{objstore.ErrDenied, objstore.ErrNoBucket, objstore.ErrNoAnswer, objtest.ErrLost} {
		b.Add(objtest.Fault{Op: objtest.ReadAt, Err: is, Times: 1})
		if err := read(t.Context()); !errors.Is(err, ErrUnavailable) || !errors.Is(err, is) {
			t.Errorf("%v: %v", is, err)
		}
	}
	for _, is := range []error{objstore.ErrNotFound, io.ErrUnexpectedEOF} {
		b.Add(objtest.Fault{Op: objtest.ReadAt, Err: is, Times: 1})
		if err := read(t.Context()); errors.Is(err, ErrUnavailable) || !errors.Is(err, is) {
			t.Errorf("%v: %v", is, err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := read(gone); errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("who asked is gone: %v", err)
	}
	b.Add(objtest.Fault{Op: objtest.Get, How: objtest.Half, Times: 1})
	r, err := a.Bucket().Get(t.Context(), identityName)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadAll(r); !errors.Is(err, ErrUnavailable) {
		t.Errorf("half an object: %v", err)
	}
}
