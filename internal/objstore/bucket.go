package objstore

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// Errors of a Bucket, wrapped with the operation and the object's name. Any
// other error may be temporary: the caller decides whether to try again.
var (
	// ErrNotFound says that there is no such object.
	ErrNotFound = errors.New("no such object")
	// ErrExists says that a create-only Put found an object of that name.
	ErrExists = errors.New("object exists")
	// ErrDenied says that the store refuses the credentials or the action; no
	// retry helps until a person acts.
	ErrDenied = errors.New("access denied")
	// ErrNoBucket says that the bucket itself is missing.
	ErrNoBucket = errors.New("no such bucket")
	// ErrFull says that the store has no room left.
	ErrFull = errors.New("no space left in the store")
	// ErrNoAnswer says that the store was silent for longer than it may be. What
	// was asked for may have happened.
	ErrNoAnswer = errors.New("no answer")
	// ErrBadName says that a name is not one that every store can hold.
	ErrBadName = errors.New("bad object name")
)

// Cond says what must hold for a Put.
type Cond int

const (
	// Always overwrites.
	Always Cond = iota
	// IfAbsent creates, and fails with ErrExists where the name is taken.
	IfAbsent
)

// Object describes one object.
type Object struct {
	Name     string
	Size     int64
	ETag     string
	Modified time.Time
}

// Bucket is a flat store of immutable-by-convention objects with names like
// "a/b/c". Local directories, S3 and memory implement it, and objtest holds
// them to it.
//
// All methods may be called concurrently. A Put is atomic (no reader sees a
// part of it) and durable when it returns; after an error it may or may not
// have happened, and the caller settles that by looking. Every method stops
// soon after its context ends. Names may not be absolute, empty, or contain
// ".." or empty parts (CheckName), and no object's name may be a folder of
// another's ("a" and "a/b").
type Bucket interface {
	// URL is where other programs find the bucket's root, such as
	// "file:///var/lib/varve/archive" or "s3://bucket/prefix", without a
	// slash at the end. It is written into table metadata.
	URL() string
	// Get opens an object from its start; the caller closes it.
	Get(ctx context.Context, name string) (io.ReadCloser, error)
	// ReadAt fills p from an offset in one request. There are no partial
	// results: fewer bytes than len(p) are io.ErrUnexpectedEOF.
	ReadAt(ctx context.Context, name string, p []byte, off int64) error
	// Put writes size bytes of r under a name.
	Put(ctx context.Context, name string, r io.Reader, size int64, c Cond) error
	// Head describes an object.
	Head(ctx context.Context, name string) (Object, error)
	// Delete removes an object; an absent one is success.
	Delete(ctx context.Context, name string) error
	// List gives the objects whose names start with prefix, in name order. It
	// may leave out, or still give, what changed while it ran.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]
}
