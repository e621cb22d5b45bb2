package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"varve/internal/objstore"
)

const (
	// Keep is how many snapshots stay.
	Keep = 16
	// pruneEvery is after how many snapshots the old ones are removed.
	pruneEvery = 8
	// partGrace is the age from which on a part that no snapshot names is removed:
	// a snapshot under way puts its manifest last.
	partGrace = time.Hour
)

// Source is one section to be written.
type Source struct {
	Name string
	// Each gives the items in the order of their keys.
	Each func(fn func(key string, value []byte) error) error
	// Same says that the section of the snapshot before is to stand for it.
	Same bool
}

// Writer writes one broker group's snapshots. One goroutine uses it.
type Writer struct {
	Bucket objstore.Bucket
	Broker string
	Now    func() time.Time
	Logger *slog.Logger

	last   *Manifest
	seq    int64
	writes int // since old ones were removed
}

// Last is the newest snapshot that the Writer wrote or found, nil before.
func (w *Writer) Last() *Manifest { return w.last }

// Write makes a snapshot and reports whether it had to: where no section has
// changed since the last one, that one stands. head's version, sequence and time
// are the Writer's. Whatever fails leaves the snapshots before.
func (w *Writer) Write(ctx context.Context, head Head, sources []Source) (*Manifest, bool, error) {
	if w.last == nil || w.last.Generation != head.Generation {
		if err := w.begin(ctx, head.Generation); err != nil {
			return nil, false, err
		}
	}
	m := &Manifest{Head: head}
	m.Version, m.Broker, m.TakenAt = FormatVersion, w.Broker, w.Now().UTC()
	for _, src := range sources {
		s, err := w.section(ctx, src)
		if err != nil {
			return nil, false, fmt.Errorf("state snapshot of %s: section %s: %w", w.Broker, src.Name, err)
		}
		m.Sections = append(m.Sections, s)
	}
	if w.last != nil && w.last.Generation == m.Generation && sameContent(w.last.Sections, m.Sections) {
		return w.last, false, nil
	}
	if err := w.put(ctx, m); err != nil {
		return nil, false, fmt.Errorf("state snapshot of %s: %w", w.Broker, err)
	}
	w.last = m
	if w.writes++; w.writes >= pruneEvery {
		w.writes = 0
		if err := w.prune(ctx); err != nil {
			w.Logger.Warn("old state snapshots are not removed", slog.String("broker", w.Broker), slog.Any("err", err))
		}
	}
	return m, true, nil
}

// begin learns which snapshots of the generation there are.
func (w *Writer) begin(ctx context.Context, generation int64) error {
	refs, err := List(ctx, w.Bucket, w.Broker)
	if err != nil {
		return err
	}
	w.last, w.seq, w.writes = nil, 0, pruneEvery-1
	for _, r := range refs {
		if r.Generation != generation {
			continue
		}
		w.seq = max(w.seq, r.Sequence)
		m, err := Load(ctx, w.Bucket, w.Broker, r)
		if err == nil {
			w.last = m
			return nil
		}
		if !Unreadable(err) {
			return err
		}
		w.Logger.Warn("a state snapshot can't be read, a new one is made", slog.Any("err", err))
	}
	return nil
}

// section writes the parts that are not there yet.
func (w *Writer) section(ctx context.Context, src Source) (Section, error) {
	var before Section
	if w.last != nil {
		var ok bool
		if before, ok = w.last.Section(src.Name); ok && src.Same {
			return before, nil
		}
	}
	known := map[string]bool{}
	for _, p := range before.Parts {
		known[p.SHA256] = true
	}
	s := Section{Name: src.Name, TakenAt: w.Now().UTC(), Parts: []Part{}}
	pk, err := newPacker()
	if err != nil {
		return s, err
	}
	flush := func() error {
		p, data := pk.pack()
		s.Parts = append(s.Parts, p)
		s.Items += p.Items
		if known[p.SHA256] {
			return nil
		}
		return w.putPart(ctx, p, data)
	}
	err = src.Each(func(key string, value []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !pk.add(key, value) {
			return nil
		}
		return flush()
	})
	if err == nil && pk.items > 0 {
		err = flush()
	}
	return s, err
}

// putPart creates a part and reads it back. One that is there has these bytes
// or is damaged, which is told.
func (w *Writer) putPart(ctx context.Context, p Part, data []byte) error {
	name := partName(w.Broker, p.SHA256)
	err := w.Bucket.Put(ctx, name, bytes.NewReader(data), int64(len(data)), objstore.IfAbsent)
	if err != nil && !errors.Is(err, objstore.ErrExists) {
		return err
	}
	have, gerr := get(ctx, w.Bucket, name, maxPart)
	if gerr != nil {
		return fmt.Errorf("read back %s: %w", name, gerr)
	}
	if bytes.Equal(have, data) {
		return nil
	}
	// Its name says what it must be, so it is no use to anybody as it is.
	if derr := w.Bucket.Delete(ctx, name); derr != nil {
		return fmt.Errorf("%w: %s has other bytes than its name says: %w", ErrDamaged, name, derr)
	}
	return fmt.Errorf("%w: %s has other bytes than its name says; it was removed", ErrDamaged, name)
}

// put creates the manifest under the next free sequence and reads it back.
func (w *Writer) put(ctx context.Context, m *Manifest) error {
	for {
		w.seq++
		m.Sequence = w.seq
		data, err := m.encode()
		if err != nil {
			return err
		}
		name := manifestName(w.Broker, Ref{m.Generation, m.Sequence})
		err = w.Bucket.Put(ctx, name, bytes.NewReader(data), int64(len(data)), objstore.IfAbsent)
		if errors.Is(err, objstore.ErrExists) {
			continue // of a try whose answer was lost, or of another process
		}
		if err != nil {
			return err
		}
		have, err := get(ctx, w.Bucket, name, maxManifest)
		if err != nil {
			return fmt.Errorf("read back %s: %w", name, err)
		}
		if !bytes.Equal(have, data) {
			return fmt.Errorf("%w: %s has other bytes than were written", ErrDamaged, name)
		}
		return nil
	}
}

// prune removes all but the newest snapshots, and the parts that none of those
// names. Snapshots of a later generation are not this writer's to remove.
func (w *Writer) prune(ctx context.Context) error {
	refs, err := List(ctx, w.Bucket, w.Broker)
	if err != nil {
		return err
	}
	used, kept := map[string]bool{}, 0
	for _, r := range refs {
		if kept >= Keep && r.Generation <= w.last.Generation {
			if err := w.Bucket.Delete(ctx, manifestName(w.Broker, r)); err != nil {
				return err
			}
			continue
		}
		kept++
		m, err := Load(ctx, w.Bucket, w.Broker, r)
		if Unreadable(err) {
			continue // it can't be restored from, whatever of its parts is there
		}
		if err != nil {
			return err
		}
		for _, s := range m.Sections {
			for _, p := range s.Parts {
				used[p.SHA256] = true
			}
		}
	}
	old := w.Now().Add(-partGrace)
	for o, err := range w.Bucket.List(ctx, partsFolder(w.Broker)) {
		if err != nil {
			return err
		}
		if !used[strings.TrimPrefix(o.Name, partsFolder(w.Broker))] && o.Modified.Before(old) {
			if err := w.Bucket.Delete(ctx, o.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

func sameContent(a, b []Section) bool {
	return slices.EqualFunc(a, b, func(a, b Section) bool { return a.Name == b.Name && sameParts(a.Parts, b.Parts) })
}

func sameParts(a, b []Part) bool { return slices.Equal(a, b) }
