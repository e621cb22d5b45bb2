package objstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrUnsafe says that a store breaks what the archive rests on, such as
// ignoring the condition of a create-only Put.
var ErrUnsafe = errors.New("object store is not safe for the archive")

// probePrefix is where Probe puts its object.
const probePrefix = "_varve/probe/"

// Probe checks, by one object that it removes again, that a bucket can be
// written, read, listed and deleted from, that a create-only Put of a taken name
// fails, and that it leaves the object as it was.
func Probe(ctx context.Context, b Bucket) (err error) {
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	name := probePrefix + hex.EncodeToString(id[:])
	first, second := []byte("first writer"), []byte("second writer")
	if err := b.Put(ctx, name, bytes.NewReader(first), int64(len(first)), IfAbsent); err != nil {
		return fmt.Errorf("probe %s: %w", b.URL(), err)
	}
	defer func() {
		// A left-over probe object harms nobody, but that none may be deleted does.
		if e := b.Delete(context.WithoutCancel(ctx), name); err == nil && errors.Is(e, ErrDenied) {
			err = fmt.Errorf("probe %s: %w", b.URL(), e)
		}
	}()
	err = b.Put(ctx, name, bytes.NewReader(second), int64(len(second)), IfAbsent)
	if err == nil {
		return fmt.Errorf("probe %s: %w: a create-only put of a taken name succeeded; the store ignores If-None-Match", b.URL(), ErrUnsafe)
	}
	if !errors.Is(err, ErrExists) {
		return fmt.Errorf("probe %s: second create-only put: %w", b.URL(), err)
	}
	got := make([]byte, len(first))
	if err := b.ReadAt(ctx, name, got, 0); err != nil {
		return fmt.Errorf("probe %s: read back: %w", b.URL(), err)
	}
	if !bytes.Equal(got, first) {
		return fmt.Errorf("probe %s: %w: a refused put changed the object", b.URL(), ErrUnsafe)
	}
	for _, err := range b.List(ctx, name) {
		if errors.Is(err, ErrDenied) {
			return fmt.Errorf("probe %s: %w", b.URL(), err)
		}
	}
	return nil
}
