package history

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/objtest"
	"varve/internal/retention"
)

// merge puts one file in the place of the queue's first n, as compaction does.
func (k *kept) merge(t *testing.T, id string, n int) {
	t.Helper()
	tbl := k.table(t)
	old := tbl.Index().Files(keptQueue, mq.Range{To: 1 << 60})[:n]
	var buf bytes.Buffer
	w := archive.NewFileWriter(&buf, keptQueue, archive.FileOptions{})
	r := archive.Replacement{ID: id, Op: archive.ReplaceFiles}
	for _, f := range old {
		r.Old = append(r.Old, f.Name)
		file, err := archive.OpenFile(t.Context(), k.bucket, f)
		if err != nil {
			t.Fatal(err)
		}
		for at := f.Offsets.From; at < f.Offsets.To; {
			b, err := file.Read(t.Context(), at, mq.Limit{})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.AddAll(b.Body); err != nil {
				t.Fatal(err)
			}
			at = b.Next
		}
	}
	f, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	f.Name = archive.FileName(keptQueue, tbl.Root(), f.Offsets.From, f.Rows, 1)
	if err := k.bucket.Put(t.Context(), f.Name, &buf, f.Bytes, objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
	r.New = []archive.DataFile{f}
	if _, err := tbl.Replace(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func (k *kept) table(t *testing.T) *archive.Table {
	t.Helper()
	tbl, err := k.node.Archive().Table(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	return tbl
}

// readable reads the whole queue by an archive of its own, as a new process.
func (k *kept) readable(t *testing.T, from int64) {
	t.Helper()
	r := archive.NewReader(openArchive(t, k.bucket), k.bucket, archive.ReaderOptions{})
	defer r.Close()
	for at := from; at < 100; {
		b, err := r.Read(t.Context(), keptQueue, at, mq.Limit{})
		if err != nil {
			t.Fatal(err)
		}
		at = b.Next
	}
}

// whole demands that every retained snapshot's objects are there.
func (k *kept) whole(t *testing.T) {
	t.Helper()
	tbl, err := openArchive(t, k.bucket).Table(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	needed, err := tbl.Needed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name := range needed {
		if _, err := k.bucket.Head(t.Context(), name); err != nil {
			t.Errorf("a retained snapshot needs %s: %v", name, err)
		}
	}
}

// pass lets time pass and applies.
func (k *kept) pass(t *testing.T, d time.Duration) Report {
	t.Helper()
	k.now = k.now.Add(d)
	return k.apply(t)
}

// TestSweepWithoutAnyDeletion: snapshots expire and replaced files go where no
// rule deletes anything, and then the table costs nothing.
func TestSweepWithoutAnyDeletion(t *testing.T) {
	k := newKept(t)
	k.merge(t, "a", 4)
	tbl := k.table(t)
	if k.apply(t); tbl.Snapshots() != 11 || k.objects(t) != 11 {
		t.Fatalf("before it is time: %d snapshots, %d objects", tbl.Snapshots(), k.objects(t))
	}
	if k.pass(t, 61*time.Minute); tbl.Snapshots() != 1 || k.objects(t) != 7 {
		t.Errorf("%d snapshots, %d objects", tbl.Snapshots(), k.objects(t))
	}
	k.pass(t, 61*time.Minute)
	lists := 0
	for o := range k.bucket.List(t.Context(), tbl.Root()+"/metadata/snap-") {
		lists++
		_ = o
	}
	if lists != 1 {
		t.Errorf("%d manifest lists are left", lists)
	}
	k.pass(t, 61*time.Minute)
	k.bucket.Calls()
	for range 20 {
		k.pass(t, 10*time.Minute)
	}
	for _, c := range k.bucket.Calls() {
		if strings.HasPrefix(c.Name, tbl.Root()) && !strings.HasSuffix(c.Name, "version-hint.text") && !strings.HasSuffix(c.Name, ".metadata.json") {
			t.Errorf("a table where nothing happens costs %s of %s", c.Op, c.Name)
		}
	}
	if st := k.Swept(); st.Snapshots != 10 || st.Objects < 14 || st.Bytes == 0 {
		t.Errorf("%+v", st)
	}
	k.readable(t, 0)
	k.whole(t)
}

// TestIdleTableIsLookedAtTwiceADay: other processes' commits are looked for less
// often the longer nothing came.
func TestIdleTableIsLookedAtTwiceADay(t *testing.T) {
	k := newKept(t)
	for range 3 * 24 * 14 { // two weeks, three passes an hour
		k.pass(t, 20*time.Minute)
	}
	k.bucket.Calls()
	for range 7 * 3 * 24 {
		k.pass(t, 20*time.Minute)
	}
	n := 0
	for _, c := range k.bucket.Calls() {
		if strings.HasPrefix(c.Name, k.table(t).Root()) {
			n++
		}
	}
	if n > 7*4+10 { // once a week it is looked through
		t.Errorf("%d requests in a week for a table where nothing happens", n)
	}
}

// TestReplacedFilesStayForTheirGrace: whoever planned before the replacement
// finishes, even where the snapshots went sooner.
func TestReplacedFilesStayForTheirGrace(t *testing.T) {
	k := newKept(t)
	k.cfg.Grace = 30 * time.Minute
	_, release, err := k.node.LocalFile(t.Context(), k.table(t).Index().Files(keptQueue, mq.Range{To: 1})[0])
	if err != nil {
		t.Fatal(err)
	}
	k.now = time.Now().Add(45 * time.Minute)
	k.restart()
	k.cfg.Grace = 30 * time.Minute
	k.merge(t, "a", 4) // by the archive's clock 45 min ago
	if err := k.table(t).Expire(t.Context(), 1, k.now, nil); err != nil {
		t.Fatal(err)
	}
	if k.pass(t, 61*time.Minute); k.objects(t) != 8 { // three of four; one is pinned
		t.Errorf("%d objects", k.objects(t))
	}
	release()
	if k.pass(t, 61*time.Minute); k.objects(t) != 7 {
		t.Errorf("%d objects in the end", k.objects(t))
	}
	k.readable(t, 0)
}

// TestUnneededIsRememberedFirst: a process that has just begun can't know since
// when a file is not needed, and waits.
func TestUnneededIsRememberedFirst(t *testing.T) {
	k := newKept(t)
	k.merge(t, "a", 4)
	k.node = newNode(t, openArchive(t, k.bucket), nil) // another process
	k.now = k.now.Add(48 * time.Hour)
	k.restart()
	if k.pass(t, 61*time.Minute); k.objects(t) != 11 {
		t.Errorf("%d objects at the first look", k.objects(t))
	}
	if k.pass(t, 61*time.Minute); k.objects(t) != 7 {
		t.Errorf("%d objects at the second", k.objects(t))
	}
}

// TestRetentionLosesARace: the files of a deletion were replaced between the
// record and the commit. Nothing is deleted, the record says so, and the next
// pass decides anew.
func TestRetentionLosesARace(t *testing.T) {
	k := newKept(t)
	k.rule(50 * time.Second)
	tbl := k.table(t)
	p := &passing{r: k.Retainer, policy: k.policy, now: k.now, tables: []*archive.Table{tbl}, failed: map[string]bool{}}
	plans, _, err := p.plan(t.Context())
	if err != nil || len(plans["t"].Files) == 0 {
		t.Fatalf("%+v, %v", plans, err)
	}
	d := plans["t"]
	if err := d.put(t.Context(), k.bucket, nil); err != nil {
		t.Fatal(err)
	}
	k.policy = retention.Policy{}
	k.merge(t, "a", 7)
	var names []string
	for _, f := range d.Files {
		names = append(names, f.Name)
	}
	if _, err := tbl.Delete(t.Context(), names, "late"); err == nil {
		t.Error("deleted files that others had replaced")
	}
	k.pass(t, 2*time.Hour)
	recs, err := k.Deletions(t.Context(), "t")
	if err != nil || len(recs) != 1 || recs[0].Removed == nil || !recs[0].Removed.Abandoned || recs[0].Removed.Objects != 0 {
		t.Errorf("%+v, %v", recs, err)
	}
	if k.from(t) != 0 {
		t.Errorf("range from %d", k.from(t))
	}
	k.readable(t, 0)
}

// TestSweepKilled: the process ends at any request of expiry, deletion and
// sweep. Nothing that a reader or a retained snapshot needs is gone, and the
// next process ends what was begun.
func TestSweepKilled(t *testing.T) {
	for skip, dead := 0, true; dead; skip++ {
		if skip > 300 {
			t.Fatal("it never ends")
		}
		k := newKept(t)
		k.merge(t, "a", 4)
		k.policy = retention.Policy{Rules: []retention.Rule{{Name: "few", Archive: &retention.ArchiveBounds{Age: retention.Duration(60 * time.Second)}}}}
		k.apply(t) // the merged file goes by age
		k.policy = retention.Policy{}
		from := k.from(t)
		k.now = k.now.Add(61 * time.Minute)
		k.bucket.Add(objtest.Fault{Skip: skip, Err: objstore.ErrDenied})
		_, err := k.Apply(t.Context())
		dead = err != nil
		k.bucket.Clear()
		k.whole(t)
		k.readable(t, from)
		k.restart()
		for range 3 {
			k.pass(t, 25*time.Hour)
		}
		if n := k.objects(t); n != 6 {
			t.Errorf("killed at request %d: %d objects in the end, %s", skip, n, fmt.Sprint(err))
		}
		k.whole(t)
		k.readable(t, from)
	}
}
