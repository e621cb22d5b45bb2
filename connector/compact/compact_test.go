package compact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
	"varve/internal/typed"
)

// stand is a table of small files and what merges them.
type stand struct {
	bucket *objtest.Faulty
	arch   *archive.Archive
	table  *archive.Table
	want   map[mq.Queue][]byte // records
	now    time.Time
	typed  *typed.Layout // of new files
	*Compactor
}

func openArchive(t *testing.T, b objstore.Bucket) *archive.Archive {
	t.Helper()
	a, err := archive.Open(t.Context(), b, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newStand(t *testing.T, files, rows int) *stand {
	t.Helper()
	s := &stand{bucket: objtest.NewFaulty(mem.New()), want: map[mq.Queue][]byte{}, now: time.Now()}
	s.arch = openArchive(t, s.bucket)
	var err error
	if s.table, err = s.arch.CreateTable(t.Context(), queue.Topic); err != nil {
		t.Fatal(err)
	}
	other := queue
	other.ID = 3
	for range files {
		s.commit(t, queue, rows)
		s.commit(t, other, rows)
	}
	s.start(t)
	return s
}

// again gives a stand with a bucket of its own that has the same objects.
func (s *stand) again(t *testing.T) *stand {
	t.Helper()
	inner := mem.New()
	for o, err := range s.bucket.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, o.Size)
		if err := s.bucket.ReadAt(t.Context(), o.Name, data, 0); err != nil {
			t.Fatal(err)
		}
		if err := inner.Put(t.Context(), o.Name, bytes.NewReader(data), o.Size, objstore.IfAbsent); err != nil {
			t.Fatal(err)
		}
	}
	n := &stand{bucket: objtest.NewFaulty(inner), want: s.want, now: s.now}
	n.open(t)
	return n
}

// open opens the archive and the table anew, as a new process does.
func (s *stand) open(t *testing.T) {
	t.Helper()
	s.arch = openArchive(t, s.bucket)
	var err error
	if s.table, err = s.arch.Table(t.Context(), queue.Topic); err != nil {
		t.Fatal(err)
	}
	s.start(t)
}

// start makes a compactor, as a new process does.
func (s *stand) start(t *testing.T) {
	t.Helper()
	var err error
	s.Compactor, err = New(Config{
		Broker: queue.Broker, Dir: t.TempDir(), BytesPerSecond: -1, CPU: 1, Now: func() time.Time { return s.now },
	}, s.arch)
	if err != nil {
		t.Fatal(err)
	}
}

