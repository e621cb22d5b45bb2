package history

import (
	"context"
	"crypto/ed25519"
	"errors"
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
	e.Eraser.cfg.Held = func(_ context.Context, _ mq.Queue, from, to int64, keys []string) error {
		if from == to && slices.Contains(keys, "alice") && slices.Contains(keys, "t-0-23") {
			return held
		}
		return nil
	}
	if _, err := e.Erase(t.Context(), one); !errors.Is(err, held) {
		t.Errorf("held: %v", err)
	}
	e.Eraser.cfg.Held = nil
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
