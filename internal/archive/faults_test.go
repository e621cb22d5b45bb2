package archive

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/fs"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
	"varve/internal/objstore/s3"
)

// checkExactlyOnce opens the table anew and demands that queue q holds [0, n)
// without a gap or an overlap, in its index and in its totals.
func checkExactlyOnce(t *testing.T, b objstore.Bucket, q mq.Queue, n int64) *Table {
	t.Helper()
	tbl, err := openArchive(t, b, Options{}).Table(context.Background(), q.Topic)
	if err != nil {
		t.Fatal(err)
	}
	next := int64(0)
	for _, f := range tbl.Index().Files(q, mq.Range{From: 0, To: 1 << 60}) {
		if f.Offsets.From != next {
			t.Errorf("file %s begins at %d, want %d", f.Name, f.Offsets.From, next)
		}
		next = f.Offsets.To
	}
	if next != n || tbl.Snapshot().Next[q] != n {
		t.Errorf("%s ends at %d, snapshot says %d, want %d", q, next, tbl.Snapshot().Next[q], n)
	}
	return tbl
}

// TestCommitUnderEveryFault: each request of a commit fails in each way, once;
// the commit is then repeated until it succeeds, as a connector does. It
// happens exactly once whatever the store said.
func TestCommitUnderEveryFault(t *testing.T) {
	ctx := context.Background()
	q := testQueue
	ops := []objtest.Op{objtest.Put, objtest.Head, objtest.Get, objtest.List, objtest.Delete}
	for _, op := range ops {
		for _, how := range []objtest.How{objtest.Before, objtest.After, objtest.Half, objtest.Lie, objtest.Spoil, objtest.Cut} {
			if how >= objtest.Lie && op != objtest.Put {
				continue
			}
			for skip := range 6 {
				t.Run(fmt.Sprintf("%s/%d/skip=%d", op, how, skip), func(t *testing.T) {
					inner := mem.New()
					b := objtest.NewFaulty(inner)
					tbl := createTable(t, openArchive(t, b, Options{}), q.Topic)
					mustAppend(t, tbl, commitOf("0", 1, fake(t, tbl, q, mq.Range{From: 0, To: 10}, 1)))
					f := fake(t, tbl, q, mq.Range{From: 10, To: 20}, 1)
					b.Add(objtest.Fault{Op: op, How: how, Skip: skip, Times: 1})
					c := commitOf("1", 1, f)
					_, err := tbl.Append(ctx, c)
					for i := 0; err != nil && i < 3; i++ {
						_, err = tbl.Append(ctx, c)
					}
					if err != nil {
						t.Fatal(err)
					}
					b.Clear()
					mustAppend(t, tbl, commitOf("2", 1, fake(t, tbl, q, mq.Range{From: 20, To: 30}, 1)))
					checkExactlyOnce(t, inner, q, 30)
				})
			}
		}
	}
}

// lies are the ways in which a store may acknowledge a write.
var lies = map[string]objtest.How{"nothing": objtest.Lie, "other bytes": objtest.Spoil, "half": objtest.Cut}

// TestLyingStore: a store that says yes and keeps nothing, or something else,
// makes no commit. The error names the object, and once the store is honest the
// next attempt succeeds, whatever was left behind.
func TestLyingStore(t *testing.T) {
	ctx := context.Background()
	q := testQueue
	for what, how := range lies {
		for _, name := range []string{"-m0.avro", "/snap-", ".metadata.json"} {
			t.Run(what+" of "+name, func(t *testing.T) {
				inner := mem.New()
				b := objtest.NewFaulty(inner)
				tbl := createTable(t, openArchive(t, b, Options{}), q.Topic)
				f := fake(t, tbl, q, mq.Range{From: 0, To: 10}, 1)
				b.Add(objtest.Fault{Op: objtest.Put, Name: name, How: how})
				_, err := tbl.Append(ctx, commitOf("1", 1, f))
				if !errors.Is(err, ErrNotStored) || Unreadable(err) || !strings.Contains(err.Error(), name) {
					t.Errorf("append: %v", err)
				}
				checkExactlyOnce(t, inner, q, 0)
				b.Clear()
				mustAppend(t, tbl, commitOf("1", 1, f))
				checkExactlyOnce(t, inner, q, 10)
			})
		}
	}
}

