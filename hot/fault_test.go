package hot

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"varve/hot/segment"
	"varve/internal/mq"
)

func mustOpen(t *testing.T, dir string, o Options) *Store {
	t.Helper()
	o.Broker = "b"
	if o.MinFreeBytes == 0 {
		o.MinFreeBytes = -1
	}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closed(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// logFault fails operations on segment files while it is on.
type logFault struct {
	on   atomic.Bool
	err  error
	kind []errorfs.OpKind
}

func (f *logFault) wrap(base vfs.FS) vfs.FS {
	return errorfs.Wrap(base, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !f.on.Load() || !strings.HasSuffix(op.Path, logSuffix) {
			return nil
		}
		for _, k := range f.kind {
			if op.Kind == k {
				return &fs.PathError{Op: "write", Path: op.Path, Err: f.err}
			}
		}
		return nil
	}))
}

// A full disk refuses appends with ErrDiskFull, keeps the store readable, and
// is over when there is room again; nothing refused ever shows up.
func TestDiskFullWhileWriting(t *testing.T) {
	for _, kind := range []errorfs.OpKind{errorfs.OpFileWriteAt, errorfs.OpCreate} {
		mem := vfs.NewCrashableMem()
		f := &logFault{err: syscall.ENOSPC, kind: []errorfs.OpKind{kind}}
		s := mustOpen(t, "/hot", Options{FS: f.wrap(mem), SegmentBytes: 8 << 10, Flush: FlushSync})
		l := newLedger()
		w := newSender(s, l, "t", 1)
		for n := range 300 {
			f.on.Store(n%10 >= 7)
			before := s.Confirmed()
			err := w.send(t.Context())
			if err != nil && (!errors.Is(err, ErrDiskFull) || s.Confirmed() != before) {
				t.Fatalf("append %d on a full disk: %v, confirmed moved by %d", n, err, s.Confirmed()-before)
			}
			if err == nil && f.on.Load() && kind == errorfs.OpFileWriteAt {
				t.Fatalf("append %d succeeded on a full disk", n)
			}
			if n%50 == 9 {
				if err := verify(s, l, true); err != nil {
					t.Fatalf("while the disk is full: %v", err)
				}
			}
		}
		f.on.Store(false)
		crashed := mem.CrashClone(vfs.CrashCloneCfg{})
		closed(t, s)
		for _, fs := range []vfs.FS{mem, crashed} {
			s = mustOpen(t, "/hot", Options{FS: fs, SegmentBytes: 8 << 10})
			if err := verify(s, l, true); err != nil {
				t.Fatal(err)
			}
			for q, end := range l.acked {
				if r, err := s.Range(t.Context(), q); err != nil || r.To != end {
					t.Fatalf("%v ends at %d, acked up to %d, %v", q, r.To, end, err)
				}
			}
			closed(t, s)
		}
	}
}

func TestMinFreeBytes(t *testing.T) {
	mem := vfs.NewMem()
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 10 << 20, TotalBytes: 1 << 30})
	s := mustOpen(t, "/hot", Options{FS: mem, MinFreeBytes: 20 << 20})
	defer closed(t, s)
	w := newSender(s, newLedger(), "t", 1)
	err := w.send(t.Context())
	if !errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), "/hot") {
		t.Fatalf("append with too little free space: %v", err)
	}
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 30 << 20, TotalBytes: 1 << 30})
	if err := w.send(t.Context()); err != nil {
		t.Fatalf("append when there is space again: %v", err)
	}
	if got := s.Stats().FreeBytes; got != 30<<20 {
		t.Errorf("free bytes %d", got)
	}
}

func TestFullDiskAtOpen(t *testing.T) {
	mem := vfs.NewMem()
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: openReserve - 1, TotalBytes: 1 << 30})
	_, err := Open("/hot", Options{FS: mem, Broker: "b"})
	if !errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), "/hot has 16777215 bytes left, opening needs 16777216") {
		t.Fatalf("opening on a full disk: %v", err)
	}
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: openReserve, TotalBytes: 1 << 30})
	s := mustOpen(t, "/hot", Options{FS: mem, MinFreeBytes: 1 << 30})
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 1 << 30})
	closed(t, s)
}

