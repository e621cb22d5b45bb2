package meta

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Limits of a bulk database. Its values lie in files of their own, written
// once: moving keys moves no value.
const (
	bulkMemTable    = 32 << 20
	bulkSeparate    = 256 // bytes from which on a value is kept apart
	bulkBlobDepth   = 32  // overlapping value files behind one key file
	bulkGarbage     = 0.3 // part of a value file that may be garbage
	bulkRewriteAge  = time.Minute
	bulkL0Stop      = 1 << 10 // key files are small: never hold writes up for them
	closeFlush      = 10 * time.Second
	bulkStopMemTabs = 4
)

// Bulk opens, once, a database of its own for values that are many or large,
// in the store's directory; Close closes it too. It has no log: what is
// committed to it is durable when a Flush that began later has ended, and
// Commit's sync means nothing. A crash takes back the newest batches, whole and
// in their order, so its owner must know from elsewhere how to make them again.
func (s *Store) Bulk(name string) (*Store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.bulks[name]; b != nil {
		return b, nil
	}
	dir := s.fs.PathJoin(s.dir, name)
	if err := s.fs.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("meta: create directory %s: %w", dir, err)
	}
	if err := room(s.fs, dir, openBytes); err != nil {
		return nil, fmt.Errorf("meta: open %s: %w", dir, err)
	}
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	o := &pebble.Options{
		FS:                          s.fs,
		Cache:                       cache,
		MemTableSize:                bulkMemTable,
		MemTableStopWritesThreshold: bulkStopMemTabs,
		L0StopWritesThreshold:       bulkL0Stop,
		MaxOpenFiles:                maxOpenFiles,
		FormatMajorVersion:          pebble.FormatNewest,
		DisableWAL:                  true,
	}
	o.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		return pebble.ValueSeparationPolicy{
			Enabled: true, MinimumSize: bulkSeparate, MaxBlobReferenceDepth: bulkBlobDepth,
			RewriteMinimumAge: bulkRewriteAge, TargetGarbageRatio: bulkGarbage,
		}
	}
	db, err := openPebble(dir, o, false)
	if err != nil {
		return nil, err
	}
	b := &Store{db: db, fs: s.fs, dir: dir, bulk: true}
	if err := b.checkVersion(dir); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.bulks[name] = b
	return b, nil
}

// Flush begins to make durable what was committed before the call; done is
// closed when it is. On a full disk that is when there is room again.
func (s *Store) Flush() (done <-chan struct{}, err error) {
	if done, err = s.db.AsyncFlush(); err != nil {
		return nil, fmt.Errorf("meta: flush %s: %w", s.dir, err)
	}
	return done, nil
}

// flushSoon flushes where the disk takes it in time.
func (s *Store) flushSoon() error {
	done, err := s.Flush()
	if err != nil {
		return err
	}
	t := time.NewTimer(closeFlush)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
	return nil
}

// closeBulks closes the bulk databases, flushed where the disk takes it.
func (s *Store) closeBulks() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for name, b := range s.bulks {
		errs = append(errs, b.flushSoon(), b.db.Close())
		delete(s.bulks, name)
	}
	return errors.Join(errs...)
}

// DeleteRange removes the keys of t in [from, to).
func (b *Batch) DeleteRange(t Table, from, to string) {
	b.must(b.b.DeleteRange(t.key(from), t.key(to), nil))
}
