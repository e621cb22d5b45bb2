package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"

	"varve/internal/objstore"
)

// sampleBytes is what one sample of an uploaded file takes.
const sampleBytes = 64 << 10

// UploadOptions say how much of an uploaded file is read back.
type UploadOptions struct {
	// Tail is how many bytes of its end: the footer, and in most files the page
	// indexes.
	Tail int64
	// Samples are places anywhere in it.
	Samples int
	// Pace slows the file's reader down; nil for none.
	Pace func(io.Reader) io.Reader
}

// Upload puts a data file of f.Bytes bytes into the bucket and makes sure that it
// is there: its length, its end, without which it can't be opened, and samples.
// An object of its name is an earlier try's, whose answer was lost, and is looked
// at alike. ErrNotStored where the store holds something else or nothing; what a
// try that failed left behind is nobody's.
func (a *Archive) Upload(ctx context.Context, f DataFile, src io.ReaderAt, o UploadOptions) error {
	if err := a.Check(ctx); err != nil {
		return err
	}
	var r io.Reader = io.NewSectionReader(src, 0, f.Bytes)
	if o.Pace != nil {
		r = o.Pace(r)
	}
	if err := a.bucket.Put(ctx, f.Name, r, f.Bytes, objstore.IfAbsent); err != nil && !errors.Is(err, objstore.ErrExists) {
		return err
	}
	head, err := a.bucket.Head(ctx, f.Name)
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		return fmt.Errorf("%w: %s is not there", ErrNotStored, f.Name)
	case err != nil:
		return err
	case head.Size != f.Bytes:
		return fmt.Errorf("%w: %s has %d bytes of %d", ErrNotStored, f.Name, head.Size, f.Bytes)
	}
	if tail := min(f.Bytes, o.Tail); tail > 0 {
		if err := a.samePart(ctx, f, src, f.Bytes-tail, tail); err != nil {
			return err
		}
	}
	n := min(f.Bytes, sampleBytes)
	for range o.Samples {
		if err := a.samePart(ctx, f, src, rand.Int64N(f.Bytes-n+1), n); err != nil {
			return err
		}
		if n == f.Bytes {
			break
		}
	}
	return nil
}

// samePart compares n bytes of an uploaded file with what was written.
func (a *Archive) samePart(ctx context.Context, f DataFile, src io.ReaderAt, from, n int64) error {
	want, have := make([]byte, n), make([]byte, n)
	if _, err := src.ReadAt(want, from); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read what was uploaded as %s: %w", f.Name, err)
	}
	switch err := a.bucket.ReadAt(ctx, f.Name, have, from); {
	case errors.Is(err, objstore.ErrNotFound), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %s can't be read back: %v", ErrNotStored, f.Name, err)
	case err != nil:
		return fmt.Errorf("read back %s: %w", f.Name, err)
	case !bytes.Equal(have, want):
		return fmt.Errorf("%w: %s differs in the %d bytes from %d on", ErrNotStored, f.Name, n, from)
	}
	return nil
}
