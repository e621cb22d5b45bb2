package hot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot/index"
	"varve/hot/segment"
	"varve/internal/mq"
)

const (
	lockFile      = "LOCK"
	formatFile    = "FORMAT"
	formatName    = "varve-hot"
	formatVersion = 2 // 1 had no checksums in the queue index's entries
	indexDir      = "index"
	dirMode       = 0o755
)

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// Open opens or creates the store in dir, which it locks: ErrLocked where
// another process has it, ErrFormat where a newer version wrote it, ErrCorrupt
// where data that was synced can't be read, ErrDiskFull where there is no room
// to open the indexes.
func Open(dir string, o Options) (*Store, error) {
	o = o.withDefaults()
	s := &Store{
		o: o, dir: dir,
		files:        &files{fs: o.FS, dir: dir, leaving: map[*seg]bool{}},
		blocks:       blocks{size: blockBytes},
		topics:       make(map[string]*topic),
		deleted:      make(map[string]int64),
		endings:      make(map[string]int64),
		holds:        make(map[string]func() int64),
		tails:        make(map[*Tail]struct{}),
		committed:    make(chan struct{}),
		flushCh:      make(chan struct{}, 1),
		checkpointCh: make(chan struct{}, 1),
		quit:         make(chan struct{}),
	}
	s.subCond = sync.NewCond(&s.subMu)
	s.ckptCond = sync.NewCond(&s.ckptMu)
	s.c.fresh = make(map[place]*queue)
	s.freeBytes.Store(-1)
	if err := s.open(); err != nil {
		if s.db != nil {
			err = errors.Join(err, s.db.Close())
		}
		err = errors.Join(err, s.files.close())
		if s.lock != nil {
			err = errors.Join(err, s.lock.Close())
		}
		return nil, fmt.Errorf("opening the hot log in %s: %w", dir, err)
	}
	s.loops.Add(2)
	go s.commitLoop()
	go s.flushLoop()
	go s.checkpointLoop()
	return s, nil
}

func (s *Store) open() error {
	fs := s.o.FS
	if err := makeDir(fs, s.dir); err != nil {
		return fmt.Errorf("creating the directory: %w", err)
	}
	var err error
	if s.lock, err = lockDir(fs, s.dir); err != nil {
		return err
	}
	if err := s.roomToOpen(); err != nil {
		return err
	}
	version, err := checkFormat(fs, s.dir)
	if err != nil {
		return err
	}
	if version < formatVersion { // an older program must not read what this one writes
		if err := writeFormat(fs, s.dir); err != nil {
			return err
		}
	}
	if s.db, err = index.OpenDB(fs, fs.PathJoin(s.dir, indexDir), s.o.Logger); err != nil {
		return err
	}
	st, err := s.db.Load()
	if err != nil {
		return fmt.Errorf("loading the queue index: %w", err)
	}
	return s.recover(st)
}

// makeDir makes a directory durably: its name, and those of the parents that
// were missing, are synced.
func makeDir(fs vfs.FS, dir string) error {
	var unsynced []string
	for d := dir; ; {
		_, err := fs.Stat(d)
		if err == nil && d != dir {
			break
		}
		if err != nil && !isNotExist(err) {
			return err
		}
		parent := fs.PathDir(d)
		if parent == d {
			break
		}
		unsynced = append(unsynced, parent)
		d = parent
	}
	if err := fs.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	for _, d := range unsynced {
		err := (&files{fs: fs, dir: d}).syncDir()
		if err != nil && !errors.Is(err, os.ErrPermission) { // a parent that was there before may be closed to us
			return err
		}
	}
	return nil
}

func lockDir(fs vfs.FS, dir string) (io.Closer, error) {
	path := fs.PathJoin(dir, lockFile)
	l, err := fs.Lock(path)
	if err == nil {
		return l, nil
	}
	var pe *pathError
	switch {
	case errors.As(err, &pe):
		return nil, fmt.Errorf("creating %s: is the directory writable? %w", path, err)
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOSPC):
		return nil, fmt.Errorf("creating %s: %w", path, err)
	}
	return nil, fmt.Errorf("%w: %s is locked by another process: %w", ErrLocked, dir, err)
}

type pathError = fs.PathError

