package meta

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Limits of the database's memory. State is small; the log has the rest.
const (
	cacheBytes    = 8 << 20
	memTableBytes = 4 << 20
	maxOpenFiles  = 256
)

// formatVersion is written at creation; Open refuses any other.
const formatVersion = 1

const (
	systemTable = "meta"
	versionKey  = "version"
)

// reserveBytes is the free disk space below which nothing more is written:
// Pebble needs some to flush what it has, and a write that fails inside it
// ends the process.
const reserveBytes = 32 << 20

// openBytes is the free disk space without which the database isn't opened:
// Pebble begins a log of its own, and waits for ever where it can't. It is less
// than reserveBytes, so that what filled up while it was open opens again.
const openBytes = 16 << 20

// ErrDiskFull says that the disk has too little room for state. Nothing was
// written; the caller may try again later.
var ErrDiskFull = errors.New("meta: disk is full")

// ErrFormat says that the database was written by a newer version.
var ErrFormat = errors.New("meta: unknown format version")

// ErrDamaged says that a file of the database holds what was never written to
// it. The error names the file. Nothing was changed.
var ErrDamaged = errors.New("state is damaged")

// Store is the open database.
type Store struct {
	db  *pebble.DB
	fs  vfs.FS
	dir string

	bulk  bool // has no log of its own
	mu    sync.Mutex
	bulks map[string]*Store // by name
}

// Open opens or creates the database in dir. A nil fs is the operating
// system's.
func Open(dir string, fs vfs.FS) (*Store, error) {
	if fs == nil {
		fs = vfs.Default
	}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("meta: create directory %s: %w", dir, err)
	}
	if err := room(fs, dir, openBytes); err != nil {
		return nil, fmt.Errorf("meta: open %s: %w", dir, err)
	}
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	db, err := openPebble(dir, &pebble.Options{
		FS:                 fs,
		Cache:              cache,
		MemTableSize:       memTableBytes,
		MaxOpenFiles:       maxOpenFiles,
		FormatMajorVersion: pebble.FormatNewest,
	}, true)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, fs: fs, dir: dir, bulks: map[string]*Store{}}
	if err := s.checkVersion(dir); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

func (s *Store) checkVersion(dir string) error {
	t := s.Table(systemTable)
	var v int
	ok, err := t.Get(versionKey, &v)
	switch {
	case err != nil:
		return err
	case !ok:
		// The first log of a new database doesn't say up to where it was synced,
		// by which damage is known from a torn end; flushed, it gets another.
		return errors.Join(t.Put(versionKey, formatVersion), s.flushSoon())
	case v != formatVersion:
		return fmt.Errorf("%w: %s has version %d, this program knows %d", ErrFormat, dir, v, formatVersion)
	}
	return nil
}

// Close flushes and closes the database and its bulk ones. What is flushed is
// in tables, where damage shows, and no longer in a log alone.
func (s *Store) Close() error {
	errs := []error{s.closeBulks(), s.flushSoon()}
	if err := s.db.Close(); err != nil {
		errs = append(errs, fmt.Errorf("meta: close: %w", err))
	}
	return errors.Join(errs...)
}

// Sync makes everything written so far durable.
func (s *Store) Sync() error {
	if err := s.db.LogData(nil, pebble.Sync); err != nil {
		return fmt.Errorf("meta: sync: %w", err)
	}
	return nil
}

// room reports whether the disk of dir has room for a write: ErrDiskFull.
func room(fs vfs.FS, dir string, want uint64) error {
	u, err := fs.GetDiskUsage(dir)
	if err == nil && u.AvailBytes < want {
		return fmt.Errorf("%w: %s has %d bytes free, want %d", ErrDiskFull, dir, u.AvailBytes, want)
	}
	return nil // a file system that can't tell has room
}

// Table names one key range. The name is a constant of its owner and holds no
// zero byte.
func (s *Store) Table(name string) Table {
	return Table{s: s, name: name, prefix: append([]byte(name), 0)}
}

// Table is one key range of the store.
type Table struct {
	s      *Store
	name   string
	prefix []byte
}

func (t Table) key(k string) []byte {
	b := make([]byte, 0, len(t.prefix)+len(k))
	return append(append(b, t.prefix...), k...)
}

func (t Table) errorf(verb, key string, err error) error {
	return fmt.Errorf("meta: %s %s/%q: %w", verb, t.name, key, explain(err))
}

// Get decodes the value of key; ok is false where there is none.
func (t Table) Get(key string, into any) (ok bool, err error) {
	raw, ok, err := t.GetRaw(key)
	if !ok || err != nil {
		return false, err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return false, t.errorf("decode", key, err)
	}
	return true, nil
}

// GetRaw gives the bytes of key's value, in a slice of the caller's own.
func (t Table) GetRaw(key string) (raw []byte, ok bool, err error) {
	v, closer, err := t.s.db.Get(t.key(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, t.errorf("get", key, err)
	}
	raw = bytes.Clone(v)
	if err := closer.Close(); err != nil {
		return nil, false, t.errorf("get", key, err)
	}
	return raw, true, nil
}

// Put stores v as JSON, durably.
func (t Table) Put(key string, v any) error {
	return t.PutBatch(map[string]any{key: v}, true)
}

// Delete removes key, durably; an absent key is success.
func (t Table) Delete(key string) error {
	b := t.s.Batch()
	b.Delete(t, key)
	return b.Commit(true)
}

// PutBatch stores every pair as JSON, all or none; durably if sync.
func (t Table) PutBatch(values map[string]any, sync bool) error {
	b := t.s.Batch()
	for k, v := range values {
		if err := b.Put(t, k, v); err != nil {
			return errors.Join(err, b.Discard())
		}
	}
	return b.Commit(sync)
}

// Scan calls fn for every key with the prefix, in byte order. key and raw are
// the callee's to keep. An error of fn ends the scan and is returned as it is.
func (t Table) Scan(prefix string, fn func(key string, raw []byte) error) error {
	lower := t.key(prefix)
	return t.scan(lower, after(lower), fn)
}

// ScanRange calls fn for every key in [from, to), in byte order; an empty to
// is the end of the table.
func (t Table) ScanRange(from, to string, fn func(key string, raw []byte) error) error {
	upper := after(t.prefix)
	if to != "" {
		upper = t.key(to)
	}
	return t.scan(t.key(from), upper, fn)
}

func (t Table) scan(lower, upper []byte, fn func(key string, raw []byte) error) (err error) {
	it, err := t.s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return fmt.Errorf("meta: scan %s: %w", t.name, explain(err))
	}
	defer func() {
		if cerr := it.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("meta: scan %s: %w", t.name, explain(cerr))
		}
	}()
	for it.First(); it.Valid(); it.Next() {
		raw, verr := it.ValueAndErr()
		if verr != nil {
			return fmt.Errorf("meta: scan %s: %w", t.name, explain(verr))
		}
		if err := fn(string(it.Key()[len(t.prefix):]), bytes.Clone(raw)); err != nil {
			return err
		}
	}
	return nil
}

// after is the first key beyond all keys with the prefix.
func after(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// WriteText writes every pair of the store for a person to read.
func (s *Store) WriteText(w io.Writer) error {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return fmt.Errorf("meta: dump: %w", err)
	}
	for it.First(); it.Valid(); it.Next() {
		table, key, _ := strings.Cut(string(it.Key()), "\x00")
		if _, err := fmt.Fprintf(w, "%s %q %q\n", table, key, it.Value()); err != nil {
			return errors.Join(err, it.Close())
		}
	}
	return it.Close()
}
