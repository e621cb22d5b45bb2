package history

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"slices"
	"testing"
	"time"

	"varve/internal/archive"
	"varve/internal/archive/audit"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
	"varve/internal/retention"
)

// share puts one object in the place of all files of a table.
func share(t *testing.T, a *archive.Archive, topic string) archive.DataFile {
	t.Helper()
	tbl, err := a.Table(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	r := archive.Replacement{ID: "share", Op: archive.ReplaceFiles}
	var queues [][]archive.DataFile
	for _, q := range tbl.Index().Queues() {
		rng, _ := tbl.Index().Range(q)
		queues = append(queues, tbl.Index().Files(q, rng))
		for _, f := range queues[len(queues)-1] {
			r.Old = append(r.Old, f.Name)
		}
	}
	var buf bytes.Buffer
	s, err := archive.ShareFiles(t.Context(), &buf, a.Bucket(), queues, archive.MergeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	first := s.Sections[0]
	s.Name(archive.SharedName(broker, tbl.Root(), first.FirstStoreMillis, first.Section.Rows, first.Epoch))
	r.New = s.Sections
	if err := a.Bucket().Put(t.Context(), s.Sections[0].Name, &buf, first.ObjectBytes(), objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
	if _, err := tbl.Replace(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return s.Sections[0]
}

// newShared is a retainer over three queues that share an object.
func newShared(t *testing.T) *kept {
	t.Helper()
	k := &kept{bucket: objtest.NewFaulty(mem.New()), now: time.Now().Truncate(time.Second)}
	a := openArchive(t, k.bucket)
	for id := range int32(3) {
		store(t, a, broker, plain("t", id, 20, k.now), 10)
	}
	share(t, a, "t")
	k.now = k.now.Add(100 * time.Second)
	k.node = newNode(t, a, nil)
	k.restart()
	return k
}

// TestRetentionOfASharedObject: while one queue's part of it is not due the
// object stays, and it is said why; then it goes as one.
func TestRetentionOfASharedObject(t *testing.T) {
	k := newShared(t)
	rule := func(name, queues string, age time.Duration) retention.Rule {
		return retention.Rule{Name: name, Topic: "t", Queues: queues, Archive: &retention.ArchiveBounds{Age: retention.Duration(age)}}
	}
	k.policy = retention.Policy{Rules: []retention.Rule{rule("long", "1", time.Hour), rule("short", "", time.Minute)}}
	if rep := k.apply(t); len(rep.Deletions) != 0 {
		t.Fatalf("%+v", rep)
	}
	ex, err := k.Explain(t.Context(), "t")
	if err != nil || len(ex) != 3 || ex[0].Kept == nil || ex[0].Kept.By != retention.ByObject || ex[0].Kept.Name != "shared with queue 1 of b" || ex[1].Kept != nil {
		t.Fatalf("%+v, %v", ex, err)
	}
	if _, err := k.Holds().Set(t.Context(), retention.Hold{Name: "case-7", Topic: "t", Queues: "2", Why: "court"}); err != nil {
		t.Fatal(err)
	}
	k.policy.Rules = k.policy.Rules[1:]
	if rep := k.apply(t); len(rep.Deletions) != 0 {
		t.Fatalf("held: %+v", rep)
	}
	if _, err := k.Holds().Release(t.Context(), "case-7", retention.Release{Why: "over"}); err != nil {
		t.Fatal(err)
	}
	rep := k.apply(t)
	if len(rep.Deletions) != 1 || len(rep.Deletions[0].Files) != 3 || rep.Deletions[0].Rows != 60 {
		t.Fatalf("%+v", rep)
	}
	name, size := rep.Deletions[0].Files[0].Name, rep.Deletions[0].Bytes
	o, err := k.bucket.Head(t.Context(), name)
	if err != nil || o.Size != size {
		t.Fatalf("%d bytes of %d: %v", size, o.Size, err)
	}
	for id := range int32(3) {
		if r, err := k.node.Range(t.Context(), mq.Queue{Broker: broker, Topic: "t", ID: id}); err != nil || r != (mq.Range{From: 20, To: 20}) {
			t.Errorf("queue %d has %v, %v", id, r, err)
		}
	}
	// A hold on one queue keeps the object that its messages are in.
	if _, err := k.Holds().Set(t.Context(), retention.Hold{Name: "late", Topic: "t", Queues: "2", Why: "court"}); err != nil {
		t.Fatal(err)
	}
	k.now = k.now.Add(2 * time.Minute)
	if k.apply(t); !k.there(t, name) {
		t.Fatal("a held object was removed")
	}
	if _, err := k.Holds().Release(t.Context(), "late", retention.Release{Why: "over"}); err != nil {
		t.Fatal(err)
	}
	k.now = k.now.Add(2 * time.Minute)
	k.apply(t)
	list, err := k.Deletions(t.Context(), "t")
	if err != nil || k.there(t, name) || len(list) != 1 || list[0].Removed == nil || list[0].Removed.Objects != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}

func (k *kept) there(t *testing.T, name string) bool {
	t.Helper()
	_, err := k.bucket.Head(t.Context(), name)
	return err == nil
}

// TestEraseInASharedObject: a message of one queue is erased, those of the others
// are as they were, and the proof of all of them holds.
func TestEraseInASharedObject(t *testing.T) {
	b := mem.New()
	a, err := archive.Open(t.Context(), b, archive.Options{ProofKey: eraseKey})
	if err != nil {
		t.Fatal(err)
	}
	for id := range int32(3) {
		msgs := plain("t", id, 20, time.Now())
		for i := range msgs {
			if id != 1 && i%7 == 3 {
				msgs[i].Properties = mq.AppendProperty(msgs[i].Properties, mq.PropKeys, "alice")
			}
		}
		store(t, a, broker, msgs, 10)
	}
	old := share(t, a, "t")
	n := newNode(t, a, nil)
	e := NewEraser(EraseConfig{
		Dir: t.TempDir(), Key: eraseKey,
		Hot:    func(context.Context, mq.Queue) (mq.Range, bool) { return mq.Range{From: 20, To: 20}, true },
		HotKey: func(context.Context, mq.KeyQuery) (bool, error) { return false, nil },
	}, n)
	c, err := e.Erase(t.Context(), EraseRequest{Topic: "t", Key: "alice", Who: "dpo", Why: "request 7"})
	if err != nil || len(c.Rows) != 6 || len(c.Files) != 1 || c.Files[0].Before != old.Name {
		t.Fatalf("%+v, %v", c, err)
	}
	for id := range int32(3) {
		for off := range int64(20) {
			batch, err := n.Read(t.Context(), mq.Queue{Broker: broker, Topic: "t", ID: id}, off, mq.Limit{Messages: 1})
			if err != nil {
				t.Fatal(err)
			}
			m, err := mq.Record(batch.Body).Decode()
			if err != nil || (len(m.Body) == 0) != (id != 1 && off%7 == 3) {
				t.Errorf("queue %d, offset %d: %d bytes, %v", id, off, len(m.Body), err)
			}
		}
	}
	ro, err := archive.OpenReadOnly(t.Context(), b, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rep, err := audit.Run(t.Context(), ro, audit.Options{Keys: []ed25519.PublicKey{eraseKey.Public().(ed25519.PublicKey)}})
	if err != nil || !rep.OK || rep.Proven != 60 || rep.Erased != 6 || rep.Files != 1 {
		t.Fatalf("%+v, %v", rep, err)
	}
	tbl, err := a.Table(t.Context(), "t")
	if err != nil || len(tbl.Index().Object(c.Files[0].After)) != 3 || slices.ContainsFunc(tbl.Index().All(), func(f archive.DataFile) bool { return f.Name == old.Name }) {
		t.Errorf("%+v, %v", tbl.Index().All(), err)
	}
}
