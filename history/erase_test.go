package history

import (
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"varve/internal/archive"
	"varve/internal/archive/audit"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
)

var eraseKey = ed25519.NewKeyFromSeed([]byte("0123456789abcdef0123456789abcdef"))

// erasing is an archive of one queue, in files of ten messages, all of them
// trimmed from the hot log.
type erasing struct {
	*Eraser
	a   *archive.Archive
	hot mq.Range
	cfg EraseConfig
}

func newErasing(t *testing.T, b objstore.Bucket, fill bool) *erasing {
	t.Helper()
	a, err := archive.Open(t.Context(), b, archive.Options{ProofKey: eraseKey})
	if err != nil {
		t.Fatal(err)
	}
	if fill {
		msgs := plain("t", 0, 50, time.Now())
		for i := range msgs {
			key := "other"
			if i%20 == 3 {
				key = "alice"
			}
			msgs[i].Properties = mq.AppendProperty(msgs[i].Properties, mq.PropKeys, key)
		}
		store(t, a, broker, msgs, 10)
	}
	e := &erasing{a: a, hot: mq.Range{From: 50, To: 50}}
	e.cfg = EraseConfig{
		Dir: t.TempDir(), Key: eraseKey,
		Hot:    func(context.Context, mq.Queue) (mq.Range, bool) { return e.hot, true },
		HotKey: func(context.Context, mq.KeyQuery) (bool, error) { return false, nil },
	}
	e.Eraser = NewEraser(e.cfg, newNode(t, a, nil))
	return e
}

