package history

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"varve/internal/archive"
	"varve/internal/objstore"
)

// ErrInvalid says that a hold or lease can't be accepted as it was given.
var ErrInvalid = errors.New("not accepted")

var errBadName = errors.New("want 1 to 100 lower-case letters, digits, dots, _ or -, beginning with a letter or digit")

// maxLedgerTries bounds how often a listing is begun again.
const maxLedgerTries = 5

// recordName is what the name of a hold or lease looks like: safe as a part of
// an object's name on every store.
var recordName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*(\.[a-z0-9_-]+)*$`)

func checkRecordName(name string) error {
	if len(name) > 100 || !recordName.MatchString(name) {
		return fmt.Errorf("name %q: %w: %w", name, ErrInvalid, errBadName)
	}
	return nil
}

// invalid marks an error of what was given.
func invalid(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrInvalid, err)
}

// ledger keeps named records in the bucket, so that a cluster that is made anew
// over it finds them: each version of a record is an object of its own,
// "<prefix><name>/<version, 12 digits>.json", created once and never changed.
// The newest version counts.
type ledger[T any] struct {
	archive *archive.Archive
	prefix  string

	mu    sync.Mutex
	known map[string]entryOf[T] // by name, the newest
}

// entryOf is a version of a record.
type entryOf[T any] struct {
	seq   int64
	value T
}

func (l *ledger[T]) object(name string, seq int64) string {
	return fmt.Sprintf("%s%s/%012d.json", l.prefix, name, seq)
}

// parse is the reverse of object.
func (l *ledger[T]) parse(object string) (name string, seq int64, ok bool) {
	rest, ok := strings.CutPrefix(object, l.prefix)
	if !ok {
		return "", 0, false
	}
	name, base := path.Split(rest)
	name = strings.TrimSuffix(name, "/")
	seq, err := strconv.ParseInt(strings.TrimSuffix(base, ".json"), 10, 64)
	return name, seq, err == nil && seq > 0 && l.object(name, seq) == object
}

// refresh reads the versions that are new. All that was read before stays known:
// versions are only added.
func (l *ledger[T]) refresh(ctx context.Context) (err error) {
	for range maxLedgerTries {
		if err = l.look(ctx); !errors.Is(err, objstore.ErrNotFound) {
			return err
		} // else a version was pruned between the listing and the reading
	}
	return err
}

func (l *ledger[T]) look(ctx context.Context) error {
	if err := l.archive.Check(ctx); err != nil {
		return err
	}
	newest := map[string]int64{}
	for o, err := range l.archive.Bucket().List(ctx, l.prefix) {
		if err != nil {
			return fmt.Errorf("list %s: %w", l.prefix, err)
		}
		if name, seq, ok := l.parse(o.Name); ok {
			newest[name] = max(newest[name], seq)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known == nil {
		l.known = map[string]entryOf[T]{}
	}
	for name, seq := range newest {
		if l.known[name].seq >= seq {
			continue
		}
		e := entryOf[T]{seq: seq}
		if err := getJSON(ctx, l.archive.Bucket(), objstore.Object{Name: l.object(name, seq)}, &e.value); err != nil {
			return err
		}
		l.known[name] = e
	}
	return nil
}

// newest gives what the last refresh found; ok is false before the first.
func (l *ledger[T]) newest() (all map[string]entryOf[T], ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]entryOf[T], len(l.known))
	for name, e := range l.known {
		out[name] = e
	}
	return out, l.known != nil
}

func (l *ledger[T]) get(name string) entryOf[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known[name]
}

// put makes the version after the one that is known; objstore.ErrExists where
// somebody else was faster. It counts once the store has given it back.
func (l *ledger[T]) put(ctx context.Context, name string, value T) error {
	seq := l.get(name).seq + 1
	object := l.object(name, seq)
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", object, err)
	}
	b := l.archive.Bucket()
	if err := b.Put(ctx, object, bytes.NewReader(data), int64(len(data)), objstore.IfAbsent); err != nil {
		return fmt.Errorf("store %s: %w", object, err)
	}
	var back json.RawMessage
	if err := getJSON(ctx, b, objstore.Object{Name: object}, &back); err != nil || !bytes.Equal(back, data) {
		return fmt.Errorf("store %s: %w", object, errors.Join(archive.ErrNotStored, err))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known == nil {
		l.known = map[string]entryOf[T]{}
	}
	if l.known[name].seq < seq {
		l.known[name] = entryOf[T]{seq, value}
	}
	return nil
}

// versions counts what is known.
func (l *ledger[T]) versions() (n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.known {
		n += e.seq
	}
	return n
}

// history reads every version of a record, the oldest first.
func (l *ledger[T]) history(ctx context.Context, name string) ([]T, error) {
	var out []T
	for o, err := range l.archive.Bucket().List(ctx, l.prefix+name+"/") {
		if err != nil {
			return nil, fmt.Errorf("list %s%s: %w", l.prefix, name, err)
		}
		if _, _, ok := l.parse(o.Name); !ok {
			continue
		}
		var v T
		if err := getJSON(ctx, l.archive.Bucket(), o, &v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// prune removes a record's versions before the newest known one.
func (l *ledger[T]) prune(ctx context.Context, name string) error {
	newest := l.get(name).seq
	for o, err := range l.archive.Bucket().List(ctx, l.prefix+name+"/") {
		if err != nil {
			return fmt.Errorf("list %s%s: %w", l.prefix, name, err)
		}
		if _, seq, ok := l.parse(o.Name); ok && seq < newest {
			if err := l.archive.Bucket().Delete(ctx, o.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// forget removes a record whole: its newest version last, so that none before it
// comes to count.
func (l *ledger[T]) forget(ctx context.Context, name string) error {
	if err := l.prune(ctx, name); err != nil {
		return err
	}
	e := l.get(name)
	if e.seq == 0 {
		return nil
	}
	if err := l.archive.Bucket().Delete(ctx, l.object(name, e.seq)); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.known, name)
	return nil
}
