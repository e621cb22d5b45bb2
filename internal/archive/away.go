package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"time"

	"varve/internal/objstore"
)

// asking notes that the bucket was asked something.
func (g *gate) asking() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.unanswered.IsZero() {
		g.unanswered = time.Now()
	}
}

// heard notes what came of that. Which archive is there is an answer too.
func (a *Archive) heard(err error) {
	was := a.away()
	a.gate.mu.Lock()
	if err == nil || errors.Is(err, ErrIdentity) {
		a.gate.unanswered, a.gate.silence = time.Time{}, nil
	} else {
		a.gate.silence = err
	}
	a.gate.mu.Unlock()
	switch is := a.away(); {
	case was == nil && is != nil:
		a.opts.Logger.Error("the archive's bucket does not answer: what needs it fails until it does", slog.Any("err", is))
	case was != nil && is == nil:
		a.opts.Logger.Info("the archive's bucket answers again", slog.String("bucket", a.raw.URL()))
	}
}

// Away is since when and why the bucket does not answer (ErrUnavailable), nil
// while it does. Only Watch finds it out.
func (a *Archive) Away() (since time.Time, err error) {
	g := &a.gate
	g.mu.RLock()
	since, why := g.unanswered, g.silence
	g.mu.RUnlock()
	if since.IsZero() || time.Since(since) < a.opts.Timeout {
		return time.Time{}, nil
	}
	if why == nil {
		why = objstore.ErrNoAnswer
	}
	return since, fmt.Errorf("%w: %s has not answered since %s: %v", ErrUnavailable, a.raw.URL(), since.UTC().Format(time.RFC3339), why)
}

func (a *Archive) away() error {
	_, err := a.Away()
	return err
}

// turn lets one caller at a time do what needs the bucket.
type turn chan struct{}

// lookAway is how often who waits for a turn looks whether the bucket is away.
const lookAway = 100 * time.Millisecond

func newTurn() turn { return make(turn, 1) }

// take waits for the turn, but not for somebody who waits for a bucket that is
// away.
func (t turn) take(ctx context.Context, away func() error) error {
	select {
	case t <- struct{}{}:
		return nil
	default:
	}
	look := time.NewTicker(lookAway)
	defer look.Stop()
	for {
		select {
		case t <- struct{}{}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
			if err := away(); err != nil {
				return err
			}
		}
	}
}

func (t turn) leave() { <-t }

// answering is a bucket of which nothing is read while it is away, and whose
// failures to answer are ErrUnavailable.
type answering struct {
	objstore.Bucket
	a *Archive
}

// answeringFiles is one whose objects are files of this machine.
type answeringFiles struct {
	answering
	files interface{ Path(name string) string }
}

func (b answeringFiles) Path(name string) string { return b.files.Path(name) }

func guarded(a *Archive, b objstore.Bucket) objstore.Bucket {
	if files, ok := b.(interface{ Path(name string) string }); ok {
		return answeringFiles{answering{b, a}, files}
	}
	return answering{b, a}
}

// told tells what a store says of an object from a store that says nothing of
// it.
func (b answering) told(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	for _, e := range []error{objstore.ErrNotFound, objstore.ErrBadName, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, e) {
			return err
		}
	}
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, b.a.raw.URL(), err)
}

func (b answering) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := b.a.away(); err != nil {
		return nil, err
	}
	r, err := b.Bucket.Get(ctx, name)
	if err != nil {
		return nil, b.told(ctx, err)
	}
	return answeringBody{r, b, ctx}, nil
}

type answeringBody struct {
	io.ReadCloser
	b   answering
	ctx context.Context // of the Get
}

func (r answeringBody) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	return n, r.b.told(r.ctx, err)
}

// Locks implements objstore.Locker, as the bucket does.
func (b answering) Locks(ctx context.Context) (bool, error) {
	if err := b.a.away(); err != nil {
		return false, err
	}
	return objstore.LockerOf(b.Bucket).Locks(ctx)
}

// Locked implements objstore.Locker.
func (b answering) Locked(ctx context.Context, name string) (bool, error) {
	if err := b.a.away(); err != nil {
		return false, err
	}
	return objstore.LockerOf(b.Bucket).Locked(ctx, name)
}

// SetLock implements objstore.Locker.
func (b answering) SetLock(ctx context.Context, name string, on bool) error {
	return objstore.LockerOf(b.Bucket).SetLock(ctx, name, on)
}

func (b answering) ReadAt(ctx context.Context, name string, p []byte, off int64) error {
	if err := b.a.away(); err != nil {
		return err
	}
	return b.told(ctx, b.Bucket.ReadAt(ctx, name, p, off))
}

func (b answering) Head(ctx context.Context, name string) (objstore.Object, error) {
	if err := b.a.away(); err != nil {
		return objstore.Object{}, err
	}
	o, err := b.Bucket.Head(ctx, name)
	return o, b.told(ctx, err)
}

func (b answering) List(ctx context.Context, prefix string) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		if err := b.a.away(); err != nil {
			yield(objstore.Object{}, err)
			return
		}
		for o, err := range b.Bucket.List(ctx, prefix) {
			if !yield(o, b.told(ctx, err)) {
				return
			}
		}
	}
}
