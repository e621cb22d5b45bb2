package hot

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot/index"
	"varve/hot/segment"
)

const (
	logSuffix = ".log"
	keySuffix = ".key"
	spareName = "spare-"
)

// seg is one segment. The list of segments holds one reference, each reader of
// it another; the last one to let go retires the file.
type seg struct {
	base  int64
	epoch uint64 // of the opening that began it
	bad   error  // why Open found no good header; nil for one that is in use
	path  string
	f     vfs.File
	keys  *index.KeyFile
	refs  atomic.Int32
	// end is where the segment's data ends: the base of the next one but for
	// skipped positions; math.MaxInt64 while it is written to.
	end atomic.Int64
	// lastTime is the newest store time in it.
	lastTime atomic.Int64
	// firstTime is the store time of its first record, 0 while there is none.
	firstTime atomic.Int64
	// size is the file's length as far as it was written in this life.
	size atomic.Int64
	// stale says that the file may hold bytes of an earlier segment behind its end.
	stale atomic.Bool
	// removed has the file removed when the last reader lets go, and not recycled.
	removed atomic.Bool
}

func segmentName(base int64, suffix string) string { return fmt.Sprintf("%020d%s", base, suffix) }

// parseSegmentName is the reverse of segmentName.
func parseSegmentName(name, suffix string) (base int64, ok bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	base, err := strconv.ParseInt(digits, 10, 64)
	return base, err == nil && base >= 0
}

// files is the set of segment files: the segments in order of their base, and
// the spare files that wait to be one.
type files struct {
	fs  vfs.FS
	dir string

	mu      sync.RWMutex
	segs    []*seg
	spares  []string
	spareNo int
	leaving map[*seg]bool // dropped, and still with a reader
	// dirty lists segments, and dirDirty the directory, with changes that are
	// not synced.
	dirty    []*seg
	dirDirty bool
}

func (fl *files) path(name string) string { return fl.fs.PathJoin(fl.dir, name) }

// acquire gives the segment that holds position pos with a reference, nil if
// there is none.
func (fl *files) acquire(pos int64) *seg {
	fl.mu.RLock()
	defer fl.mu.RUnlock()
	i := sort.Search(len(fl.segs), func(i int) bool { return fl.segs[i].base > pos }) - 1
	if i < 0 || pos >= fl.segs[i].end.Load() {
		return nil
	}
	fl.segs[i].refs.Add(1)
	return fl.segs[i]
}

// acquireFrom is acquire, but where pos lies between two segments, or below
// the first one, it gives the segment after.
func (fl *files) acquireFrom(pos int64) *seg {
	fl.mu.RLock()
	defer fl.mu.RUnlock()
	i := sort.Search(len(fl.segs), func(i int) bool { return fl.segs[i].end.Load() > pos })
	if i == len(fl.segs) {
		return nil
	}
	fl.segs[i].refs.Add(1)
	return fl.segs[i]
}

// acquireAll gives all segments, each with a reference.
func (fl *files) acquireAll() []*seg {
	fl.mu.RLock()
	defer fl.mu.RUnlock()
	out := slices.Clone(fl.segs)
	for _, g := range out {
		g.refs.Add(1)
	}
	return out
}

func (fl *files) releaseAll(segs []*seg) error {
	var errs []error
	for _, g := range segs {
		errs = append(errs, fl.release(g))
	}
	return errors.Join(errs...)
}

// release lets go of a reference; the last one retires the segment's file.
func (fl *files) release(g *seg) error {
	if g.refs.Add(-1) > 0 {
		return nil
	}
	return fl.retire(g)
}

// first is the position of the first segment.
func (fl *files) first() int64 {
	fl.mu.RLock()
	defer fl.mu.RUnlock()
	if len(fl.segs) == 0 {
		return 0
	}
	return fl.segs[0].base
}

// active is the segment that is written to.
func (fl *files) active() *seg {
	fl.mu.RLock()
	defer fl.mu.RUnlock()
	if len(fl.segs) == 0 {
		return nil
	}
	return fl.segs[len(fl.segs)-1]
}

// roll ends the active segment at prevEnd and makes a new one with the given
// header the active one. Nothing is synced yet.
func (fl *files) roll(h segment.Header) (*seg, error) {
	path := fl.path(segmentName(h.Base, logSuffix))
	f, recycled, err := fl.newFile(path, segment.AppendHeader(nil, h))
	if err != nil {
		return nil, fmt.Errorf("starting segment %s: %w", path, err)
	}
	keyPath := fl.path(segmentName(h.Base, keySuffix))
	if err := fl.fs.Remove(keyPath); err != nil && !isNotExist(err) {
		return nil, errors.Join(fmt.Errorf("removing the old %s: %w", keyPath, err), f.Close())
	}
	keys, err := index.OpenKeyFile(fl.fs, keyPath, h.Base, false)
	if err != nil {
		return nil, errors.Join(err, f.Close(), fl.fs.Remove(path))
	}
	g := &seg{base: h.Base, epoch: h.Epoch, path: path, f: f, keys: keys}
	g.refs.Store(1)
	g.end.Store(math.MaxInt64)
	g.size.Store(segment.HeaderLen)
	g.stale.Store(recycled)
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if n := len(fl.segs); n > 0 {
		fl.segs[n-1].end.Store(h.PrevEnd)
	}
	fl.segs = append(fl.segs, g)
	fl.dirty = append(fl.dirty, g)
	fl.dirDirty = true
	return g, nil
}