// TestEveryLieOnce: whichever write of a table's first life the store lies
// about, what a call calls done a new process finds.
func TestEveryLieOnce(t *testing.T) {
	ctx := context.Background()
	q := testQueue
	for what, how := range lies {
		for skip := range 12 {
			t.Run(fmt.Sprintf("%s/%d", what, skip), func(t *testing.T) {
				inner := mem.New()
				b := objtest.NewFaulty(inner)
				a := openArchive(t, b, Options{})
				b.Add(objtest.Fault{Op: objtest.Put, How: how, Skip: skip, Times: 1})
				tbl, err := a.CreateTable(ctx, q.Topic)
				if err != nil {
					tbl = createTable(t, a, q.Topic)
				}
				checkExactlyOnce(t, inner, q, 0)
				for i := range int64(3) {
					f := DataFile{}
					for f.Rows == 0 {
						f = fake(t, tbl, q, mq.Range{From: i * 10, To: i*10 + 10}, 1)
						if o, err := inner.Head(ctx, f.Name); err != nil || o.Size != f.Bytes {
							f = DataFile{} // a lie about a file: the connector sees it
						}
					}
					mustAppend(t, tbl, commitOf(fmt.Sprint(i), 1, f))
					checkExactlyOnce(t, inner, q, i*10+10)
				}
			})
		}
	}
}

// TestLieAboutTheArchive: an archive that a new process can't open is not begun.
func TestLieAboutTheArchive(t *testing.T) {
	for what, how := range lies {
		for _, name := range []string{formatName, identityName} {
			b := objtest.NewFaulty(mem.New(), objtest.Fault{Op: objtest.Put, Name: name, How: how})
			if _, err := Open(t.Context(), b, Options{}); !errors.Is(err, ErrNotStored) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s of %s: %v", what, name, err)
			}
		}
	}
}

// TestDamageUnderATable: what a commit builds on is looked at, and a table that
// met damage says so until it is repaired.
func TestDamageUnderATable(t *testing.T) {
	ctx := context.Background()
	q := testQueue
	for what, spoil := range map[string]func(b objstore.Bucket, name string, data []byte){
		"cut":     func(b objstore.Bucket, name string, data []byte) { replace(t, b, name, data[:len(data)/2]) },
		"foreign": func(b objstore.Bucket, name string, _ []byte) { replace(t, b, name, []byte(`{"format-version":2}`)) },
	} {
		t.Run(what, func(t *testing.T) {
			b := mem.New()
			tbl := createTable(t, openArchive(t, b, Options{}), q.Topic)
			mustAppend(t, tbl, commitOf("0", 1, fake(t, tbl, q, mq.Range{From: 0, To: 10}, 1)))
			name := tbl.MetadataName()
			good, err := getObject(ctx, b, name, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			spoil(b, name, good)
			c := commitOf("1", 1, fake(t, tbl, q, mq.Range{From: 10, To: 20}, 1))
			for range 2 {
				if _, err := tbl.Append(ctx, c); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), name) {
					t.Errorf("append: %v", err)
				}
				if _, err := tbl.Refresh(ctx); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), name) {
					t.Errorf("refresh: %v", err)
				}
			}
			replace(t, b, name, good)
			if _, err := tbl.Refresh(ctx); err != nil {
				t.Error(err)
			}
			mustAppend(t, tbl, c)
			checkSame(t, tbl, checkExactlyOnce(t, b, q, 20))
		})
	}
}

// TestNewestVersionIsGone: the table goes on from what the store still has.
func TestNewestVersionIsGone(t *testing.T) {
	ctx := context.Background()
	q := testQueue
	b := mem.New()
	tbl := createTable(t, openArchive(t, b, Options{}), q.Topic)
	for i := range int64(3) {
		mustAppend(t, tbl, commitOf(fmt.Sprint(i), 1, fake(t, tbl, q, mq.Range{From: i * 10, To: i*10 + 10}, 1)))
	}
	name := tbl.MetadataName()
	if err := b.Delete(ctx, name); err != nil {
		t.Fatal(err)
	}
	c := commitOf("3", 1, fake(t, tbl, q, mq.Range{From: 30, To: 40}, 1))
	if _, err := tbl.Append(ctx, c); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), name) {
		t.Errorf("append: %v", err)
	}
	if changed, err := tbl.Refresh(ctx); err != nil || !changed {
		t.Errorf("refresh: %v, %v", changed, err)
	}
	if _, err := tbl.Append(ctx, c); !errors.Is(err, ErrGap) {
		t.Errorf("append over the hole: %v", err)
	}
	checkSame(t, tbl, checkExactlyOnce(t, b, q, 20))
	mustAppend(t, tbl, commitOf("again", 1, fake(t, tbl, q, mq.Range{From: 20, To: 30}, 1)))
	mustAppend(t, tbl, c)
	checkSame(t, tbl, checkExactlyOnce(t, b, q, 40))
}