// audited gives the report of an audit that must find no doubt.
func audited(t *testing.T, b objstore.Bucket) *audit.Report {
	t.Helper()
	a, err := archive.OpenReadOnly(context.Background(), b, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rep, err := audit.Run(context.Background(), a, audit.Options{Keys: []ed25519.PublicKey{eraseKey.Public().(ed25519.PublicKey)}})
	if err != nil || !rep.OK || rep.Proven != 50 {
		t.Fatalf("%+v, %v", rep, err)
	}
	return rep
}

func readOne(t *testing.T, n *Node, offset int64) mq.Message {
	t.Helper()
	b, err := n.Read(t.Context(), mq.Queue{Broker: broker, Topic: "t"}, offset, mq.Limit{Messages: 1})
	if err != nil {
		t.Fatal(err)
	}
	m, err := mq.Record(b.Body).Decode()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestErase: what is erased is read without body, keys and properties, the
// others are as they were, and the proof holds, with the certificate and not
// without.
func TestErase(t *testing.T) {
	b := mem.New()
	e := newErasing(t, b, true)
	before := readOne(t, e.node, 23)
	c, err := e.Erase(t.Context(), EraseRequest{Topic: "t", Key: "alice", Who: "dpo", Why: "request 7"})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Rows) != 3 || len(c.Files) != 3 || c.Rows[1].Offset != 23 || c.Rows[1].MsgID != "t-0-23" {
		t.Errorf("%+v", c)
	}
	m := readOne(t, e.node, 23)
	if len(m.Body) > 0 || m.Property(archive.PropErased) != c.ID || m.Property(mq.PropKeys) != "" || m.Tag() != "" {
		t.Errorf("%q with %q", m.Body, m.Properties)
	}
	if m.StoreTimeMillis != before.StoreTimeMillis || m.PhysicalOffset != before.PhysicalOffset || m.Property(mq.PropUniqKey) != "t-0-23" {
		t.Errorf("header %+v, was %+v", m, before)
	}
	if m := readOne(t, e.node, 24); len(m.Body) != 200 || m.Property(mq.PropKeys) != "other" {
		t.Errorf("another message: %+v", m)
	}
	if rep := audited(t, b); rep.Erased != 3 {
		t.Errorf("%d erased", rep.Erased)
	}
	if _, err := e.Erase(t.Context(), EraseRequest{Topic: "t", Key: "alice", Why: "again"}); !errors.Is(err, ErrNothingToErase) {
		t.Errorf("again: %v", err)
	}
	if _, err := e.Erase(t.Context(), EraseRequest{Topic: "t", MsgID: "t-0-24", Why: "beside an erased one"}); err != nil {
		t.Error(err)
	}
	if rep := audited(t, b); rep.Erased != 4 {
		t.Errorf("%d erased", rep.Erased)
	}
	for o := range b.List(t.Context(), "") {
		if strings.Contains(o.Name, "/erasures/") && strings.Contains(o.Name, c.ID) {
			if err := b.Delete(t.Context(), o.Name); err != nil {
				t.Fatal(err)
			}
		}
	}
	a, err := archive.OpenReadOnly(t.Context(), b, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if rep, err := audit.Run(t.Context(), a, audit.Options{}); err != nil || rep.OK || rep.Doubts[0].Rows[0].Offset != 3 {
		t.Errorf("without its certificate: %+v, %v", rep, err)
	}
}

// TestEraseIsRefused where the message would go on being read, or is held.
func TestEraseIsRefused(t *testing.T) {
	b := mem.New()
	e := newErasing(t, b, true)
	one := EraseRequest{Topic: "t", Queue: mq.Queue{Broker: broker, Topic: "t"}, Offset: 23, Why: "x"}
	e.hot.From = 23
	if _, err := e.Erase(t.Context(), one); !errors.Is(err, ErrStillHot) {
		t.Errorf("hot: %v", err)
	}
	e.hot.From = 24
	held := errors.New("held")
	free := e.Eraser.cfg.Guarded
	hold := func(_ context.Context, do func(HoldCheck) error) error {
		return do(func(_ mq.Queue, from, to int64, keys []string) error {
			if from == to && slices.Contains(keys, "alice") && slices.Contains(keys, "t-0-23") {
				return held
			}
			return nil
		})
	}
	e.Eraser.cfg.Guarded = hold
	if _, err := e.Erase(t.Context(), one); !errors.Is(err, held) {
		t.Errorf("held: %v", err)
	}
	looks := 0
	e.Eraser.cfg.Guarded = func(ctx context.Context, do func(HoldCheck) error) error {
		if looks++; looks == 1 {
			return free(ctx, do)
		}
		return hold(ctx, do)
	}
	if _, err := e.Erase(t.Context(), one); !errors.Is(err, held) || looks != 2 {
		t.Errorf("held while the files were written: %v after %d looks", err, looks)
	}
	if list, err := e.Erasures(t.Context(), "t"); err != nil || len(list) != 0 {
		t.Errorf("certificates of nothing: %+v, %v", list, err)
	}
	e.Eraser.cfg.Guarded = free
	e.Eraser.cfg.HotKey = func(context.Context, mq.KeyQuery) (bool, error) { return true, nil }
	e.hot.From = 50
	if _, err := e.Erase(t.Context(), EraseRequest{Topic: "t", Key: "alice", Why: "x"}); !errors.Is(err, ErrStillHot) {
		t.Errorf("key in the hot log: %v", err)
	}
	for _, r := range []EraseRequest{{Topic: "t", Key: "nobody"}, {Topic: "t", MsgID: "nothing"}, {Topic: "t", Queue: one.Queue, Offset: 50}} {
		if _, err := e.Erase(t.Context(), r); !errors.Is(err, ErrNothingToErase) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if rep := audited(t, b); rep.Erased != 0 {
		t.Errorf("%d erased", rep.Erased)
	}
}

// TestEraseIsRefusedUnderASnapshotLease: engines would go on reading the message
// in the snapshot. One from before an erasure can't be leased either.
func TestEraseIsRefusedUnderASnapshotLease(t *testing.T) {
	b := mem.New()
	e := newErasing(t, b, true)
	tbl, err := e.a.Table(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	one := EraseRequest{Topic: "t", Queue: mq.Queue{Broker: broker, Topic: "t"}, Offset: 23, Why: "x"}
	before := tbl.Snapshot().ID
	if err := tbl.Tag(t.Context(), "snap", before); err != nil {
		t.Fatal(err)
	}
	objects := func() (n int) {
		for range b.List(t.Context(), "") {
			n++
		}
		return n
	}
	had := objects()
	if _, err := e.Erase(t.Context(), one); !errors.Is(err, archive.ErrLeased) || !strings.Contains(err.Error(), "varve lease release snap") {
		t.Fatalf("leased: %v", err)
	}
	if objects() != had {
		t.Errorf("a refused erasure left %d objects", objects()-had)
	}
	c := archive.Replacement{
		ID: "late", Op: archive.OverwriteRows, Old: []string{tbl.Index().All()[2].Name}, New: tbl.Index().All()[:1],
		Erased: map[mq.Queue][]int64{one.Queue: {23}},
	}
	if _, err := tbl.Replace(t.Context(), c); !errors.Is(err, archive.ErrLeased) {
		t.Errorf("a lease that came between: %v", err)
	}
	// What was appended after the leased snapshot is not in it.
	store(t, e.a, broker, plain("t", 1, 10, time.Now()), 10)
	late := one
	late.Queue.ID, late.Offset = 1, 5
	if _, err := e.Erase(t.Context(), late); err != nil {
		t.Errorf("a message that the snapshot doesn't have: %v", err)
	}
	if err := tbl.Untag(t.Context(), "snap"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Erase(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if err := tbl.Tag(t.Context(), "snap", before); !errors.Is(err, archive.ErrErasedSince) {
		t.Errorf("a lease of a snapshot from before the erasure: %v", err)
	}
	if err := tbl.Tag(t.Context(), "snap", tbl.Snapshot().ID); err != nil {
		t.Errorf("a lease of the newest: %v", err)
	}
}

// TestEraseScrubsTheLog before anything is written, and is refused where it
// can't.
func TestEraseScrubsTheLog(t *testing.T) {
	b := mem.New()
	e := newErasing(t, b, true)
	r := EraseRequest{Topic: "t", Key: "alice", Why: "x"}
	scrubbed, broken := 0, errors.New("a file can't be removed")
	e.Eraser.cfg.Scrub = func(context.Context) error { return broken }
	if _, err := e.Erase(t.Context(), r); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if rep := audited(t, b); rep.Erased != 0 {
		t.Errorf("%d erased", rep.Erased)
	}
	e.Eraser.cfg.Scrub = func(context.Context) error { scrubbed++; return nil }
	c, err := e.Erase(t.Context(), r)
	if err != nil || scrubbed != 1 || !strings.Contains(c.Covers, "hot log") {
		t.Errorf("%+v, scrubbed %d times, %v", c, scrubbed, err)
	}
}

// TestEraseEndsAnywhere: the process ends at each call to the bucket in turn.
// Then all is erased or nothing, the proof holds, and the next try does the rest.
func TestEraseEndsAnywhere(t *testing.T) {
	for _, how := range []objtest.How{objtest.Before, objtest.After} {
		for skip := 0; ; skip++ {
			inner := mem.New()
			b := objtest.NewFaulty(inner)
			e := newErasing(t, b, true)
			b.Add(objtest.Fault{How: how, Skip: skip, Err: context.Canceled})
			_, err := e.Erase(t.Context(), EraseRequest{Topic: "t", Key: "alice", Why: "x"})
			b.Clear()
			rep := audited(t, inner)
			if rep.Erased != 0 && rep.Erased != 3 {
				t.Fatalf("end at call %d: %d of 3 are erased", skip, rep.Erased)
			}
			if err == nil {
				if rep.Erased != 3 {
					t.Fatalf("call %d failed, and the erasure says it is done", skip)
				}
				break
			}
			again := newErasing(t, inner, false)
			if _, err := again.Erase(t.Context(), EraseRequest{Topic: "t", Key: "alice", Why: "x"}); err != nil && (rep.Erased == 0 || !errors.Is(err, ErrNothingToErase)) {
				t.Fatalf("after an end at call %d: %v", skip, err)
			}
			if rep := audited(t, inner); rep.Erased != 3 {
				t.Fatalf("after an end at call %d: %d of 3 are erased", skip, rep.Erased)
			}
		}
	}
}

// TestErasureElsewhere: another process, which has cached and decoded ahead what
// was erased, gives it until it has looked at the table, as it does from time to
// time, and never afterwards; the old file's bytes leave its caches.
func TestErasureElsewhere(t *testing.T) {
	b := objtest.NewFaulty(mem.New())
	e := newErasing(t, b, true)
	other := newNode(t, openArchive(t, b), func(c *Config) { c.DecodedBytes = 8 << 20 })
	q := mq.Queue{Broker: broker, Topic: "t"}
	read := func(at int64) mq.Message {
		t.Helper()
		m := readOne(t, other, at)
		found, err := other.FindKey(t.Context(), mq.KeyQuery{Topic: "t", Key: "alice", Max: 100})
		if err != nil || (found.Count == 3) == (len(m.Body) == 0) {
			t.Fatalf("%d by key, %v; the body has %d bytes", found.Count, err, len(m.Body))
		}
		return m
	}
	for at := int64(20); at < 23; at++ {
		readOne(t, other, at) // the next is decoded ahead
	}
	old, _ := other.archive.Opened("t").Index().File(other.archive.Opened("t").Index().Files(q, mq.Range{From: 23, To: 24})[0].Name)
	path, release, err := other.LocalFile(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	release()
	c, err := e.Erase(t.Context(), EraseRequest{Topic: "t", Key: "alice", Why: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if m := read(23); len(m.Body) == 0 {
		t.Fatal("the other process knows by itself, and this test shows nothing")
	}
	for at := int64(20); at < 23; at++ {
		readOne(t, other, at)
	}
	other.refresh(t.Context())
	if m := read(23); len(m.Body) != 0 || m.Property(archive.PropErased) != c.ID {
		t.Errorf("after its look: %q, %q", m.Body, m.Properties)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its copy of the old file is still there: %v", err)
	}
	// A read of the old file that had begun before keeps what it got until the
	// next look.
	other.cache.store(block{name: old.Name, n: 7}, make([]byte, 100))
	ahead(t, other, q, 24)
	other.refresh(t.Context())
	if slices.Contains(other.cache.names(), old.Name) {
		t.Errorf("%s is still cached", old.Name)
	}
	if left, err := e.Left(t.Context(), c); err != nil || len(left) != 3 {
		t.Errorf("before a sweep %q are left, %v", left, err)
	}
	now := time.Now()
	r := NewRetainer(RetainConfig{Every: -1, Now: func() time.Time { return now }}, e.node)
	for range 4 {
		now = now.Add(25 * time.Hour)
		if _, err := r.Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := e.Left(t.Context(), c); err != nil || len(left) != 0 {
		t.Errorf("after the sweeps %q are left, %v", left, err)
	}
}
