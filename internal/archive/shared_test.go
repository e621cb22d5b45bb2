package archive

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"varve/internal/mq"
	"varve/internal/mq/mqtest"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
)

// sharing makes one object of files of several queues, uploads it, and gives the
// replacement by it.
func sharing(t testing.TB, b objstore.Bucket, tbl *Table, id string, files []DataFile) Replacement {
	t.Helper()
	r := Replacement{ID: id, Op: ReplaceFiles, Reason: "test"}
	var queues [][]DataFile
	for _, f := range sortFiles(files) {
		r.Old = append(r.Old, f.Name)
		if n := len(queues); n > 0 && queues[n-1][0].Queue == f.Queue {
			queues[n-1] = append(queues[n-1], f)
		} else {
			queues = append(queues, []DataFile{f})
		}
	}
	var buf bytes.Buffer
	s, err := ShareFiles(t.Context(), &buf, b, queues, MergeOptions{SpillDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	name := SharedName(files[0].Queue.Broker, tbl.Root(), s.Sections[0].FirstStoreMillis, s.Sections[0].Section.Rows, s.Sections[0].Epoch)
	s.Name(name)
	if err := b.Put(t.Context(), name, &buf, s.Sections[0].ObjectBytes(), objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	r.New = s.Sections
	return r
}

// shareAll puts objects of at most a number of sections in the place of all files
// of a table.
func shareAll(t testing.TB, b objstore.Bucket, tbl *Table, sections int) {
	t.Helper()
	byQueue := map[mq.Queue][]DataFile{}
	for _, q := range tbl.Index().Queues() {
		byQueue[q] = tbl.Index().files(q)
	}
	n := 0
	for queues := range slices.Chunk(tbl.Index().Queues(), sections) {
		var files []DataFile
		for _, q := range queues {
			files = append(files, byQueue[q]...)
		}
		if len(files) == 0 {
			continue
		}
		n++
		if _, err := tbl.Replace(t.Context(), sharing(t, b, tbl, fmt.Sprint("share", n, tbl.Snapshot().Version), files)); err != nil {
			t.Fatal(err)
		}
	}
}

// sharedTable has some queues' files, and then one object for all of them.
func sharedTable(t testing.TB, b objstore.Bucket, queues int, rows int64) (*Table, []mq.Record) {
	t.Helper()
	tbl := createTable(t, openArchive(t, b, Options{}), testQueue.Topic)
	var recs []mq.Record
	for id := range int32(queues) {
		q := testQueue
		q.ID = id
		for i := range int64(3) {
			r := mq.Range{From: i * rows, To: (i + 1) * rows}
			mustAppend(t, tbl, commitOf(fmt.Sprint(id, i), 1, upload(t, tbl, q, r, 1)))
			recs = append(recs, testRecords(q, r)...)
		}
	}
	shareAll(t, b, tbl, queues)
	return tbl, recs
}

// TestReaderConformanceShared: readers of shared objects notice nothing of it.
func TestReaderConformanceShared(t *testing.T) {
	for _, c := range []struct{ rows, group, sections int }{{10_000, 0, 100}, {100, 30, 2}, {64, 64, 100}} {
		t.Run(fmt.Sprintf("rows=%d,group=%d,sections=%d", c.rows, c.group, c.sections), func(t *testing.T) {
			mqtest.Run(t, func(t *testing.T, in []mq.Message) (mq.Reader, []mq.Message) {
				b := mem.New()
				a := storeMessages(t, b, in, mqtest.Broker, c.rows, FileOptions{RowGroupRows: c.group})
				topics, err := a.Topics(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, topic := range topics {
					tbl, err := a.Table(t.Context(), topic)
					if err != nil {
						t.Fatal(err)
					}
					shareAll(t, b, tbl, c.sections)
				}
				// Another process reads it.
				r := NewReader(openArchive(t, b, Options{}), b, ReaderOptions{OpenFiles: 12, CursorBytes: 4 << 20})
				t.Cleanup(func() { _ = r.Close() })
				return r, in
			})
		})
	}
}

// TestSharedObjects: a table with shared objects has each row once, in this
// process and in another, and finds it by key and position; its metadata says so
// to engines, and to older programs that they must not read it.
func TestSharedObjects(t *testing.T) {
	b := mem.New()
	tbl, recs := sharedTable(t, b, 5, 40)
	all := tbl.Index().All()
	if len(all) != 5 || len(Objects(all)) != 1 {
		t.Fatalf("%d files in %d objects", len(all), len(Objects(all)))
	}
	var size int64
	for _, f := range all {
		if size += f.Bytes; f.Parts != 3 || f.Bytes <= 0 || !f.Shared() {
			t.Errorf("%+v", f)
		}
	}
	o, err := b.Head(t.Context(), all[0].Name)
	if err != nil || size != o.Size || tbl.Index().Bytes() != o.Size {
		t.Errorf("%d bytes together, %d of the object, %d of the index: %v", size, o.Size, tbl.Index().Bytes(), err)
	}
	a := openArchive(t, b, Options{})
	again, err := a.Table(t.Context(), tbl.Topic())
	if err != nil {
		t.Fatal(err)
	}
	checkSame(t, tbl, again)
	r := NewReader(a, b, ReaderOptions{})
	for _, rec := range recs {
		got, err := r.FindPhysical(t.Context(), testQueue.Broker, rec.PhysicalOffset())
		if err != nil || got.QueueID() == rec.QueueID() && !bytes.Equal(got, rec) {
			t.Fatalf("position %d: %v", rec.PhysicalOffset(), err)
		}
		id, _ := mq.Property(rec.Properties(), mq.PropUniqKey)
		found, err := r.FindKey(t.Context(), mq.KeyQuery{Topic: tbl.Topic(), Key: string(id), Unique: true})
		if err != nil || !slices.ContainsFunc(slices.Collect(mq.Records(found.Body)), func(x mq.Record) bool { return bytes.Equal(x, rec) }) {
			t.Fatalf("key %s: %v", id, err)
		}
	}
	meta := tbl.current().meta
	sum := meta.CurrentSnapshot().Summary.Properties
	if meta.Properties()[propFormat] != "2" || len(meta.PartitionSpecs()) != 2 || meta.DefaultPartitionSpec() != 0 || len(meta.SortOrders()) != 2 || sum["total-data-files"] != "1" || sum["total-records"] != "600" {
		t.Errorf("format %s, specs %v, orders %v, summary %v", meta.Properties()[propFormat], meta.PartitionSpecs(), meta.SortOrders(), sum)
	}
	if s := meta.PartitionSpecs()[1]; s.ID() != sharedSpecID || s.NumFields() != 1 || s.Field(0).FieldID != partitionBroker {
		t.Errorf("spec %v", s)
	}
	// Ordinary files go on beside it.
	q := testQueue
	q.ID = 2
	mustAppend(t, tbl, commitOf("on", 1, upload(t, tbl, q, mq.Range{From: 120, To: 130}, 1)))
	if _, err := again.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkSame(t, tbl, again)
	if rng, _ := again.Index().Range(q); rng != (mq.Range{To: 130}) {
		t.Errorf("%v", rng)
	}
}

// TestSharedIsReplacedWhole: what replaces or deletes an object of several queues
// has or takes all of them.
func TestSharedIsReplacedWhole(t *testing.T) {
	b := mem.New()
	tbl, _ := sharedTable(t, b, 3, 10)
	all := tbl.Index().All()
	one := upload(t, tbl, all[1].Queue, all[1].Offsets, 1)
	if _, err := tbl.Replace(t.Context(), Replacement{ID: "one", Old: []string{all[0].Name}, New: []DataFile{one}, Op: ReplaceFiles}); !errors.Is(err, errOtherOffsets) {
		t.Errorf("one section for three: %v", err)
	}
	r := Replacement{ID: "apart", Old: []string{all[0].Name}, Op: ReplaceFiles}
	for _, f := range all {
		r.New = append(r.New, upload(t, tbl, f.Queue, f.Offsets, 1))
	}
	if _, err := tbl.Replace(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, err := tbl.Delete(t.Context(), []string{all[0].Name}, "age"); !errors.Is(err, ErrReplaced) {
		t.Errorf("a shared object that was replaced: %v", err)
	}
	shareAll(t, b, tbl, 3)
	all = tbl.Index().All()
	snap, err := tbl.Delete(t.Context(), []string{all[0].Name}, "age")
	if err != nil || len(tbl.Index().All()) != 0 || len(snap.RemovedBelow) != 3 || tbl.Index().Bytes() != 0 {
		t.Errorf("%+v, %v", snap, err)
	}
	for _, bad := range []func([]DataFile){
		func(f []DataFile) { f[1].Section.Row++ },
		func(f []DataFile) { f[1].Bytes++ },
		func(f []DataFile) { f[2].Section.Rows++ },
		func(f []DataFile) { f[0], f[1] = f[1], f[0] },
		func(f []DataFile) { f[0].Queue.ID = 7 },
	} {
		files := slices.Clone(all)
		if bad(files); checkSections(files) == nil {
			t.Errorf("sections %+v", files)
		}
	}
	if _, err := tbl.Append(t.Context(), commitOf("shared", 1, all...)); err == nil || !strings.Contains(err.Error(), "only a replacement") {
		t.Errorf("appended: %v", err)
	}
}

// TestManySharedManifests: manifests of both kinds are merged by themselves.
func TestManySharedManifests(t *testing.T) {
	b := mem.New()
	a := openArchive(t, b, Options{MergeManifests: 4, ManifestEntries: 64})
	tbl := createTable(t, a, testQueue.Topic)
	for day := range int64(9) {
		var files []DataFile
		for id := range int32(3) {
			q := testQueue
			q.ID = id
			f := upload(t, tbl, q, mq.Range{From: day * 5, To: day*5 + 5}, 1)
			mustAppend(t, tbl, commitOf(f.Name, 1, f))
			if files = append(files, f); id == 2 {
				files = files[:2]
			}
		}
		if _, err := tbl.Replace(t.Context(), sharing(t, b, tbl, fmt.Sprint(day), files)); err != nil {
			t.Fatal(err)
		}
	}
	again, err := openArchive(t, b, Options{}).Table(t.Context(), tbl.Topic())
	if err != nil {
		t.Fatal(err)
	}
	checkSame(t, tbl, again)
	specs := map[int32]int{}
	for _, m := range tbl.current().manifests {
		specs[m.PartitionSpecID()]++
	}
	if len(again.Index().All()) != 27 || len(Objects(again.Index().All())) != 18 || specs[0] > 6 || specs[sharedSpecID] < 2 || specs[sharedSpecID] > 9 {
		t.Errorf("%d files, manifests %v", len(again.Index().All()), specs)
	}
}

// TestOlderProgramsRefuse: without knowledge of version 2, neither the table nor
// the object is taken for one of version 1.
func TestOlderProgramsRefuse(t *testing.T) {
	b := mem.New()
	tbl, _ := sharedTable(t, b, 2, 10)
	f := tbl.Index().All()[0]
	footer, err := openFooter(t.Context(), b, f)
	if err != nil {
		t.Fatal(err)
	}
	plain := f
	plain.Section = Section{}
	plain.Bytes = f.ObjectBytes()
	if err := footer.checkMetadata(plain); err == nil {
		t.Error("a shared object passes for one of a single queue")
	}
	if v, _ := footer.pf.Lookup(metaFormat); v != "2" {
		t.Errorf("format %q", v)
	}
}

// FuzzSections: whatever a manifest entry says, it gives sections that fit the
// object, or an error.
func FuzzSections(f *testing.F) {
	of := DataFile{Name: "o", Queue: testQueue, Rows: 30, Bytes: 3000}
	var files []DataFile
	for i := range int64(3) {
		files = append(files, DataFile{
			Name: "o", Queue: mq.Queue{Broker: testQueue.Broker, Topic: testQueue.Topic, ID: int32(i)}, Offsets: mq.Range{From: i, To: i + 10},
			Rows: 10, Bytes: 1000, RawBytes: 77, Parts: 2, FirstStoreMillis: -5, LastStoreMillis: 1 << 40, FirstPhysical: 3, LastPhysical: 9, Proof: "proof",
			Section: Section{Row: i * 10, Rows: 30, Bytes: 3000, At: i * 1000, Count: 3},
		})
	}
	good := encodeSections(files)
	if got, err := decodeSections(of, good); err != nil || !slices.Equal(got, files) {
		f.Fatalf("%+v, %v", got, err)
	}
	f.Add(good)
	f.Add(good[:20])
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := decodeSections(of, data)
		if err == nil {
			err = checkSections(got)
			if again, derr := decodeSections(of, encodeSections(got)); err != nil || derr != nil || !slices.Equal(again, got) {
				t.Fatalf("%+v: %v, %v", got, err, derr)
			}
		}
	})
}

// TestRequestsOfASharedObject: an object of the most queues is opened with two
// requests, and one queue of it is read with few, of its own bytes.
func TestRequestsOfASharedObject(t *testing.T) {
	b := mem.New()
	tbl := createTable(t, openArchive(t, b, Options{}), testQueue.Topic)
	var c Commit
	for id := range int32(MaxSections) {
		q := testQueue
		q.ID = id
		c = commitOf("c", 1, append(c.Files, upload(t, tbl, q, mq.Range{To: 60}, 1))...)
	}
	mustAppend(t, tbl, c)
	shareAll(t, b, tbl, MaxSections)
	all := tbl.Index().All()
	rr := &counting{RangeReader: b}
	file, err := OpenFile(t.Context(), rr, all[77])
	if err != nil {
		t.Fatal(err)
	}
	var apart int64
	for _, f := range c.Files {
		apart += f.Bytes
	}
	size := all[77].ObjectBytes()
	t.Logf("%d bytes in one object, %d apart; %d to open it", size, apart, rr.bytes.Load())
	if n := rr.reads.Load(); n > 2 || size > apart || rr.bytes.Load() > 1500<<10 {
		t.Errorf("%d requests, %d bytes to open %d", n, rr.bytes.Load(), size)
	}
	rr.reads.Store(0)
	rr.bytes.Store(0)
	if got := readAll(t, file, mq.Limit{}); len(got) == 0 || rr.reads.Load() > 3 || rr.bytes.Load() > all[77].Bytes*2 {
		t.Errorf("%d bytes by %d requests of %d, %d are the queue's", len(got), rr.reads.Load(), rr.bytes.Load(), all[77].Bytes)
	}
}