// After a failed sync nothing is appended any more, though a second sync would
// succeed; what was acked before can be read, also by a new opening.
func TestFailedSync(t *testing.T) {
	mem := vfs.NewCrashableMem()
	f := &logFault{err: syscall.EIO, kind: []errorfs.OpKind{errorfs.OpFileSyncData, errorfs.OpFileSync}}
	s := mustOpen(t, "/hot", Options{FS: f.wrap(mem), Flush: FlushSync})
	l := newLedger()
	w := newSender(s, l, "t", 1)
	for range 20 {
		if err := w.send(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	f.on.Store(true)
	if err := w.send(t.Context()); !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("append with a failing sync: %v", err)
	}
	f.on.Store(false)
	if err := w.send(t.Context()); !errors.Is(err, ErrFailed) {
		t.Fatalf("append after a failed sync: %v", err)
	}
	if s.Stats().Failed == nil {
		t.Error("the figures don't say that the store has failed")
	}
	if err := verify(s, l, true); err != nil {
		t.Fatal(err)
	}
	crashed := mem.CrashClone(vfs.CrashCloneCfg{})
	closed(t, s)
	s = mustOpen(t, "/hot", Options{FS: crashed})
	defer closed(t, s)
	if err := verify(s, l, true); err != nil {
		t.Fatal(err)
	}
}

func TestFailedWrite(t *testing.T) {
	f := &logFault{err: syscall.EIO, kind: []errorfs.OpKind{errorfs.OpFileWriteAt}}
	s := mustOpen(t, "/hot", Options{FS: f.wrap(vfs.NewMem())})
	defer closed(t, s)
	l := newLedger()
	w := newSender(s, l, "t", 1)
	if err := w.send(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.on.Store(true)
	if err := w.send(t.Context()); !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), logSuffix) {
		t.Fatalf("append with a failing write: %v", err)
	}
	if err := verify(s, l, true); err != nil {
		t.Fatal(err)
	}
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	if _, err := Open(dir, Options{Broker: "b"}); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("opening a directory twice: %v", err)
	}
	if os.Getenv("HOT_TEST_LOCK") == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLockedByOther$")
		cmd.Env = append(os.Environ(), "HOT_TEST_LOCK="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("another process: %v\n%s", err, out)
		}
	}
	closed(t, s)
	s = mustOpen(t, dir, Options{})
	closed(t, s)
}

// TestLockedByOther is the other process of TestLocked.
func TestLockedByOther(t *testing.T) {
	dir := os.Getenv("HOT_TEST_LOCK")
	if dir == "" {
		t.Skip("run by TestLocked")
	}
	if _, err := Open(dir, Options{Broker: "b"}); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("opening another process's directory: %v", err)
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	for _, errno := range []error{syscall.EROFS, syscall.EACCES} {
		fsys := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpLock {
				return &fs.PathError{Op: "open", Path: op.Path, Err: errno}
			}
			return nil
		}))
		_, err := Open("/hot", Options{FS: fsys, Broker: "b"})
		if !errors.Is(err, errno) || errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "writable") {
			t.Errorf("opening a read-only directory: %v", err)
		}
	}
}

