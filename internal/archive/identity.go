package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"varve/internal/objstore"
)

// Limits of checking which archive it is.
const (
	// lookAgain is how often callers have it checked while it is another one.
	lookAgain = 100 * time.Millisecond
	// watchEvery is how often Watch does.
	watchEvery = time.Second
)

// Check looks whether the bucket still holds the archive that was opened.
// ErrIdentity says that it doesn't: another archive, or none, was put in its
// place. From then on nothing is read and nothing is written until a Check finds
// the right one again; what was known of it is then read anew. An error of the
// bucket changes nothing.
func (a *Archive) Check(ctx context.Context) error {
	g := &a.gate
	g.mu.Lock()
	if !g.open {
		g.mu.Unlock()
		return a.notOpen()
	}
	g.asked++
	g.checked = time.Now()
	turn, want := g.asked, g.identity
	g.mu.Unlock()

	foreign, err := a.foreign(ctx, want)
	if err != nil {
		return err
	}
	g.mu.Lock()
	changed := false
	if turn > g.answered { // a slow answer says nothing beside a newer one
		changed = (foreign == nil) != (g.foreign == nil)
		g.answered, g.foreign = turn, foreign
	}
	g.mu.Unlock()
	if changed {
		a.forget()
		if foreign != nil {
			a.opts.Logger.Error("another archive is in place of this one: nothing is read from it or written to it", slog.Any("err", foreign))
		} else {
			a.opts.Logger.Info("the archive is back", slog.String("bucket", a.bucket.URL()), slog.String("archive", want))
		}
	}
	return foreign
}

// foreign says why what is in the bucket is not the archive wanted, nil where it
// is. What is wrong with the object is told and not wrapped: it says nothing
// about a table.
func (a *Archive) foreign(ctx context.Context, want string) (foreign, err error) {
	data, err := getObject(ctx, a.raw, identityName, 1<<10)
	switch {
	case errors.Is(err, objstore.ErrNotFound), errors.Is(err, objstore.ErrNoBucket):
		return fmt.Errorf("%w: %w: %s: %s is wanted, no archive is there", ErrUnavailable, ErrIdentity, a.bucket.URL(), want), nil
	case errors.Is(err, ErrDamaged):
		return fmt.Errorf("%w: %w: %s: %s is wanted, and %v", ErrUnavailable, ErrIdentity, a.bucket.URL(), want, err), nil
	case err != nil:
		return nil, fmt.Errorf("check which archive is in %s: %w", a.bucket.URL(), err)
	}
	var have identityFile
	if err := json.Unmarshal(data, &have); err != nil || have.ID == "" {
		return fmt.Errorf("%w: %w: %s: %s is wanted, %s holds no identity (%v)", ErrUnavailable, ErrIdentity, a.bucket.URL(), want, identityName, err), nil
	}
	if have.ID != want {
		return fmt.Errorf("%w: %w: %s: %s is wanted, %s is there", ErrUnavailable, ErrIdentity, a.bucket.URL(), want, have.ID), nil
	}
	return nil, nil
}

// ready is notOpen, with a new look from time to time where another archive is
// in this one's place.
func (a *Archive) ready(ctx context.Context) error {
	a.gate.mu.RLock()
	again := a.gate.foreign != nil && time.Since(a.gate.checked) >= lookAgain
	a.gate.mu.RUnlock()
	if again && a.away() == nil {
		if err := a.Check(ctx); err != nil {
			return err
		}
	}
	return a.notOpen()
}

// Foreign is why the last Check found another archive in this one's place, nil
// where it did not.
func (a *Archive) Foreign() error {
	a.gate.mu.RLock()
	defer a.gate.mu.RUnlock()
	return a.gate.foreign
}

// Watch checks once a second until ctx ends. What it finds unanswered for
// Options.Timeout makes whatever needs the bucket fail at once, until it is
// answered again.
func (a *Archive) Watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		a.gate.asking()
		within, cancel := context.WithTimeoutCause(ctx, a.opts.Timeout, fmt.Errorf("%w within %s", objstore.ErrNoAnswer, a.opts.Timeout))
		err := a.Check(within)
		cancel()
		if ctx.Err() == nil {
			a.heard(err)
		}
	}
}

// ours is the error of reading something of the archive. What was read, or
// found damaged or missing, counts only if it is this archive's; a bucket that
// fails is not asked again.
func (a *Archive) ours(ctx context.Context, err error) error {
	if err != nil && !Unreadable(err) && !errors.Is(err, ErrNoTable) && !errors.Is(err, objstore.ErrNoBucket) {
		return err
	}
	if other := a.Check(ctx); other != nil && (err == nil || errors.Is(other, ErrIdentity)) {
		return other
	}
	return err
}

// blame gives ErrIdentity in place of an error that another archive in this
// one's place explains: what is not there, or is not what it was.
func (a *Archive) blame(ctx context.Context, err error) error {
	if err == nil || !Unreadable(err) && !errors.Is(err, ErrNoFile) {
		return err
	}
	if other := a.Check(ctx); errors.Is(other, ErrIdentity) {
		return other
	}
	return err
}

// forget lets go of every open table.
func (a *Archive) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tables = map[string]*tableSlot{}
}
