package meta

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Batch collects writes to any tables of one store, to be applied together.
// It belongs to one goroutine and ends with Commit or Discard.
type Batch struct {
	s *Store
	b *pebble.Batch
}

// Batch starts an empty batch.
func (s *Store) Batch() *Batch { return &Batch{s: s, b: s.db.NewBatch()} }

// Put stores v as JSON.
func (b *Batch) Put(t Table, key string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return t.errorf("encode", key, err)
	}
	b.PutRaw(t, key, raw)
	return nil
}

// PutRaw stores raw, which is copied.
func (b *Batch) PutRaw(t Table, key string, raw []byte) {
	b.must(b.b.Set(t.key(key), raw, nil))
}

// Delete removes key; an absent key is success.
func (b *Batch) Delete(t Table, key string) {
	b.must(b.b.Delete(t.key(key), nil))
}

// must states that a write into a batch's own memory cannot fail: Pebble
// returns an error only for a batch that was committed, a misuse.
func (b *Batch) must(err error) {
	if err != nil {
		panic(fmt.Sprintf("meta: batch used after its end: %v", err))
	}
}

// Empty reports whether nothing was written to the batch.
func (b *Batch) Empty() bool { return b.b.Empty() }

// Len is the length of the batch's encoding in bytes.
func (b *Batch) Len() int { return b.b.Len() }

// Commit applies the batch, durably if sync, and ends it. Where it fails,
// nothing was applied: ErrDiskFull passes by itself when there is room again.
func (b *Batch) Commit(sync bool) error {
	if err := room(b.s.fs, b.s.dir, reserveBytes); err != nil {
		return errors.Join(err, b.Discard())
	}
	o := pebble.NoSync
	if sync && !b.s.bulk {
		o = pebble.Sync
	}
	err := b.b.Commit(o)
	if cerr := b.b.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("meta: commit: %w", err)
	}
	return nil
}

// Discard drops the batch and ends it.
func (b *Batch) Discard() error {
	if err := b.b.Close(); err != nil {
		return fmt.Errorf("meta: discard batch: %w", err)
	}
	return nil
}