func TestNewerFormat(t *testing.T) {
	dir := t.TempDir()
	closed(t, mustOpen(t, dir, Options{}))
	for name, text := range map[string]string{"newer": "varve-hot 99\n", "foreign": "something else\n", "a wrong bit": "varve-jot 2\n", "empty": ""} {
		if err := os.WriteFile(filepath.Join(dir, formatFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(dir, Options{Broker: "b"})
		want := ErrCorrupt
		if name == "newer" {
			want = ErrFormat
		}
		if !errors.Is(err, want) || !strings.Contains(err.Error(), formatFile) {
			t.Errorf("%s: %v", name, err)
		}
		if name == "newer" && (!strings.Contains(err.Error(), "99") || !strings.Contains(err.Error(), "up to 2")) {
			t.Errorf("the error does not name the versions: %v", err)
		}
	}
	if err := os.Remove(filepath.Join(dir, formatFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{Broker: "b"}); !errors.Is(err, ErrFormat) {
		t.Errorf("segments without a format file: %v", err)
	}
}

// filled gives a closed store of several segments, and what is in it.
func filled(t *testing.T, mem *vfs.MemFS, clean bool) (*ledger, []string, vfs.FS) {
	t.Helper()
	s := mustOpen(t, "/hot", Options{FS: mem, SegmentBytes: 8 << 10, Flush: FlushSync})
	l := newLedger()
	w := newSender(s, l, "t", 5)
	for n := range 200 {
		if err := w.send(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n == 150 {
			if err := s.checkpoint(); err != nil {
				t.Fatal(err)
			}
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var paths []string
	for _, g := range s.files.segs {
		paths = append(paths, g.path)
	}
	crashed := mem.CrashClone(vfs.CrashCloneCfg{})
	closed(t, s)
	if clean {
		return l, paths, mem
	}
	return l, paths, crashed
}

func flip(t *testing.T, fs vfs.FS, path string, at int64) {
	t.Helper()
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x40
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// A bit that rots in a segment is an error that names file and position, by
// Open where it scans, else by the reader and the Tail that come to it; the
// other messages can still be read.
func TestCorruptMiddle(t *testing.T) {
	_, paths, fs := filled(t, vfs.NewCrashableMem(), true)
	if len(paths) < 4 {
		t.Fatalf("only %d segments", len(paths))
	}
	flip(t, fs, paths[1], 700)
	s := mustOpen(t, "/hot", Options{FS: fs, SegmentBytes: 8 << 10})
	defer closed(t, s)
	bad := 0
	for _, q := range s.Queues() {
		r, _ := s.Range(t.Context(), q)
		for at := r.From; at < r.To; at++ {
			if _, err := s.Read(t.Context(), q, at, mq.Limit{Messages: 1}); err != nil {
				bad++
				if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), paths[1]) {
					t.Errorf("reading the bad record: %v", err)
				}
			}
		}
	}
	if bad > 1 {
		t.Errorf("%d records can't be read", bad)
	}
	tail := s.Tail(0)
	defer tail.Close()
	for {
		_, _, err := tail.Next(t.Context(), 64<<10)
		if err == nil {
			continue
		}
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), paths[1]) {
			t.Errorf("following the log over the bad record: %v", err)
		}
		break
	}
}

// A read gives what is before a bad record, and fails only where it begins
// with it; the records behind can be read.
func TestReadUpToBadRecord(t *testing.T) {
	mem := vfs.NewMem()
	s := mustOpen(t, "/hot", Options{FS: mem})
	defer closed(t, s)
	var placed []Placed
	for i := range 40 {
		p, err := s.Append(t.Context(), []*mq.Message{{Topic: "t", Body: []byte{byte(i)}}})
		if err != nil {
			t.Fatal(err)
		}
		placed = append(placed, p...)
	}
	flip(t, mem, s.files.segs[0].path, placed[25].PhysicalOffset+20)
	q := testQueue("t", 0)
	for name, lim := range map[string]mq.Limit{"all": {}, "filtered": {Filter: bodyFrom{10}}, "none": {Filter: bodyFrom{30}}} {
		want := map[string]int{"all": 25, "filtered": 15, "none": 0}[name]
		b, err := s.Read(t.Context(), q, 0, lim)
		if err != nil || b.Next != 25 || b.Count != want {
			t.Errorf("%s: %d messages up to %d, %v; want %d up to 25", name, b.Count, b.Next, err, want)
		}
		n := 0
		for r := range mq.Records(b.Body) {
			n++
			if err := r.Check(true); err != nil {
				t.Errorf("%s: offset %d: %v", name, r.QueueOffset(), err)
			}
		}
		if n != want {
			t.Errorf("%s: %d records in the body", name, n)
		}
	}
	if _, err := s.Read(t.Context(), q, 25, mq.Limit{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a read that begins with the bad record: %v", err)
	}
	if b, err := s.Read(t.Context(), q, 26, mq.Limit{}); err != nil || b.Count != 14 {
		t.Errorf("behind the bad record: %d messages, %v", b.Count, err)
	}
}

// bodyFrom keeps the messages whose body is at least from.
type bodyFrom struct{ from byte }

func (bodyFrom) MatchTag(int64) bool { return true }

func (f bodyFrom) MatchRecord(r mq.Record) bool { return r.Body()[0] >= f.from }

func TestCorruptBehindCheckpoint(t *testing.T) {
	mem := vfs.NewCrashableMem()
	_, paths, fs := filled(t, mem, false)
	last := paths[len(paths)-1]
	flip(t, fs, last, segment.HeaderLen+100)
	_, err := Open("/hot", Options{FS: fs, Broker: "b"})
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), last) {
		t.Fatalf("opening with a bad batch that had been synced: %v", err)
	}
}

// What a clean stop left must be there at the next start: a file that is cut
// short, at the end of a batch or within one, or a last batch that has rotted,
// refuses to open.
func TestLossAfterCleanStop(t *testing.T) {
	for name, harm := range map[string]func(fs vfs.FS, path string, size int64){
		"half": func(fs vfs.FS, path string, size int64) { truncate(t, fs, path, size/2) },
		"byte": func(fs vfs.FS, path string, size int64) { truncate(t, fs, path, size-1) },
		"flip": func(fs vfs.FS, path string, size int64) { flip(t, fs, path, size-segment.TrailerLen-20) },
		"crc":  func(fs vfs.FS, path string, size int64) { flip(t, fs, path, size-2) },
	} {
		_, paths, fs := filled(t, vfs.NewCrashableMem(), true)
		last := paths[len(paths)-1]
		s := mustOpen(t, "/hot", Options{FS: fs})
		size := s.Confirmed() - s.files.active().base
		closed(t, s)
		harm(fs, last, size)
		_, err := Open("/hot", Options{FS: fs, Broker: "b", MinFreeBytes: -1})
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), last) || !strings.Contains(err.Error(), "position") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// After a crash the torn end goes, and the log says so.
func TestTornEndIsLogged(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, "/hot", Options{FS: mem, Flush: FlushSync})
	w := newSender(s, newLedger(), "t", 1)
	fill(t, w, 5)
	end, path := s.Confirmed(), s.files.segs[0].path
	fill(t, w, 1)
	size := s.Confirmed() - s.files.segs[0].base
	crashed := mem.CrashClone(vfs.CrashCloneCfg{})
	closed(t, s)
	truncate(t, crashed, path, size-1)
	var text bytes.Buffer
	s = mustOpen(t, "/hot", Options{FS: crashed, Logger: slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	closed(t, s)
	want := fmt.Sprintf("level=WARN msg=\"torn end of the log cut\" file=%s position=%d bytes=%d", path, end, size-1-end)
	if !strings.Contains(text.String(), want) {
		t.Errorf("log %q, want %s", text.String(), want)
	}
}

// A crash that tore nothing is not called a torn end, though the file was
// filled ahead with zeros.
func TestWholeEndIsNotCalledTorn(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, "/hot", Options{FS: mem, Flush: FlushSync})
	fill(t, newSender(s, newLedger(), "t", 1), 5)
	end := s.Confirmed()
	crashed := mem.CrashClone(vfs.CrashCloneCfg{})
	closed(t, s)
	if info, err := crashed.Stat(s.files.path(segmentName(0, logSuffix))); err != nil || info.Size() <= end {
		t.Fatalf("the file isn't filled ahead: %v, %v", info, err)
	}
	var text bytes.Buffer
	s = mustOpen(t, "/hot", Options{FS: crashed, Logger: slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if got := s.Confirmed(); got != end {
		t.Errorf("the log ends at %d, %d was acked", got, end)
	}
	closed(t, s)
	if text.Len() > 0 {
		t.Errorf("logged %q", text.String())
	}
}

// truncate cuts a file; vfs has no such call, so its head is written anew.
func truncate(t *testing.T, fs vfs.FS, path string, size int64) {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	head := make([]byte, size)
	_, err = f.ReadAt(head, 0)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if f, err = fs.Create(path, vfs.WriteCategoryUnspecified); err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(head)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestMissingAndBadSegments(t *testing.T) {
	for name, harm := range map[string]func(fs vfs.FS, path string) error{
		"missing": func(fs vfs.FS, path string) error { return fs.Remove(path) },
		"header": func(fs vfs.FS, path string) error {
			flip(t, fs, path, 9)
			return nil
		},
	} {
		_, paths, fs := filled(t, vfs.NewCrashableMem(), true)
		if err := harm(fs, paths[1]); err != nil {
			t.Fatal(err)
		}
		_, err := Open("/hot", Options{FS: fs, Broker: "b"})
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), paths[1]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The clock steps back: store times don't, and the search by time stays exact.
func TestClockStepsBack(t *testing.T) {
	var now atomic.Int64
	now.Store(1_000_000)
	o := Options{FS: vfs.NewMem(), Now: func() time.Time { return time.UnixMilli(now.Load()) }}
	s := mustOpen(t, "/hot", o)
	var times []int64
	put := func() {
		p, err := s.Append(t.Context(), []*mq.Message{{Topic: "t", Body: []byte("x")}})
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, p[0].StoreTimeMillis)
	}
	for _, at := range []int64{1_000_000, 1_000_500, 400, 300, 1_000_400} {
		now.Store(at)
		put()
	}
	closed(t, s)
	now.Store(100)
	s = mustOpen(t, "/hot", o)
	defer closed(t, s)
	put()
	now.Store(1_000_600)
	put()
	want := []int64{1_000_000, 1_000_500, 1_000_500, 1_000_500, 1_000_500, 1_000_500, 1_000_600}
	for i := range want {
		if times[i] != want[i] {
			t.Fatalf("store times %v, want %v", times, want)
		}
	}
	if off, err := s.OffsetAt(t.Context(), testQueue("t", 0), 1_000_500, mq.Lower); err != nil || off != 1 {
		t.Errorf("lower bound %d, %v", off, err)
	}
	if off, err := s.OffsetAt(t.Context(), testQueue("t", 0), 1_000_500, mq.Upper); err != nil || off != 5 {
		t.Errorf("upper bound %d, %v", off, err)
	}
}

// On a disk that is all but full no index is written, but reads and trims work
// and spare files are given up.
func TestNoRoomForIndexes(t *testing.T) {
	mem := vfs.NewMem()
	s := mustOpen(t, "/hot", Options{FS: mem, MinFreeBytes: 20 << 20, SegmentBytes: 8 << 10})
	l := newLedger()
	w := newSender(s, l, "t", 1)
	fill(t, w, 100)
	archiveAll(t, s)
	trimmed(t, s, TrimPolicy{})
	fill(t, w, 30)
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	archiveAll(t, s)
	fill(t, w, 5)
	if s.Stats().Spares == 0 {
		t.Fatal("no spare files to give up")
	}
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20, TotalBytes: 1 << 30})
	s.run(t.Context(), func() error { s.c.lastDiskCheck = 0; return nil })
	if err := w.send(t.Context()); !errors.Is(err, ErrDiskFull) {
		t.Errorf("append: %v", err)
	}
	if n := s.Stats().Spares; n != 0 {
		t.Errorf("%d spare files are kept", n)
	}
	if err := s.checkpoint(); !errors.Is(err, ErrDiskFull) {
		t.Errorf("checkpoint: %v", err)
	}
	if freed := trimmed(t, s, TrimPolicy{}); freed == 0 {
		t.Error("nothing trimmed")
	}
	if err := verify(s, l, true); err != nil {
		t.Error(err)
	}
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 1 << 30})
	if err := w.send(t.Context()); err != nil {
		t.Errorf("append when there is room: %v", err)
	}
	closed(t, s)
}
