package history

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
	"varve/internal/retention"
)

func (k *kept) hold(t *testing.T, h retention.Hold) {
	t.Helper()
	h.Why = "case 7"
	if _, err := k.Holds().Set(t.Context(), h); err != nil {
		t.Fatal(err)
	}
}

// TestHeldFilesStay: a rule takes what comes before a held file and nothing
// after, a new process knows the hold, and once it is released the rest goes.
func TestHeldFilesStay(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	at := func(sec int) time.Time { return start.Add(time.Duration(sec) * time.Second) }
	for name, h := range map[string]retention.Hold{
		"topic":             {Topic: "t"},
		"times":             {From: at(25), To: at(26)},
		"key":               {Topic: "t", Keys: []string{"t-0-25", "nobody's"}},
		"queue and tenant":  {Tenant: "default", Queues: "0", From: at(29)},
		"everything, after": {From: at(20)},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKept(t)
			for _, bound := range []*time.Time{&h.From, &h.To} {
				if !bound.IsZero() { // from the first message on
					*bound = k.now.Add(bound.Sub(start) - 100*time.Second)
				}
			}
			k.rule(30 * time.Second)
			h.Name, h.By = "case-7", "ann"
			k.hold(t, h)
			want := int64(20)
			if name == "topic" {
				want = 0
			}
			ex, err := k.Explain(t.Context(), "t")
			if err != nil || ex[0].Kept == nil || ex[0].Kept.Name != "case-7" || ex[0].Kept.By != retention.ByHold || ex[0].Kept.File.Offsets.From != want {
				t.Fatalf("%+v, %v", ex[0].Kept, err)
			}
			if k.apply(t); k.from(t) != want {
				t.Fatalf("range from %d, want %d", k.from(t), want)
			}
			k.restart()
			if k.pass(t, time.Hour); k.from(t) != want {
				t.Fatalf("after a restart: range from %d", k.from(t))
			}
			if _, err := k.Holds().Release(t.Context(), "case-7", retention.Release{By: "bob", Why: "closed"}); err != nil {
				t.Fatal(err)
			}
			if k.apply(t); k.from(t) != 100 {
				t.Errorf("after the release: range from %d", k.from(t))
			}
			all, err := k.Holds().History(t.Context(), "case-7")
			if err != nil || len(all) != 2 || all[0].By != "ann" || all[0].Released != nil || all[1].Released.By != "bob" || all[1].Released.At.IsZero() {
				t.Errorf("%+v, %v", all, err)
			}
		})
	}
}

// TestHoldsElsewhereKeepNothing: what no hold covers goes.
func TestHoldsElsewhereKeepNothing(t *testing.T) {
	k := newKept(t)
	k.rule(30 * time.Second)
	for i, h := range []retention.Hold{
		{Topic: "u*"}, {Tenant: "acme"}, {Queues: "1-9"}, {Keys: []string{"nobody's"}}, {To: k.now.Add(-100 * time.Second)}, {From: k.now},
	} {
		h.Name = fmt.Sprint("h", i)
		k.hold(t, h)
	}
	if k.apply(t); k.from(t) != 70 {
		t.Errorf("range from %d", k.from(t))
	}
}