// file uploads the next rows of a queue.
func (s *stand) file(t *testing.T, q mq.Queue, rows int) archive.DataFile {
	t.Helper()
	from := s.table.Snapshot().Next[q]
	var buf bytes.Buffer
	w := archive.NewFileWriter(&buf, q, archive.FileOptions{Epoch: 1, Typed: s.typed})
	for off := from; off < from+int64(rows); off++ {
		rec := mq.AppendRecord(nil, &mq.Message{
			Topic: q.Topic, QueueID: q.ID, QueueOffset: off, PhysicalOffset: int64(q.ID)<<32 + off*100,
			StoreTimeMillis: s.now.Add(-time.Hour).UnixMilli() + off, Body: fmt.Appendf(nil, "body of %d in %d", off, q.ID),
			Properties: mq.AppendProperty(mq.AppendProperty(nil, mq.PropUniqKey, fmt.Sprintf("U%d-%d", q.ID, off)), mq.PropKeys, fmt.Sprint("k", off)),
		})
		s.want[q] = append(s.want[q], rec...)
		if err := w.Add(rec); err != nil {
			t.Fatal(err)
		}
	}
	f, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	f.Name = archive.FileName(q, s.table.Root(), from, f.Rows, 1)
	if err := s.bucket.Put(t.Context(), f.Name, &buf, f.Bytes, objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
	return f
}

func (s *stand) commit(t *testing.T, q mq.Queue, rows int) {
	t.Helper()
	f := s.file(t, q, rows)
	if _, err := s.table.Append(t.Context(), archive.Commit{ID: f.Name, Broker: q.Broker, Epoch: 1, Files: []archive.DataFile{f}}); err != nil {
		t.Fatal(err)
	}
}

// check reads all as another process, and demands every record once.
func (s *stand) check(t *testing.T) *archive.Table {
	t.Helper()
	a := openArchive(t, s.bucket)
	r := archive.NewReader(a, s.bucket, archive.ReaderOptions{})
	defer r.Close()
	for q, want := range s.want {
		var got []byte
		rng, err := r.Range(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for at := rng.From; at < rng.To; {
			b, err := r.Read(t.Context(), q, at, mq.Limit{})
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, b.Body...)
			at = b.Next
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%v gives %d bytes, want %d", q, len(got), len(want))
		}
	}
	tbl, err := a.Table(t.Context(), queue.Topic)
	if err != nil {
		t.Fatal(err)
	}
	return tbl
}

func TestCompact(t *testing.T) {
	s := newStand(t, 20, 30)
	readers := archive.NewReader(s.arch, s.bucket, archive.ReaderOptions{})
	defer readers.Close()
	b, err := readers.Read(t.Context(), queue, 0, mq.Limit{Messages: 7})
	if err != nil {
		t.Fatal(err)
	}
	before := s.table.Snapshot()
	planned := s.table.Index().Files(queue, mq.Range{To: 1 << 40}) // by a reader
	s.Look(t.Context())
	if n := len(s.check(t).Index().All()); n != 2*5 {
		t.Errorf("%d files", n)
	}
	after := s.table.Snapshot()
	if fmt.Sprint(before.Next, before.Epoch, before.NextPhysical, before.StoreTimeLow) != fmt.Sprint(after.Next, after.Epoch, after.NextPhysical, after.StoreTimeLow) {
		t.Errorf("marks changed: %+v, were %+v", after, before)
	}
	if st := s.Status(); st.Merges != 2 || st.FilesIn != 32 || st.Failures != 0 || st.Running != "" || st.EncodedRows != 960 {
		t.Errorf("%+v", st)
	}
	for at := b.Next; at < 600; at = b.Next { // goes on in the midst of an old file
		if b, err = readers.Read(t.Context(), queue, at, mq.Limit{Messages: 7}); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range planned { // their objects are there still
		if _, err := archive.OpenFile(t.Context(), s.bucket, f); err != nil {
			t.Error(err)
		}
	}
	s.bucket.Calls()
	s.Look(t.Context())
	for _, c := range s.bucket.Calls() {
		if strings.HasPrefix(c.Name, s.table.Root()) {
			t.Errorf("a table with nothing to merge costs %s of %s", c.Op, c.Name)
		}
	}
	st, err := s.Compact(t.Context(), queue.Topic)
	if err != nil || st.Merges != 2 || len(s.check(t).Index().All()) != 2 {
		t.Errorf("by force: %+v, %v", st, err)
	}
	if _, err := s.Compact(t.Context(), "nothing"); !errors.Is(err, archive.ErrNoTable) {
		t.Errorf("an unknown topic: %v", err)
	}
	// A connector that comes back repeats its last commits.
	for _, f := range planned[18:] {
		if _, err := s.table.Append(t.Context(), archive.Commit{ID: "again " + f.Name, Broker: f.Queue.Broker, Epoch: 1, Files: []archive.DataFile{f}}); err != nil {
			t.Error(err)
		}
	}
	s.commit(t, queue, 5)
	s.check(t)
}

// TestCompactGivesWay: nothing is begun while something is more urgent, and no
// other broker group's files are touched.
func TestCompactGivesWay(t *testing.T) {
	s := newStand(t, 16, 3)
	why := "the connector lags"
	s.cfg.Busy = func() string { return why }
	s.Look(t.Context())
	if st := s.Status(); st.Merges != 0 || !strings.Contains(st.Paused, why) || st.Failures != 0 {
		t.Errorf("%+v", st)
	}
	if _, err := s.Compact(t.Context(), ""); !errors.Is(err, ErrPaused) {
		t.Error(err)
	}
	why = ""
	s.cfg.Broker = "another"
	if s.Look(t.Context()); s.Status().Merges != 0 {
		t.Error("another broker group's files were merged")
	}
	s.cfg.Broker = queue.Broker
	if s.Look(t.Context()); s.Status().Merges != 2 || s.Status().Paused != "" {
		t.Errorf("%+v", s.Status())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
}

// TestCompactKilled: the process ends at any of its requests. Nothing is lost or
// twice there, and the next process merges.
func TestCompactKilled(t *testing.T) {
	t.Parallel()
	first := newStand(t, 16, 2)
	step := 1
	if testing.Short() {
		step = 17
	}
	for skip, dead := 0, true; dead; skip += step {
		if skip > 400 {
			t.Fatal("it never ends")
		}
		s := first.again(t)
		s.bucket.Add(objtest.Fault{Skip: skip, Err: objstore.ErrDenied})
		s.Look(t.Context())
		dead = s.Status().Merges < 2
		s.bucket.Clear()
		s.check(t)
		s.open(t)
		s.Look(t.Context())
		if n := len(s.check(t).Index().All()); n != 2 {
			t.Errorf("killed at request %d: %d files in the end: %+v", skip, n, s.Status())
		}
	}
}

// TestCompactUnderEveryFault: each request fails in each way, once. The next
// passes make up for it.
func TestCompactUnderEveryFault(t *testing.T) {
	t.Parallel()
	first := newStand(t, 16, 2)
	skips := []int{0, 1, 3, 7, 17}
	if testing.Short() {
		skips = []int{3}
	}
	for _, op := range []objtest.Op{objtest.Put, objtest.Head, objtest.Get, objtest.ReadAt, objtest.List} {
		for _, how := range []objtest.How{objtest.Before, objtest.After, objtest.Half, objtest.Lie, objtest.Spoil, objtest.Cut} {
			if how >= objtest.Lie && op != objtest.Put {
				continue
			}
			for _, skip := range skips {
				t.Run(fmt.Sprintf("%s/%d/skip=%d", op, how, skip), func(t *testing.T) {
					s := first.again(t)
					s.bucket.Add(objtest.Fault{Op: op, How: how, Skip: skip, Times: 1})
					s.Look(t.Context())
					s.bucket.Clear()
					s.check(t)
					s.start(t)
					s.Look(t.Context())
					s.Look(t.Context())
					if n := len(s.check(t).Index().All()); n != 2 {
						t.Errorf("%d files: %+v", n, s.Status())
					}
				})
			}
		}
	}
}

// TestCompactLosesARace: retention takes a file while it is merged.
func TestCompactLosesARace(t *testing.T) {
	s := newStand(t, 16, 3)
	other := openArchive(t, s.bucket)
	tbl, err := other.Table(t.Context(), queue.Topic)
	if err != nil {
		t.Fatal(err)
	}
	gone := tbl.Index().Files(queue, mq.Range{To: 1})[0]
	s.bucket.Add(objtest.Fault{Op: objtest.Put, Name: ".parquet", How: objtest.Slow, Times: 1, Wait: func(ctx context.Context) error {
		_, err := tbl.Delete(ctx, []string{gone.Name}, "age")
		return err
	}})
	s.Look(t.Context())
	if st := s.Status(); st.Lost != 1 || st.Merges != 1 || st.Failures != 0 {
		t.Errorf("%+v", st)
	}
	s.want[queue] = s.want[queue][len(readFile(t, s, gone)):]
	if n := len(s.check(t).Index().All()); n != 16 {
		t.Errorf("%d files", n)
	}
}

func readFile(t *testing.T, s *stand, f archive.DataFile) (out []byte) {
	t.Helper()
	file, err := archive.OpenFile(t.Context(), s.bucket, f)
	if err != nil {
		t.Fatal(err)
	}
	for at := f.Offsets.From; at < f.Offsets.To; {
		b, err := file.Read(t.Context(), at, mq.Limit{})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b.Body...)
		at = b.Next
	}
	return out
}

// TestCompactLeavesDamage: a file that is not what it was is left where it is,
// said to be so, and the others are merged.
func TestCompactLeavesDamage(t *testing.T) {
	s := newStand(t, 33, 3)
	s.now = s.now.Add(48 * time.Hour) // its day is over
	s.cfg.Rules.SmallBytes = 1        // the queues share nothing
	bad := s.table.Index().Files(queue, mq.Range{To: 1 << 40})[16]
	data := make([]byte, bad.Bytes)
	if err := s.bucket.ReadAt(t.Context(), bad.Name, data, 0); err != nil {
		t.Fatal(err)
	}
	data[len(data)/3] ^= 4
	if err := s.bucket.Put(t.Context(), bad.Name, bytes.NewReader(data), bad.Bytes, objstore.Always); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Compact(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	st := s.Status()
	if len(st.Left) != 1 || st.Left[bad.Name] == "" || st.Merges != 3 {
		t.Errorf("%+v", st)
	}
	if n := len(s.table.Index().All()); n != 4 {
		t.Errorf("%d files", n)
	}
	// It is tried again after a while, later each time, and at once for whoever
	// asks; and forgotten with the file.
	tried := func() int {
		n := 0
		for _, c := range s.bucket.Calls() {
			if c.Op == objtest.Get && c.Name == bad.Name {
				n++
			}
		}
		return n
	}
	tried()
	for i, c := range []struct {
		after time.Duration
		want  int
	}{{59 * time.Minute, 0}, {time.Minute, 1}, {time.Hour, 0}, {time.Hour, 1}, {5 * time.Hour, 1}} {
		s.now = s.now.Add(c.after)
		if s.Look(t.Context()); tried() != c.want {
			t.Errorf("look %d: the damaged file was not tried %d times", i, c.want)
		}
	}
	if _, err := s.Compact(t.Context(), queue.Topic); err != nil || tried() != 1 {
		t.Errorf("it was not tried by force, %v", err)
	}
	if _, err := s.table.Delete(t.Context(), []string{bad.Name}, "age"); err != nil {
		t.Fatal(err)
	}
	if s.Look(t.Context()); len(s.Status().Left) != 0 {
		t.Errorf("it is known still: %+v", s.Status())
	}
}

// TestCompactLeavesWhatIsToBlame: a file whose name another one's begins with
// is not the other.
func TestCompactLeavesWhatIsToBlame(t *testing.T) {
	s := newStand(t, 3, 1)
	files := s.table.Index().Files(queue, mq.Range{To: 1 << 40})
	files[1].Name = files[2].Name[:len(files[2].Name)-3]
	s.leave(s.table, files, fmt.Errorf("merge: %w", &archive.ObjectError{Name: files[2].Name, Err: errors.New("damaged: " + files[2].Name)}))
	if left := s.Status().Left; len(left) != 1 || left[files[2].Name] == "" {
		t.Errorf("%+v", left)
	}
}

// TestUploadIsReadBack: a store that keeps other bytes makes no commit.
func TestUploadIsReadBack(t *testing.T) {
	for _, how := range []objtest.How{objtest.Lie, objtest.Spoil, objtest.Cut} {
		s := newStand(t, 16, 3)
		s.bucket.Add(objtest.Fault{Op: objtest.Put, Name: ".parquet", How: how})
		s.Look(t.Context())
		if st := s.Status(); st.Merges != 0 || st.Failures == 0 || !strings.Contains(st.Error, archive.ErrNotStored.Error()) {
			t.Errorf("%v: %+v", how, st)
		}
		s.check(t)
	}
}
