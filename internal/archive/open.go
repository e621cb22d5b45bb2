package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"varve/internal/objstore"
)

// gate keeps callers out of an archive whose bucket was not reached yet.
type gate struct {
	connecting sync.Mutex // one Connect at a time

	mu       sync.RWMutex
	open     bool
	identity string
	why      error // of the last Connect; nil before the first
	// foreign is what the newest Check said; asked and answered number them.
	foreign         error
	asked, answered int64
	checked         time.Time // when the newest Check began
	// unanswered is when the first of Watch's looks began that nobody answered,
	// zero where the last one was, and silence what the last of them met with.
	unanswered time.Time
	silence    error
}

// formatFile is the content of formatName.
type formatFile struct {
	Format int `json:"format"`
}

// identityFile is the content of identityName.
type identityFile struct {
	ID string `json:"id"`
}

// New makes an archive without a look at its bucket. Until Connect has succeeded
// everything that needs the bucket fails with ErrUnavailable.
func New(b objstore.Bucket, o Options) *Archive {
	a := &Archive{raw: b, opts: o.withDefaults(), tables: map[string]*tableSlot{}}
	a.bucket = guarded(a, b)
	return a
}

// Open is New and Connect.
func Open(ctx context.Context, b objstore.Bucket, o Options) (*Archive, error) {
	a := New(b, o)
	if err := a.Connect(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// Connect checks that the bucket is safe to commit to (objstore.Probe), holds
// the archive that was asked for, and is of a format that this version knows.
// After an error it may be called again.
func (a *Archive) Connect(ctx context.Context) error {
	a.gate.connecting.Lock()
	defer a.gate.connecting.Unlock()
	if a.notOpen() == nil {
		return nil
	}
	identity, err := a.connect(ctx)
	a.gate.mu.Lock()
	defer a.gate.mu.Unlock()
	a.gate.why = err
	if err == nil {
		a.gate.open, a.gate.identity = true, identity
	}
	return err
}

func (a *Archive) connect(ctx context.Context) (identity string, err error) {
	if a.opts.Identity != "" { // nothing is written where another one is, or none
		if _, err = a.identify(ctx); err != nil {
			return "", fmt.Errorf("open archive %s: %w", a.bucket.URL(), err)
		}
	}
	if err := objstore.Probe(ctx, a.raw); err != nil {
		return "", fmt.Errorf("open archive: %w", err)
	}
	if identity, err = a.identify(ctx); err == nil {
		err = a.checkFormat(ctx)
	}
	if err == nil && a.opts.OnOpen != nil {
		err = a.opts.OnOpen(identity)
	}
	if err != nil {
		return "", fmt.Errorf("open archive %s: %w", a.bucket.URL(), err)
	}
	return identity, nil
}

// notOpen says why nothing can be asked of the archive, nil where it can. What
// Connect failed with is told and not wrapped: it says nothing about a table.
func (a *Archive) notOpen() error {
	a.gate.mu.RLock()
	defer a.gate.mu.RUnlock()
	switch {
	case a.gate.foreign != nil:
		return a.gate.foreign
	case a.gate.open:
		return nil
	case a.gate.why == nil:
		return fmt.Errorf("%w: %s has not been reached", ErrUnavailable, a.bucket.URL())
	}
	return fmt.Errorf("%w: %s: %v", ErrUnavailable, a.bucket.URL(), a.gate.why)
}

func (a *Archive) checkFormat(ctx context.Context) error {
	data, err := json.Marshal(formatFile{FormatVersion})
	if err != nil {
		return err
	}
	err = putObject(ctx, a.raw, formatName, data)
	if err == nil || !errors.Is(err, objstore.ErrExists) {
		return err
	}
	if data, err = getObject(ctx, a.raw, formatName, 1<<10); err != nil {
		return err
	}
	var have formatFile
	if err := json.Unmarshal(data, &have); err != nil {
		return damaged(formatName, "%w", err)
	}
	if have.Format != FormatVersion {
		return fmt.Errorf("%w: version %d, this program knows %d", ErrFormat, have.Format, FormatVersion)
	}
	return nil
}

// Identity is the archive's own name, random and the same for as long as it
// lives; copies of it have it too. It is "" until the archive is open.
func (a *Archive) Identity() string {
	a.gate.mu.RLock()
	defer a.gate.mu.RUnlock()
	return a.gate.identity
}

// identify reads the archive's identity, and gives it one where it has none. A
// place that lacks the archive asked for is left as it is.
func (a *Archive) identify(ctx context.Context) (identity string, err error) {
	var have identityFile
	data, err := getObject(ctx, a.raw, identityName, 1<<10)
	if errors.Is(err, objstore.ErrNotFound) && a.opts.Identity == "" {
		if data, err = json.Marshal(identityFile{uuid.NewString()}); err != nil {
			return "", err
		}
		err = putObject(ctx, a.raw, identityName, data)
		if errors.Is(err, objstore.ErrExists) { // another process was faster, or our own lost try
			data, err = getObject(ctx, a.raw, identityName, 1<<10)
		}
	}
	if err != nil && !errors.Is(err, objstore.ErrNotFound) {
		return "", err
	}
	if err == nil {
		if err := json.Unmarshal(data, &have); err != nil || have.ID == "" {
			return "", damaged(identityName, "no identity in it (%v)", err)
		}
	}
	switch want := a.opts.Identity; {
	case want == "" || want == have.ID:
		return have.ID, nil
	case have.ID == "":
		return "", fmt.Errorf("%w: %s is wanted, no archive is there", ErrIdentity, want)
	default:
		return "", fmt.Errorf("%w: %s is wanted, %s is there", ErrIdentity, want, have.ID)
	}
}