// newFile gives a file of the given name that begins with header, a recycled
// one if there is one.
func (fl *files) newFile(path string, header []byte) (f vfs.File, recycled bool, err error) {
	fl.mu.Lock()
	spare := ""
	if n := len(fl.spares); n > 0 {
		spare, fl.spares = fl.spares[n-1], fl.spares[:n-1]
	}
	fl.mu.Unlock()
	if spare == "" {
		f, err := fl.fs.Create(path, vfs.WriteCategoryUnspecified)
		if err != nil {
			return nil, false, err
		}
		if _, err := f.Write(header); err != nil {
			return nil, false, errors.Join(err, f.Close(), fl.fs.Remove(path))
		}
		// The handle of Create can't WriteAt on every file system.
		if err := f.Close(); err != nil {
			return nil, false, err
		}
		f, err = fl.fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
		return f, false, err
	}
	if f, err = fl.fs.OpenReadWrite(spare, vfs.WriteCategoryUnspecified); err != nil {
		return nil, false, err
	}
	if _, err = f.WriteAt(header, 0); err == nil {
		err = fl.fs.Rename(spare, path)
	}
	if err != nil {
		fl.mu.Lock()
		fl.spares = append(fl.spares, spare)
		fl.mu.Unlock()
		return nil, false, errors.Join(err, f.Close())
	}
	return f, true, nil
}

// drop takes the first n segments out of the list; their files are retired
// when the last reader is gone.
func (fl *files) drop(n int) error {
	fl.mu.Lock()
	gone := slices.Clone(fl.segs[:n])
	fl.segs = slices.Delete(fl.segs, 0, n)
	fl.dirty = slices.DeleteFunc(fl.dirty, func(g *seg) bool { return slices.Contains(gone, g) })
	for _, g := range gone {
		fl.leaving[g] = true
	}
	fl.mu.Unlock()
	return fl.releaseAll(gone)
}

// retire closes a segment's files and keeps the big one as a spare.
func (fl *files) retire(g *seg) error {
	err := g.f.Close()
	if g.keys != nil {
		err = errors.Join(err, g.keys.Close(), fl.fs.Remove(fl.path(segmentName(g.base, keySuffix))))
	}
	fl.mu.Lock()
	delete(fl.leaving, g)
	fl.mu.Unlock()
	if g.removed.Load() {
		return errors.Join(err, fl.removeIfThere(g.path))
	}
	return errors.Join(err, fl.recycle(g.path))
}

// recycle makes a spare of a closed segment file, or removes it if there are
// enough.
func (fl *files) recycle(path string) error {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if len(fl.spares) >= maxSpare {
		if err := fl.fs.Remove(path); err != nil {
			return fmt.Errorf("removing a segment file: %w", err)
		}
		return nil
	}
	fl.spareNo++
	spare := fl.path(spareName + strconv.Itoa(fl.spareNo))
	if err := fl.fs.Rename(path, spare); err != nil {
		return fmt.Errorf("recycling a segment file: %w", err)
	}
	fl.spares = append(fl.spares, spare)
	return nil
}

// dropSpares removes the spare files of a disk that is nearly full; it reports
// whether any is gone.
func (fl *files) dropSpares() bool {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	kept := fl.spares[:0]
	for _, path := range fl.spares {
		if fl.fs.Remove(path) != nil {
			kept = append(kept, path)
		}
	}
	gone := len(fl.spares) > len(kept)
	fl.spares = kept
	return gone
}

// wrote notes that a segment has bytes that are not synced.
func (fl *files) wrote(g *seg, end int64) {
	g.size.Store(max(g.size.Load(), end-g.base))
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if n := len(fl.dirty); n == 0 || fl.dirty[n-1] != g {
		fl.dirty = append(fl.dirty, g)
	}
}

// unsynced notes that segments may have bytes from position pos on, and the
// directory entries, that are not synced.
func (fl *files) unsynced(pos int64) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.dirty, fl.dirDirty = nil, true
	for _, g := range fl.segs {
		if g.end.Load() >= pos {
			fl.dirty = append(fl.dirty, g)
		}
	}
}

// takeDirty gives what is to be synced, with a reference to each.
func (fl *files) takeDirty() (segs []*seg, dir bool) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	segs, dir = fl.dirty, fl.dirDirty
	fl.dirty, fl.dirDirty = nil, false
	for _, g := range segs {
		g.refs.Add(1)
	}
	return segs, dir
}

// syncDir makes the directory's entries durable.
func (fl *files) syncDir() error {
	d, err := fl.fs.OpenDir(fl.dir)
	if err != nil {
		return fmt.Errorf("syncing %s: %w", fl.dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("syncing %s: %w", fl.dir, err)
	}
	return nil
}

// close closes every file; the store is closed already for readers.
func (fl *files) close() error {
	fl.mu.Lock()
	segs := fl.segs
	fl.segs = nil
	fl.mu.Unlock()
	var errs []error
	for _, g := range segs {
		errs = append(errs, g.f.Close())
		if g.keys != nil {
			errs = append(errs, g.keys.Close())
		}
	}
	return errors.Join(errs...)
}

// bytes is the size of the segment files and the number of segments and spares.
func (fl *files) bytes() (size int64, segs, spares int) {
	fl.mu.RLock()
	defer fl.mu.RUnlock()
	for _, g := range fl.segs {
		size += g.size.Load()
	}
	return size, len(fl.segs), len(fl.spares)
}