// checkFormat reads the version that the directory was written in, 0 for a new
// one.
func checkFormat(fs vfs.FS, dir string) (int, error) {
	path := fs.PathJoin(dir, formatFile)
	f, err := fs.Open(path)
	if isNotExist(err) {
		return 0, checkNew(fs, dir, path)
	}
	if err != nil {
		return 0, fmt.Errorf("opening %s: %w", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, 256))
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("reading %s: %w", path, err)
	}
	name, version, _ := strings.Cut(string(bytes.TrimSpace(text)), " ")
	n, err := strconv.Atoi(version)
	if name != formatName || err != nil {
		return 0, fmt.Errorf("%w: %s says %q, want %q and a number", ErrCorrupt, path, text, formatName)
	}
	if n > formatVersion {
		return 0, fmt.Errorf("%w: %s says version %d, this program reads up to %d", ErrFormat, path, n, formatVersion)
	}
	return n, nil
}

// checkNew refuses a log whose version nothing tells.
func checkNew(fs vfs.FS, dir, path string) error {
	names, err := fs.List(dir)
	if err != nil {
		return fmt.Errorf("listing %s: %w", dir, err)
	}
	for _, name := range names {
		if _, ok := parseSegmentName(name, logSuffix); ok {
			return fmt.Errorf("%w: %s has the segment %s but no %s file", ErrFormat, dir, name, formatFile)
		}
	}
	return nil
}

// writeFormat writes this program's version durably.
func writeFormat(fs vfs.FS, dir string) error {
	path := fs.PathJoin(dir, formatFile)
	tmp := path + ".tmp"
	f, err := fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("creating %s: %w", tmp, err)
	}
	_, err = fmt.Fprintf(f, "%s %d\n", formatName, formatVersion)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", tmp, err)
	}
	if err := fs.Rename(tmp, path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return (&files{fs: fs, dir: dir}).syncDir()
}

// recover brings the store to where the log ends.
func (s *Store) recover(st index.State) error {
	s.adopt(st)
	segs, epoch, err := s.files.load(st)
	if err != nil {
		return err
	}
	s.epoch = max(st.Epoch, epoch) + 1
	end, err := s.replay(st, segs)
	if err != nil {
		return err
	}
	// Nothing may be written under an epoch that isn't durable, nor beside
	// leftovers of a cut that would come back.
	u := s.db.Update()
	u.Epoch(s.epoch)
	u.Clean(-1)
	if err := s.skipLost(u, &end); err != nil {
		return err
	}
	if err := errors.Join(u.Commit(), s.db.Flush(), s.files.syncDir()); err != nil {
		return err
	}
	s.c.pos = end
	s.confirmed.Store(end)
	s.written.Store(end)
	if s.c.active = s.files.active(); s.c.active == nil || end < s.archived.Load() {
		if err := s.roll(max(end, s.archived.Load())); err != nil {
			return err
		}
		s.confirmed.Store(s.c.pos)
	}
	// What the scan found may be in the system's cache only.
	s.files.unsynced(st.Checkpoint)
	s.written.Store(s.c.pos)
	return s.syncLog()
}

// adopt takes over what the last checkpoint left.
func (s *Store) adopt(st index.State) {
	for _, q := range st.Queues {
		s.addQueue(&queue{
			uid: q.UID, id: q.ID, next: q.End, start: q.Start, base: q.End, archived: q.Archived, dropped: q.Dropped,
			removed: q.Removed,
		}, q.Topic)
	}
	s.deleted, s.endings = st.Deleted, st.Endings
	s.c.nextUID, s.highUID = st.NextUID, st.NextUID-1
	s.c.lastTime = st.LastTime
	s.lastTime.Store(st.LastTime)
	s.archived.Store(st.Archived)
	s.checkpointed.Store(st.Checkpoint)
	s.indexFlushed, s.indexFlushedAt = st.Checkpoint, time.Now()
}

// skipLost handles a disk that lost what it had synced, after the archive had
// taken it: offsets and positions that the archive has are not given out again.
func (s *Store) skipLost(u *index.Update, end *int64) error {
	for _, q := range s.allQueues() {
		if q.archived <= q.next {
			continue
		}
		s.o.Logger.Error("the disk lost messages that were synced; they are in the archive",
			"topic", q.topic.name, "queue", q.id, "from", q.next, "to", q.archived)
		u.SkipTo(q.uid, q.archived)
		q.next, q.start, q.base, q.tail = q.archived, q.archived, q.archived, nil
		u.Queue(s.stateOf(q))
	}
	if s.archived.Load() > *end && s.files.active() != nil { // a planted log has no bytes yet
		s.o.Logger.Error("the disk lost synced bytes of the log", "dir", s.dir, "from", *end, "to", s.archived.Load())
	}
	return nil
}