func TestPermanentErrorsAreNotRepeated(t *testing.T) {
	for _, want := range []error{objstore.ErrDenied, objstore.ErrFull, objstore.ErrNoBucket} {
		b := objtest.NewFaulty(mem.New())
		tbl := createTable(t, openArchive(t, b, Options{}), "orders")
		f := fake(t, tbl, testQueue, mq.Range{From: 0, To: 10}, 1)
		b.Add(objtest.Fault{Op: objtest.Put, Name: "metadata/", Err: want})
		b.Calls()
		_, err := tbl.Append(context.Background(), commitOf("1", 1, f))
		if !errors.Is(err, want) {
			t.Errorf("%v: %v", want, err)
		}
		puts := 0
		for _, c := range b.Calls() {
			if c.Op == objtest.Put {
				puts++
			}
		}
		if puts != 1 {
			t.Errorf("%v: %d puts", want, puts)
		}
	}
}

// bucketOf makes an empty bucket of a kind.
func bucketOf(t *testing.T, kind string) objstore.Bucket {
	t.Helper()
	var b objstore.Bucket
	var err error
	switch kind {
	case "mem":
		b = mem.New()
	case "fs":
		b, err = fs.New(t.TempDir())
	case "s3":
		backend := s3mem.New()
		if err := backend.CreateBucket("archive"); err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(gofakes3.New(backend).Server())
		t.Cleanup(srv.Close)
		b, err = s3.New(s3.Config{
			Endpoint: strings.TrimPrefix(srv.URL, "http://"), Insecure: true, PathStyle: true,
			Bucket: "archive", Prefix: "varve", AccessKey: "test-user", SecretKey: "test-secret",
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRacingWriters: writers with tables of their own, one queue each, and
// nothing is lost.
func TestRacingWriters(t *testing.T) {
	for _, kind := range []string{"mem", "fs", "s3"} {
		t.Run(kind, func(t *testing.T) {
			b := bucketOf(t, kind)
			const writers, commits = 4, 8
			var wg sync.WaitGroup
			for w := range writers {
				tbl := createTable(t, openArchive(t, b, Options{KeepSnapshots: 4, MergeManifests: 5, ManifestEntries: 7}), "orders")
				wg.Go(func() {
					q := mq.Queue{Broker: fmt.Sprint("b", w), Topic: "orders", ID: int32(w)}
					for i := range int64(commits) {
						c := Commit{ID: fmt.Sprint(w, "-", i), Broker: q.Broker, Epoch: 1, Files: []DataFile{fake(t, tbl, q, mq.Range{From: i * 5, To: i*5 + 5}, 1)}}
						if _, err := tbl.Append(context.Background(), c); err != nil {
							t.Errorf("writer %d: %v", w, err)
							return
						}
						if i == 4 {
							if err := tbl.Expire(context.Background(), 2, time.Now().Add(-time.Hour), nil); err != nil {
								t.Errorf("writer %d: %v", w, err)
							}
						}
					}
				})
			}
			wg.Wait()
			for w := range writers {
				tbl := checkExactlyOnce(t, b, mq.Queue{Broker: fmt.Sprint("b", w), Topic: "orders", ID: int32(w)}, commits*5)
				if sum := tbl.current().meta.CurrentSnapshot().Summary.Properties; sum["total-data-files"] != fmt.Sprint(writers*commits) {
					t.Errorf("total-data-files is %s", sum["total-data-files"])
				}
			}
		})
	}
}

// TestFencedWhileCommitting: the claim of a new writer lands between the old
// one's look at the table and its put. The old commit must not happen.
func TestFencedWhileCommitting(t *testing.T) {
	ctx := context.Background()
	q := testQueue
	inner := mem.New()
	young := createTable(t, openArchive(t, inner, Options{}), q.Topic)
	b := objtest.NewFaulty(inner)
	old := createTable(t, openArchive(t, b, Options{}), q.Topic)
	if err := old.Fence(ctx, q.Broker, 1); err != nil {
		t.Fatal(err)
	}
	f := fake(t, old, q, mq.Range{From: 0, To: 10}, 1)
	b.Add(objtest.Fault{Op: objtest.Put, Name: ".metadata.json", How: objtest.Slow, Times: 1, Wait: func(ctx context.Context) error {
		return young.Fence(ctx, q.Broker, 2)
	}})
	if _, err := old.Append(ctx, commitOf("1", 1, f)); !errors.Is(err, ErrFenced) {
		t.Errorf("commit of the fenced writer: %v", err)
	}
	if n := checkExactlyOnce(t, inner, q, 0).Snapshot().Epoch[q.Broker]; n != 2 {
		t.Errorf("epoch %d", n)
	}
}

// TestStaleWriter: a writer slept so long that the version after its own was
// removed. Its put finds the name free, and still must not count.
func TestStaleWriter(t *testing.T) {
	ctx := context.Background()
	q := testQueue
	b := mem.New()
	asleep := createTable(t, openArchive(t, b, Options{}), q.Topic)
	awake := createTable(t, openArchive(t, b, Options{}), q.Topic)
	for i := int64(0); i < keepVersions+5; i++ {
		mustAppend(t, awake, commitOf(fmt.Sprint(i), 1, fake(t, awake, q, mq.Range{From: i, To: i + 1}, 1)))
	}
	if err := awake.Expire(ctx, 1, time.Now().Add(time.Hour), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Head(ctx, asleep.Root()+"/"+versionName(2)); !errors.Is(err, objstore.ErrNotFound) {
		t.Fatal("version 2 should be gone for this test:", err)
	}
	if _, err := asleep.Append(ctx, commitOf("late", 1, fake(t, asleep, q, mq.Range{From: 0, To: 1}, 1))); err != nil {
		t.Errorf("repeat of a committed range: %v", err)
	}
	if _, err := asleep.Append(ctx, commitOf("later", 1, fake(t, asleep, q, mq.Range{From: 3, To: 9}, 1))); !errors.Is(err, ErrOverlap) {
		t.Errorf("overlap: %v", err)
	}
	checkExactlyOnce(t, b, q, keepVersions+5)
	if _, err := b.Head(ctx, asleep.Root()+"/"+versionName(2)); !errors.Is(err, objstore.ErrNotFound) {
		t.Error("the stale version is still there:", err)
	}
	// A reader that slept finds the newest state, too.
	checkSame(t, awake, asleep)
}

// TestHintGoesBack: a slow writer's hint names a version that was removed since.
func TestHintGoesBack(t *testing.T) {
	ctx := context.Background()
	q := testQueue
	b := mem.New()
	asleep := createTable(t, openArchive(t, b, Options{}), q.Topic)
	awake := createTable(t, openArchive(t, b, Options{}), q.Topic)
	for i := int64(0); i < keepVersions+9; i++ {
		mustAppend(t, awake, commitOf(fmt.Sprint(i), 1, fake(t, awake, q, mq.Range{From: i, To: i + 1}, 1)))
	}
	if err := awake.Expire(ctx, 1, time.Now().Add(time.Hour), nil); err != nil {
		t.Fatal(err)
	}
	replace(t, b, awake.Root()+"/"+hintName, []byte("4"))
	if changed, err := asleep.Refresh(ctx); err != nil || !changed {
		t.Fatal(changed, err)
	}
	checkSame(t, awake, asleep)
	checkSame(t, awake, checkExactlyOnce(t, b, q, keepVersions+9))
}

// TestHint: the hint may be missing, torn, or name what never was.
func TestHint(t *testing.T) {
	ctx := context.Background()
	b := mem.New()
	q := testQueue
	tbl := createTable(t, openArchive(t, b, Options{}), q.Topic)
	for i := range int64(5) {
		mustAppend(t, tbl, commitOf(fmt.Sprint(i), 1, fake(t, tbl, q, mq.Range{From: i, To: i + 1}, 1)))
	}
	hint := tbl.Root() + "/" + hintName
	for _, text := range []string{"1", "3", "6", "99", "", "-4", "x", "6\n", strings.Repeat("9", 100)} {
		replace(t, b, hint, []byte(text))
		checkSame(t, tbl, checkExactlyOnce(t, b, q, 5))
		if changed, err := tbl.Refresh(ctx); err != nil || changed {
			t.Errorf("hint %q: %v, %v", text, changed, err)
		}
	}
	if err := b.Delete(ctx, hint); err != nil {
		t.Fatal(err)
	}
	checkSame(t, tbl, checkExactlyOnce(t, b, q, 5))
}

// TestCommitCostStaysFlat: neither the requests of a commit nor the length of
// the metadata grow with the number of commits.
func TestCommitCostStaysFlat(t *testing.T) {
	q := testQueue
	inner := mem.New()
	b := objtest.NewFaulty(inner)
	tbl := createTable(t, openArchive(t, b, Options{KeepSnapshots: 8, MergeManifests: 8, ManifestEntries: 50}), q.Topic)
	most, length := 0, int64(0)
	const commits = 300
	for i := range int64(commits) {
		f := fake(t, tbl, q, mq.Range{From: i, To: i + 1}, 1)
		b.Calls()
		mustAppend(t, tbl, commitOf(fmt.Sprint(i), 1, f))
		most = max(most, len(b.Calls()))
		o, err := inner.Head(t.Context(), tbl.MetadataName())
		if err != nil {
			t.Fatal(err)
		}
		length = max(length, o.Size)
	}
	if most > 24 {
		t.Errorf("%d requests in one commit", most)
	}
	if length > 40_000 {
		t.Errorf("metadata of %d bytes", length)
	}
	if n := len(tbl.current().manifests); n > commits/50+10 {
		t.Errorf("%d manifests", n)
	}
	checkExactlyOnce(t, inner, q, commits)
}

func TestOpenRefuses(t *testing.T) {
	ctx := context.Background()
	b := mem.New()
	replace(t, b, formatName, []byte(`{"format":2}`))
	if _, err := Open(ctx, b, Options{}); !errors.Is(err, ErrFormat) {
		t.Errorf("newer format: %v", err)
	}
	replace(t, b, formatName, []byte(`{`))
	if _, err := Open(ctx, b, Options{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("broken format file: %v", err)
	}
	denied := objtest.NewFaulty(mem.New(), objtest.Fault{Op: objtest.Put, Err: objstore.ErrDenied})
	if _, err := Open(ctx, denied, Options{}); !errors.Is(err, objstore.ErrDenied) {
		t.Errorf("denied: %v", err)
	}
	lying := objtest.NewFaulty(mem.New(), objtest.Fault{Op: objtest.Put, How: objtest.Lie})
	if _, err := Open(ctx, lying, Options{}); !errors.Is(err, objstore.ErrUnsafe) {
		t.Errorf("lying: %v", err)
	}
}

// TestDamagedMetadata: metadata that is broken or of another topic gives an
// error that names the object.
func TestDamagedMetadata(t *testing.T) {
	ctx := context.Background()
	b := mem.New()
	q := testQueue
	tbl := createTable(t, openArchive(t, b, Options{}), q.Topic)
	mustAppend(t, tbl, commitOf("1", 1, fake(t, tbl, q, mq.Range{From: 0, To: 1}, 1)))
	for o := range b.List(ctx, tbl.Root()+"/metadata/") {
		if strings.HasSuffix(o.Name, "hint.text") || strings.HasSuffix(o.Name, "v1.metadata.json") {
			continue
		}
		good, err := getObject(ctx, b, o.Name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range [][]byte{good[:len(good)/2], []byte("junk"), nil} {
			replace(t, b, o.Name, bad)
			if _, err := openArchive(t, b, Options{}).Table(ctx, q.Topic); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), o.Name) {
				t.Errorf("%s with %d bytes: %v", o.Name, len(bad), err)
			}
		}
		replace(t, b, o.Name, good)
	}
	checkExactlyOnce(t, b, q, 1)
}

// TestStaleListing: a table whose marker isn't listed yet is found again by
// who creates it.
func TestStaleListing(t *testing.T) {
	q := testQueue
	b := objtest.NewFaulty(mem.New())
	a := openArchive(t, b, Options{})
	b.Add(objtest.Fault{Op: objtest.List, How: objtest.Stale})
	tbl := createTable(t, a, q.Topic)
	mustAppend(t, tbl, commitOf("1", 1, fake(t, tbl, q, mq.Range{From: 0, To: 4}, 1)))
	other := openArchive(t, b, Options{})
	if _, err := other.Table(t.Context(), q.Topic); !errors.Is(err, ErrNoTable) {
		t.Errorf("by the stale listing: %v", err)
	}
	checkSame(t, tbl, createTable(t, other, q.Topic))
}