func TestHoldsAreChecked(t *testing.T) {
	k := newKept(t)
	ctx := t.Context()
	for _, h := range []retention.Hold{
		{Name: "", Why: "x"},
		{Name: "a"},
		{Name: "A", Why: "x"},
		{Name: "a/b", Why: "x"},
		{Name: "..", Why: "x"},
		{Name: "a", Why: "x", Queues: "z"},
		{Name: "a", Why: "x", From: time.Unix(2, 0), To: time.Unix(1, 0)},
		{Name: "a", Why: "x", Keys: []string{""}},
	} {
		if _, err := k.Holds().Set(ctx, h); err == nil {
			t.Errorf("%+v was accepted", h)
		}
	}
	k.hold(t, retention.Hold{Name: "keys", Topic: "t", Keys: []string{"a"}, To: k.now.Add(-50 * time.Second)})
	if _, err := k.Holds().Set(ctx, retention.Hold{Name: "keys", Why: "again"}); !errors.Is(err, ErrHoldExists) {
		t.Errorf("a second one: %v", err)
	}
	for _, c := range []struct {
		from, to int64
		keys     []string
		held     bool
	}{{0, 1 << 60, nil, true}, {0, 1 << 60, []string{"a"}, true}, {0, 1 << 60, []string{"b"}, false}, {k.now.UnixMilli() - 40_000, k.now.UnixMilli(), nil, false}} {
		if err := k.Holds().Check(ctx, keptQueue, c.from, c.to, c.keys); errors.Is(err, ErrHeld) != c.held || !c.held && err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := k.Holds().CheckTopic(ctx, "t"); !errors.Is(err, ErrHeld) {
		t.Errorf("delete the topic: %v", err)
	}
	if err := k.Holds().CheckTopic(ctx, "u"); err != nil {
		t.Errorf("delete another topic: %v", err)
	}
	if _, err := k.Holds().Release(ctx, "nobody's", retention.Release{Why: "x"}); !errors.Is(err, ErrNoHold) {
		t.Errorf("release none: %v", err)
	}
	if _, err := k.Holds().Release(ctx, "keys", retention.Release{}); err == nil {
		t.Error("released without a reason")
	}
}

// TestHoldWithinTheGrace: a hold that comes when the files have left the table
// keeps their objects.
func TestHoldWithinTheGrace(t *testing.T) {
	k := newKept(t)
	k.rule(50 * time.Second)
	k.apply(t)
	k.hold(t, retention.Hold{Name: "late", Topic: "t"})
	if k.pass(t, time.Hour); k.objects(t) != 10 {
		t.Errorf("%d objects", k.objects(t))
	}
	if _, err := k.Holds().Release(t.Context(), "late", retention.Release{Why: "closed"}); err != nil {
		t.Fatal(err)
	}
	if k.pass(t, time.Minute); k.objects(t) != 5 {
		t.Errorf("%d objects after the release", k.objects(t))
	}
}

// TestNothingGoesWhileHoldsCannotBeRead, and what somebody set between the
// decision and the deletion counts.
func TestNothingGoesWhileHoldsCannotBeRead(t *testing.T) {
	k := newKept(t)
	k.rule(50 * time.Second)
	k.bucket.Add(objtest.Fault{Op: objtest.List, Name: holdsPrefix, Err: objstore.ErrDenied})
	if _, err := k.Apply(t.Context()); !errors.Is(err, objstore.ErrDenied) || k.from(t) != 0 {
		t.Errorf("range from %d, %v", k.from(t), err)
	}
	k.bucket.Clear()
	p := &passing{r: k.Retainer, policy: k.policy, now: k.now, failed: map[string]bool{}}
	p.tables, _ = k.openTables(t.Context())
	plans, _, err := p.plan(t.Context())
	if err != nil || len(plans["t"].Files) != 5 {
		t.Fatalf("%+v, %v", plans, err)
	}
	other := NewRetainer(RetainConfig{Every: -1}, k.node)
	if _, err := other.Holds().Set(t.Context(), retention.Hold{Name: "now", Why: "x", Topic: "t"}); err != nil {
		t.Fatal(err)
	}
	if err := k.cut(t.Context(), p.tables[0], plans["t"]); !errors.Is(err, errGuardsChanged) || k.from(t) != 0 {
		t.Errorf("range from %d, %v", k.from(t), err)
	}
}

// TestHoldKilled: the process ends at any request of setting a hold. Either it
// is in force for everybody, or setting it again puts it there; what was
// answered is kept.
func TestHoldKilled(t *testing.T) {
	for _, how := range []objtest.How{objtest.Before, objtest.After} {
		for skip, dead := 0, true; dead; skip++ {
			k := newKept(t)
			k.rule(time.Second)
			k.bucket.Add(objtest.Fault{Skip: skip, How: how, Err: objstore.ErrDenied})
			_, err := k.Holds().Set(t.Context(), retention.Hold{Name: "h", Why: "x"})
			dead = err != nil
			k.bucket.Clear()
			k.restart()
			if dead {
				if _, err := k.Holds().Set(t.Context(), retention.Hold{Name: "h", Why: "x"}); err != nil && !errors.Is(err, ErrHoldExists) {
					t.Fatal(err)
				}
			}
			if k.apply(t); k.from(t) != 0 {
				t.Errorf("killed at request %d: range from %d", skip, k.from(t))
			}
		}
	}
}

// Whatever rules, quotas, holds, leases and the clock do: what is explained is
// what goes, with a record and its digest; nothing that is held or leased goes;
// each queue stays one range.
func TestRetentionProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		k := &kept{bucket: objtest.NewFaulty(mem.New()), now: time.Unix(1100, 0)}
		a := openArchive(t, k.bucket)
		queues := []mq.Queue{{Broker: broker, Topic: "t"}, {Broker: broker, Topic: "t", ID: 1}, {Broker: broker, Topic: "acme%u"}}
		for _, q := range queues {
			store(t, a, broker, plain(q.Topic, q.ID, 40, time.Unix(1000+rapid.Int64Range(0, 50).Draw(rt, "since"), 0)), 10)
		}
		k.node = newNode(t, a, nil)
		k.restart()
		k.Retainer.leases.cfg.MaxBytes = rapid.SampledFrom([]int64{0, 9000}).Draw(rt, "lease bound")
		from := map[mq.Queue]int64{}
		for step := range rapid.IntRange(1, 5).Draw(rt, "steps") {
			k.now = k.now.Add(time.Duration(rapid.IntRange(0, 40).Draw(rt, "seconds")) * time.Second)
			drawPolicy(rt, k)
			held := drawGuards(t, rt, k, queues, step)
			dry, err := k.ExplainPolicy(t.Context(), "", k.policy)
			if err != nil {
				rt.Fatal(err)
			}
			rep, err := k.Apply(t.Context())
			if err != nil {
				rt.Fatal(err)
			}
			want, got := map[string]string{}, map[string]string{}
			for _, e := range dry.Explanations {
				for _, r := range e.Removals {
					want[r.File.Name] = fmt.Sprint(r.Rule, r.Cause)
				}
			}
			for _, d := range rep.Deletions {
				if d.Digest == "" {
					rt.Fatalf("%+v has no digest", d)
				}
				for _, f := range d.Files {
					got[f.Name] = fmt.Sprint(f.Rule, f.Cause)
					if f.Offsets.From != from[f.Queue] || held(f) {
						rt.Fatalf("%+v went, the queue began at %d", f, from[f.Queue])
					}
					from[f.Queue] = f.Offsets.To
				}
			}
			if fmt.Sprint(want) != fmt.Sprint(got) {
				rt.Fatalf("explained %v, went %v", want, got)
			}
			for _, q := range queues {
				if r, err := k.node.Range(t.Context(), q); err != nil || r != (mq.Range{From: from[q], To: 40}) {
					rt.Fatalf("%v is %v, %v; want it from %d", q, r, err, from[q])
				}
			}
		}
		records := 0
		for _, topic := range []string{"t", "acme%u"} {
			recs, err := k.Deletions(t.Context(), topic)
			if err != nil {
				rt.Fatal(err)
			}
			for _, d := range recs {
				records += len(d.Files)
			}
		}
		if gone := from[queues[0]] + from[queues[1]] + from[queues[2]]; int64(records)*10 != gone {
			rt.Fatalf("%d files have a record, %d messages went", records, gone)
		}
	})
}

