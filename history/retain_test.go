package history

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
	"varve/internal/retention"
)

// kept is a retainer over ten files of one queue, each of ten seconds.
type kept struct {
	bucket *objtest.Faulty
	node   *Node
	now    time.Time
	policy retention.Policy
	*Retainer
}

var keptQueue = mq.Queue{Broker: broker, Topic: "t"}

func newKept(t *testing.T) *kept {
	t.Helper()
	k := &kept{bucket: objtest.NewFaulty(mem.New()), now: time.Now().Truncate(time.Second)}
	a := openArchive(t, k.bucket)
	store(t, a, broker, plain("t", 0, 100, k.now), 10)
	k.now = k.now.Add(100 * time.Second)
	k.node = newNode(t, a, nil)
	k.restart()
	return k
}

func (k *kept) restart() {
	k.Retainer = NewRetainer(RetainConfig{
		Policy: func() retention.Policy { return k.policy }, Grace: time.Minute, Every: -1, Key: eraseKey,
		Now: func() time.Time { return k.now },
	}, k.node)
}

func (k *kept) rule(age time.Duration) {
	k.policy = retention.Policy{Rules: []retention.Rule{{Name: "short", Topic: "t", Archive: &retention.ArchiveBounds{Age: retention.Duration(age)}}}}
}

func (k *kept) objects(t *testing.T) (n int) {
	t.Helper()
	for o, err := range k.bucket.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(o.Name, ".parquet") {
			n++
		}
	}
	return n
}

func (k *kept) from(t *testing.T) int64 {
	t.Helper()
	r, err := k.node.Range(t.Context(), keptQueue)
	if err != nil {
		t.Fatal(err)
	}
	return r.From
}

