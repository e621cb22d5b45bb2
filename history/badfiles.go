package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
)

// Limits of bad files.
const (
	// maxBadFiles is how many are remembered.
	maxBadFiles = 1000
	// tryEvery is how often they are looked at again, and tryWithin how long one
	// look may take.
	tryEvery  = time.Minute
	tryWithin = 30 * time.Second
)

// BadFile is a data file that the table names and that can't be read.
type BadFile struct {
	File  archive.DataFile
	At    int64 // the offset from which on it could not be read
	Why   string
	Since time.Time

	// as is what the object was for who read it by other means than a Node's, and
	// byOthers says so: only another object can be a better one.
	as       objstore.Object
	byOthers bool
}

// badFiles remembers what readers ran into, until somebody reads it.
type badFiles struct {
	count atomic.Int64 // of by, for who only wants to know whether there is any
	mu    sync.Mutex
	by    map[archive.FileID]BadFile
}

func (b *badFiles) put(f BadFile) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.by == nil {
		b.by = map[archive.FileID]BadFile{}
	}
	if old, ok := b.by[f.File.ID()]; ok {
		f.Since = old.Since
		f.byOthers = f.byOthers && old.byOthers
	} else if len(b.by) >= maxBadFiles {
		return
	}
	b.by[f.File.ID()] = f
	b.count.Store(int64(len(b.by)))
}

func (b *badFiles) remove(id archive.FileID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.by, id)
	b.count.Store(int64(len(b.by)))
}

// read says that a queue was read from an offset to another.
func (b *badFiles) read(q mq.Queue, from, to int64) {
	if b.count.Load() == 0 {
		return
	}
	for _, f := range b.list() {
		if f.File.Queue == q && !f.byOthers && from <= f.At && f.At < to {
			b.remove(f.File.ID())
		}
	}
}

func (b *badFiles) list() []BadFile {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.SortedFunc(maps.Values(b.by), func(x, y BadFile) int {
		return cmp.Or(strings.Compare(x.File.Name, y.File.Name), cmp.Compare(x.File.Section.Row, y.File.Section.Row))
	})
}

// BadFiles gives the data files that the tables name and that could not be read
// when they were last tried, in the order of their names.
func (n *Node) BadFiles() []BadFile { return n.bad.list() }

// fileFailed remembers a data file that could not be read. A connection that
// broke in the middle is no fault of the file.
func (n *Node) fileFailed(f archive.DataFile, at int64, err error) {
	if n.cache != nil {
		n.cache.forget(f.Name)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, archive.ErrDamaged) {
		ctx, cancel := context.WithTimeout(context.Background(), tryWithin)
		defer cancel()
		o, herr := n.archive.Bucket().Head(ctx, f.Name)
		if herr != nil || o.Size == f.ObjectBytes() {
			return
		}
		err = fmt.Errorf("the object has %d bytes, the table says %d: %w", o.Size, f.ObjectBytes(), err)
	}
	n.bad.put(BadFile{File: f, At: at, Why: err.Error(), Since: n.cfg.Now()})
}

// NoteBad remembers a data file that somebody could not read by other means than
// this node's.
func (n *Node) NoteBad(ctx context.Context, topic, object, why string) {
	t, err := n.archive.Table(ctx, topic)
	if err != nil {
		return
	}
	f, ok := t.Index().File(object)
	if !ok {
		return
	}
	o, err := n.archive.Bucket().Head(ctx, object)
	if err != nil && !errors.Is(err, objstore.ErrNotFound) {
		return
	}
	n.files.forget(object)
	n.bad.put(BadFile{File: f, At: f.Offsets.From, Why: why, Since: n.cfg.Now(), as: o, byOthers: true})
}

// tryBad looks at the bad files again.
func (n *Node) tryBad(ctx context.Context) {
	for _, f := range n.bad.list() {
		within, cancel := context.WithTimeout(ctx, tryWithin)
		if n.good(within, f) {
			n.bad.remove(f.File.ID())
		}
		cancel()
	}
}

// good reports whether a file can be read again, or isn't the table's any more.
func (n *Node) good(ctx context.Context, f BadFile) bool {
	t, err := n.archive.Table(ctx, f.File.Queue.Topic)
	if errors.Is(err, archive.ErrNoTable) {
		return true
	}
	if err != nil {
		return false
	}
	if _, ok := t.Index().FileOf(f.File.ID()); !ok {
		return true
	}
	if f.byOthers {
		o, err := n.archive.Bucket().Head(ctx, f.File.Name)
		return err == nil && (o.Size != f.as.Size || o.ETag != f.as.ETag || !o.Modified.Equal(f.as.Modified))
	}
	err = n.reader.Try(ctx, f.File, f.At)
	if err != nil && n.cache != nil {
		n.cache.forget(f.File.Name) // nothing bad is kept for the next one
	}
	return err == nil
}