func drawPolicy(rt *rapid.T, k *kept) {
	k.policy = retention.Policy{}
	for i, topic := range []string{"t", "*"} {
		if rapid.Bool().Draw(rt, "rule") {
			k.policy.Rules = append(k.policy.Rules, retention.Rule{Name: fmt.Sprint("r", i), Topic: topic, Archive: &retention.ArchiveBounds{
				Age:      retention.Duration(rapid.IntRange(0, 120).Draw(rt, "age")) * retention.Duration(time.Second),
				Messages: rapid.Int64Range(0, 40).Draw(rt, "messages"),
			}})
		}
	}
	if rapid.Bool().Draw(rt, "quota") {
		k.policy.Quotas = []retention.Quota{{Tenant: "*", Bytes: retention.Bytes(rapid.IntRange(1, 40_000).Draw(rt, "quota"))}}
	}
}

// drawGuards sets and releases holds and leases, and gives what they forbid.
func drawGuards(t *testing.T, rt *rapid.T, k *kept, queues []mq.Queue, step int) func(DeletedFile) bool {
	ctx := t.Context()
	name := fmt.Sprint("n", rapid.IntRange(0, 1).Draw(rt, "name"))
	switch rapid.IntRange(0, 4).Draw(rt, "do") {
	case 0:
		h := retention.Hold{Name: name, Why: "x", Topic: rapid.SampledFrom([]string{"t", "u", "*"}).Draw(rt, "topic")}
		if rapid.Bool().Draw(rt, "by key") {
			h.Keys = []string{fmt.Sprintf("t-0-%d", rapid.IntRange(0, 45).Draw(rt, "key"))}
		}
		_, _ = k.Holds().Set(ctx, h) // may be there
	case 1:
		_, _ = k.Holds().Release(ctx, name, retention.Release{Why: "x"})
	case 2:
		q := rapid.SampledFrom(queues).Draw(rt, "queue")
		l := retention.Lease{Name: name, Topic: q.Topic, Positions: []retention.Position{{Broker: q.Broker, Queue: q.ID, Offset: rapid.Int64Range(0, 40).Draw(rt, "at")}}}
		if _, err := k.Leases().Set(ctx, l, time.Duration(rapid.IntRange(1, 60).Draw(rt, "ttl"))*time.Second); err != nil {
			rt.Fatal(err)
		}
	case 3:
		_, _ = k.Leases().Release(ctx, name)
	}
	holds, err := k.Holds().All(ctx)
	if err != nil {
		rt.Fatal(err)
	}
	leases := k.Leases().Known()
	return func(f DeletedFile) bool {
		for _, h := range holds {
			if !h.Active() || !h.CoversQueue(f.Queue) {
				continue
			}
			if len(h.Keys) == 0 {
				return true
			}
			var at int64
			if n, _ := fmt.Sscanf(h.Keys[0], "t-0-%d", &at); n == 1 && f.Queue == queues[0] && f.Offsets.Contains(at) {
				return true
			}
		}
		for _, l := range leases {
			if l.State != retention.LeaseHolds || l.MaxBytes > 0 {
				continue
			}
			for _, p := range l.Positions {
				if l.Topic == f.Queue.Topic && p.Queue == f.Queue.ID && f.Offsets.To > p.Offset {
					return true
				}
			}
		}
		return false
	}
}