func (k *kept) apply(t *testing.T) Report {
	t.Helper()
	rep, err := k.Apply(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func TestRetentionTakesFilesAndLaterObjects(t *testing.T) {
	k := newKept(t)
	if rep := k.apply(t); len(rep.Deletions) != 0 || k.from(t) != 0 {
		t.Fatalf("without a rule: %+v", rep)
	}
	k.rule(50 * time.Second) // the last messages of five files are older
	ex, err := k.Explain(t.Context(), "")
	if err != nil || len(ex) != 1 || len(ex[0].Removals) != 5 || ex[0].Archive.Rule != "short" || ex[0].Next == nil {
		t.Fatalf("%+v, %v", ex, err)
	}
	if k.from(t) != 0 {
		t.Fatal("a dry run deleted")
	}
	rep := k.apply(t)
	if len(rep.Deletions) != 1 || rep.Deletions[0].Rows != 50 || len(rep.Deletions[0].Files) != 5 || rep.Objects != 0 {
		t.Fatalf("%+v", rep)
	}
	if f := rep.Deletions[0].Files[0]; f.Rule != "short" || f.Cause != retention.ByAge || f.Offsets != (mq.Range{To: 10}) {
		t.Errorf("%+v", f)
	}
	if k.from(t) != 50 || k.objects(t) != 10 {
		t.Fatalf("range from %d, %d objects", k.from(t), k.objects(t))
	}
	if _, err := k.node.Read(t.Context(), keptQueue, 49, mq.Limit{}); !errors.Is(err, mq.ErrTooLow) {
		t.Errorf("read of what went: %v", err)
	}
	k.rule(time.Hour)
	k.now = k.now.Add(59 * time.Second)
	if rep = k.apply(t); rep.Objects != 0 {
		t.Fatalf("within the grace: %+v", rep)
	}
	k.restart() // the records are all that is needed
	k.now = k.now.Add(time.Second)
	if rep = k.apply(t); rep.Objects != 5 || k.objects(t) != 5 {
		t.Fatalf("after the grace: %+v, %d objects", rep, k.objects(t))
	}
	if rep = k.apply(t); rep.Objects != 0 {
		t.Fatalf("once more: %+v", rep)
	}
	recs, err := k.Deletions(t.Context(), "t")
	if err != nil || len(recs) != 1 || recs[0].Removed == nil || recs[0].Removed.Abandoned || recs[0].Removed.Objects != 5 || len(recs[0].Files) != 5 {
		t.Errorf("%+v, %v", recs, err)
	}
	for at := int64(50); at < 100; {
		b, err := k.node.Read(t.Context(), keptQueue, at, mq.Limit{})
		if err != nil {
			t.Fatal(err)
		}
		at = b.Next
	}
}

func TestReaderMidReadSeesNoError(t *testing.T) {
	k := newKept(t)
	other := archive.NewReader(openArchive(t, k.bucket), k.bucket, archive.ReaderOptions{})
	defer other.Close()
	b, err := other.Read(t.Context(), keptQueue, 0, mq.Limit{Messages: 3})
	if err != nil {
		t.Fatal(err)
	}
	k.rule(30 * time.Second)
	k.apply(t)
	for at := b.Next; at < 100; at = b.Next {
		if b, err = other.Read(t.Context(), keptQueue, at, mq.Limit{Messages: 3}); err != nil {
			t.Fatalf("at %d: %v", at, err)
		}
	}
}

func TestPinnedFilesOutliveTheGrace(t *testing.T) {
	k := newKept(t)
	tbl, err := k.node.Archive().Table(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	_, release, err := k.node.LocalFile(t.Context(), tbl.Index().Files(keptQueue, mq.Range{To: 1})[0])
	if err != nil {
		t.Fatal(err)
	}
	k.rule(50 * time.Second)
	k.apply(t)
	k.rule(time.Hour)
	k.now = k.now.Add(2 * time.Minute)
	if rep := k.apply(t); rep.Objects != 4 {
		t.Errorf("while pinned: %+v", rep)
	}
	release()
	if k.apply(t); k.objects(t) != 5 {
		t.Errorf("%d objects after the release", k.objects(t))
	}
}

// A process that dies between the record and the commit has deleted nothing;
// the next pass deletes, under a record of its own.
func TestDeletionCutShort(t *testing.T) {
	k := newKept(t)
	k.rule(50 * time.Second)
	k.bucket.Add(objtest.Fault{Op: objtest.Put, Name: "metadata/", Err: objstore.ErrDenied})
	if _, err := k.Apply(t.Context()); err == nil || k.from(t) != 0 {
		t.Fatalf("deleted without a commit: %v", err)
	}
	k.bucket.Clear()
	k.restart()
	k.policy = retention.Policy{}
	k.now = k.now.Add(time.Hour)
	k.apply(t)
	if recs, err := k.Deletions(t.Context(), "t"); err != nil || len(recs) != 1 || recs[0].Removed == nil || !recs[0].Removed.Abandoned || k.objects(t) != 10 {
		t.Errorf("%+v, %v, %d objects", recs, err, k.objects(t))
	}
	k.rule(time.Second)
	k.apply(t)
	k.now = k.now.Add(time.Hour)
	k.apply(t)
	if r, err := k.node.Range(t.Context(), keptQueue); err != nil || r != (mq.Range{From: 100, To: 100}) || k.objects(t) != 0 {
		t.Errorf("%v, %v, %d objects", r, err, k.objects(t))
	}
}

func TestUncommittedUploadsAreRemovedInTheEnd(t *testing.T) {
	k := newKept(t)
	tbl, err := k.node.Archive().Table(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		archive.FileName(keptQueue, tbl.Root(), 100, 5, 1),
		tbl.Root() + "/data/b/0/somebody-elses.parquet", // is left alone
	} {
		if err := k.bucket.Put(t.Context(), name, strings.NewReader("half a file"), 11, objstore.IfAbsent); err != nil {
			t.Fatal(err)
		}
	}
	k.now = time.Now()
	k.restart()
	k.now = k.now.Add(time.Hour)
	if k.apply(t); k.objects(t) != 12 {
		t.Fatal("removed too early")
	}
	k.now = k.now.Add(25 * time.Hour)
	if k.apply(t); k.objects(t) != 11 {
		t.Errorf("%d objects", k.objects(t))
	}
}

func TestRetentionGoesOnAfterAFailure(t *testing.T) {
	k := newKept(t)
	store(t, k.node.Archive(), broker, plain("z", 0, 100, k.now.Add(-100*time.Second)), 10)
	k.policy = retention.Policy{Rules: []retention.Rule{{Name: "all", Archive: &retention.ArchiveBounds{Age: retention.Duration(50 * time.Second)}}}}
	tbl, err := k.node.Archive().Table(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	k.bucket.Add(objtest.Fault{Op: objtest.Put, Name: tbl.Root(), Err: objstore.ErrDenied})
	rep, err := k.Apply(t.Context())
	if !errors.Is(err, objstore.ErrDenied) || len(rep.Deletions) != 1 || rep.Deletions[0].Topic != "z" {
		t.Errorf("%+v, %v", rep, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.Run(ctx); err != nil {
		t.Error(err)
	}
}