// load lists the segment files, opens those that are kept and recycles the
// others. It gives the highest epoch that a header names.
func (fl *files) load(st index.State) (segs []*seg, epoch uint64, err error) {
	names, err := fl.fs.List(fl.dir)
	if err != nil {
		return nil, 0, fmt.Errorf("listing the directory: %w", err)
	}
	var bases []int64
	keyFiles := make(map[int64]bool)
	for _, name := range names {
		if base, ok := parseSegmentName(name, logSuffix); ok {
			bases = append(bases, base)
		} else if base, ok := parseSegmentName(name, keySuffix); ok {
			keyFiles[base] = true
		} else if n, ok := strings.CutPrefix(name, spareName); ok {
			no, _ := strconv.Atoi(n)
			fl.spareNo = max(fl.spareNo, no)
			fl.spares = append(fl.spares, fl.path(name))
		}
	}
	slices.Sort(bases)
	for _, base := range bases {
		delete(keyFiles, base)
		if base < st.First {
			// No spare: a Scrub may have wanted it gone.
			err = errors.Join(fl.removeIfThere(fl.path(segmentName(base, logSuffix))),
				fl.removeIfThere(fl.path(segmentName(base, keySuffix))))
		} else {
			err = fl.openSegment(base, st)
		}
		if err != nil {
			return nil, 0, err
		}
	}
	for base := range keyFiles {
		if err := fl.removeIfThere(fl.path(segmentName(base, keySuffix))); err != nil {
			return nil, 0, err
		}
	}
	return fl.link(st)
}

func (fl *files) removeIfThere(path string) error {
	if err := fl.fs.Remove(path); err != nil && !isNotExist(err) {
		return fmt.Errorf("removing a file: %w", err)
	}
	return nil
}

func (fl *files) openSegment(base int64, st index.State) error {
	path := fl.path(segmentName(base, logSuffix))
	f, err := fl.fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("opening a segment: %w", err)
	}
	g := &seg{base: base, path: path, f: f}
	g.refs.Store(1)
	g.end.Store(math.MaxInt64)
	g.stale.Store(true)
	g.lastTime.Store(st.Segments[base])
	fl.segs = append(fl.segs, g)
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("asking for the size of %s: %w", path, err)
	}
	g.size.Store(info.Size())
	return nil
}

// link checks the headers and that the segments follow each other. A segment
// behind the checkpoint that has no good header was never synced: it ends the
// log, unless the scan finds proof of the contrary.
func (fl *files) link(st index.State) (segs []*seg, epoch uint64, err error) {
	for base := range st.Segments {
		if base >= st.First && !slices.ContainsFunc(fl.segs, func(g *seg) bool { return g.base == base }) {
			return nil, 0, fmt.Errorf("%w: the segment file %s is missing", ErrCorrupt, fl.path(segmentName(base, logSuffix)))
		}
	}
	for i, g := range fl.segs {
		h, herr := readHeader(g)
		switch {
		case errors.Is(herr, segment.ErrVersion):
			return nil, 0, fmt.Errorf("%w: %s: %w", ErrFormat, g.path, herr)
		case herr == nil && h.Base != g.base:
			herr = fmt.Errorf("%w segment header: it belongs at %d", segment.ErrInvalid, h.Base)
		case herr != nil && !errors.Is(herr, segment.ErrInvalid) && !errors.Is(herr, io.EOF):
			return nil, 0, fmt.Errorf("reading %s: %w", g.path, herr)
		}
		if herr == nil {
			epoch = max(epoch, h.Epoch)
			g.epoch = h.Epoch
			if i > 0 {
				fl.segs[i-1].end.Store(h.PrevEnd)
			}
			if err := readFirstTime(g); err != nil {
				return nil, 0, err
			}
			continue
		}
		if g.base < st.Checkpoint {
			return nil, 0, fmt.Errorf("%w: %s at position %d: %w", ErrCorrupt, g.path, g.base, herr)
		}
		if i > 0 {
			fl.segs[i-1].end.Store(g.base)
		}
		g.bad = herr
		g.end.Store(g.base) // holds nothing
	}
	return slices.Clone(fl.segs), epoch, nil
}

func readHeader(g *seg) (segment.Header, error) {
	b := make([]byte, segment.HeaderLen)
	if n, err := g.f.ReadAt(b, 0); err != nil {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w segment header: the file has %d bytes", segment.ErrInvalid, n)
		}
		return segment.Header{}, err
	}
	return segment.ParseHeader(b)
}

// readFirstTime notes the store time of a segment's first record, if it has one.
func readFirstTime(g *seg) error {
	b := make([]byte, 128)
	n, err := g.f.ReadAt(b, segment.HeaderLen)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading %s: %w", g.path, err)
	}
	r := mq.Record(b[:n])
	if n == len(b) && binary.BigEndian.Uint32(b[4:]) == mq.MagicV1 && r.PhysicalOffset() == g.base+segment.HeaderLen {
		g.firstTime.Store(r.StoreTimeMillis())
	}
	return nil
}
