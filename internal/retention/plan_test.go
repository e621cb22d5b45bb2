package retention

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"varve/internal/mq"
)

// files gives n files of ten messages and 100 bytes, one an hour, the last one
// an hour before now.
func hourly(n int, now time.Time) (out []File) {
	for i := range n {
		out = append(out, File{
			Name: fmt.Sprint(i), Offsets: mq.Range{From: int64(i) * 10, To: int64(i+1) * 10}, Rows: 10, Bytes: 100,
			FirstStoreMillis: now.Add(-time.Duration(n-i+1) * time.Hour).UnixMilli(), LastStoreMillis: now.Add(-time.Duration(n-i) * time.Hour).UnixMilli(),
		})
	}
	return out
}

func TestHoldsAndLeasesStandAboveRules(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	q := mq.Queue{Broker: "b", Topic: "t"}
	in := []QueueFiles{{q, hourly(5, now)}}
	all := Policy{Rules: []Rule{{Name: "all", Archive: &ArchiveBounds{Age: Duration(time.Minute)}}}}
	held := func(name string) Guards {
		return Guards{Held: func(_ mq.Queue, f File) string {
			if f.Name == name {
				return "case-7"
			}
			return ""
		}}
	}
	pin := func(at, most int64) Guards {
		return Guards{Leases: []Pin{{Lease: "reader", Positions: map[mq.Queue]int64{q: at}, MaxBytes: most}}}
	}
	for _, c := range []struct {
		name  string
		g     Guards
		gone  int
		by    Keeper
		bytes int64 // kept by the lease
		lost  int64
	}{
		{"nothing above", Guards{}, 5, "", 0, 0},
		{"a hold on the third", held("2"), 2, ByHold, 0, 0},
		{"a hold on the first", held("0"), 0, ByHold, 0, 0},
		{"a lease in the third", pin(25, 0), 2, ByLease, 300, 0},
		{"a lease at the third's end", pin(30, 0), 3, ByLease, 200, 0},
		{"a lease at the end", pin(50, 0), 5, "", 0, 0},
		{"a lease within its bound", pin(25, 300), 2, ByLease, 300, 0},
		{"a lease above its bound", pin(25, 299), 3, ByLease, 200, 100},
		{"a lease with hardly any bound", pin(0, 1), 5, "", 0, 500},
	} {
		p := all.Plan(in, c.g, now)
		got := p.Queues[0]
		if len(got.Removals) != c.gone || (got.Kept == nil) != (c.by == "") || got.Kept != nil && (got.Kept.By != c.by || got.Kept.Rule != "all") {
			t.Errorf("%s: %d go, kept %+v", c.name, len(got.Removals), got.Kept)
		}
		if len(p.Leases) > 0 && (p.Leases[0].Bytes != c.bytes || p.Leases[0].Lost != c.lost) {
			t.Errorf("%s: %+v", c.name, p.Leases)
		}
	}
}

func TestQuotaTakesTheOldestOfATenant(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	a, b := mq.Queue{Broker: "b", Topic: "acme%a"}, mq.Queue{Broker: "b", Topic: "acme%b"}
	keep, other := mq.Queue{Broker: "b", Topic: "acme%keep"}, mq.Queue{Broker: "b", Topic: "x"}
	young := hourly(3, now)
	in := []QueueFiles{{a, hourly(5, now)}, {b, young}, {keep, hourly(9, now)}, {other, hourly(20, now)}}
	p := Policy{
		Rules: []Rule{
			{Name: "keep", Topic: "keep", Archive: &ArchiveBounds{}},
			{Name: "day", Archive: &ArchiveBounds{Age: Duration(24 * time.Hour)}},
		},
		Quotas: []Quota{{"acme", 1200}, {"*", 100 << 20}},
	}
	plan := p.Plan(in, Guards{}, now)
	gone := func(p Plan) (n []int) {
		for _, q := range p.Queues {
			n = append(n, len(q.Removals))
		}
		return n
	}
	// 1700 bytes are 500 too many: two hours of a alone, then both in turn.
	if got := gone(plan); !reflect.DeepEqual(got, []int{4, 1, 0, 0}) {
		t.Errorf("%v go", got)
	}
	if r := plan.Queues[0].Removals[0]; r.Cause != ByQuota || r.Rule != "quota of acme" {
		t.Errorf("%+v", r)
	}
	if u := plan.Tenants; len(u) != 2 || u[0] != (TenantUse{Tenant: "acme", Limit: 1200, Used: 1700, After: 1200}) || u[1].Tenant != mq.DefaultTenant || u[1].Over != 0 {
		t.Errorf("%+v", u)
	}
	p.Quotas[0].Bytes = 1
	plan = p.Plan(in, Guards{Held: func(q mq.Queue, f File) string {
		if q == b && f.Offsets.From == 10 {
			return "h"
		}
		return ""
	}}, now)
	// What is kept for ever, held, or a queue's newest stays, and is said.
	if got := gone(plan); !reflect.DeepEqual(got, []int{4, 1, 0, 0}) || plan.Tenants[0].Over != 1200-1 || plan.Queues[1].Kept == nil {
		t.Errorf("%v go, %+v", got, plan.Tenants)
	}
}

func TestQuotasAreChecked(t *testing.T) {
	for _, doc := range []string{
		`{"rules":[],"quotas":[{"tenant":"","bytes":"1GiB"}]}`, `{"rules":[],"quotas":[{"tenant":"a"}]}`,
		`{"rules":[],"quotas":[{"tenant":"a*","bytes":"1GiB"}]}`, `{"rules":[],"quotas":[{"tenant":"a","bytes":"1GiB"},{"tenant":"a","bytes":"2GiB"}]}`,
		`{"rules":[],"quotas":[{"tenant":"a","bytes":"1GiB","age":"1d"}]}`,
	} {
		if _, err := ParseJSON([]byte(doc)); err == nil {
			t.Errorf("%s was accepted", doc)
		}
	}
	p, err := ParseYAML([]byte("rules: []\nquotas: [{tenant: a, bytes: 1GiB}]"))
	if err != nil || len(p.Quotas) != 1 || p.Quotas[0].Bytes != 1<<30 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestLeaseStates(t *testing.T) {
	since := time.Unix(1000, 0)
	l := Lease{Since: since, Expires: since.Add(time.Hour)}
	for _, c := range []struct {
		after  time.Duration
		maxAge time.Duration
		want   LeaseState
	}{{0, 0, LeaseHolds}, {time.Hour, 0, LeaseExpired}, {time.Minute, time.Minute, LeaseTooOld}, {time.Minute, time.Hour, LeaseHolds}} {
		if got := l.State(since.Add(c.after), c.maxAge); got != c.want {
			t.Errorf("after %v of %v: %s, want %s", c.after, c.maxAge, got, c.want)
		}
	}
	if l.Released = since; l.State(since, 0) != LeaseReleased {
		t.Error("a released lease holds")
	}
}

// world is a random archive with everything that decides about it.
type world struct {
	queues []QueueFiles
	policy Policy
	guards Guards
	holds  []Hold
	now    time.Time
}

func drawWorld(t *rapid.T) world {
	w := world{now: time.UnixMilli(rapid.Int64Range(0, 3000).Draw(t, "now"))}
	topics := []string{"a", "b", "acme%a", "acme%b", "%RETRY%acme%g"}
	for i := range rapid.IntRange(1, 6).Draw(t, "queues") {
		q := QueueFiles{Queue: mq.Queue{Broker: "b", Topic: rapid.SampledFrom(topics).Draw(t, "topic"), ID: int32(i)}}
		at, stored := rapid.Int64Range(0, 50).Draw(t, "from"), int64(0)
		for range rapid.IntRange(0, 8).Draw(t, "files") {
			f := File{FirstStoreMillis: stored, Rows: rapid.Int64Range(1, 20).Draw(t, "rows"), Bytes: rapid.Int64Range(1, 50).Draw(t, "size")}
			stored += rapid.Int64Range(0, 400).Draw(t, "dt")
			f.LastStoreMillis, f.Offsets = stored, mq.Range{From: at, To: at + f.Rows}
			f.Name = fmt.Sprint(i, "/", at)
			at += f.Rows
			q.Files = append(q.Files, f)
		}
		w.queues = append(w.queues, q)
	}
	pattern := rapid.SampledFrom([]string{"", "*", "a", "b", "?", "acme", "default"})
	for i := range rapid.IntRange(0, 4).Draw(t, "rules") {
		w.policy.Rules = append(w.policy.Rules, Rule{
			Name: fmt.Sprint("r", i), Tenant: pattern.Draw(t, "tenant"), Topic: pattern.Draw(t, "topic"),
			Queues: rapid.SampledFrom([]string{"", "0-2", "3"}).Draw(t, "queues"),
			Archive: &ArchiveBounds{
				Age:      Duration(rapid.Int64Range(0, 2000).Draw(t, "age") * int64(time.Millisecond)),
				Bytes:    Bytes(rapid.Int64Range(0, 150).Draw(t, "bytes")),
				Messages: rapid.Int64Range(0, 80).Draw(t, "messages"),
			},
		})
	}
	for _, tenant := range []string{"acme", "*"} {
		if n := rapid.Int64Range(0, 400).Draw(t, "quota"); n > 0 {
			w.policy.Quotas = append(w.policy.Quotas, Quota{tenant, Bytes(n)})
		}
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "holds") {
		h := Hold{Name: fmt.Sprint("h", i), Tenant: pattern.Draw(t, "tenant"), Topic: pattern.Draw(t, "topic")}
		if rapid.Bool().Draw(t, "times") {
			h.From = time.UnixMilli(rapid.Int64Range(0, 3000).Draw(t, "from"))
			h.To = h.From.Add(time.Duration(rapid.Int64Range(1, 1000).Draw(t, "for")) * time.Millisecond)
		}
		w.holds = append(w.holds, h)
	}
	w.guards.Held = func(q mq.Queue, f File) string {
		for _, h := range w.holds {
			if h.CoversQueue(q) && h.CoversTimes(f.FirstStoreMillis, f.LastStoreMillis) {
				return h.Name
			}
		}
		return ""
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "leases") {
		pin := Pin{Lease: fmt.Sprint("l", i), Positions: map[mq.Queue]int64{}, MaxBytes: rapid.SampledFrom([]int64{0, 0, 60, 200}).Draw(t, "bound")}
		for _, q := range w.queues {
			if rapid.Bool().Draw(t, "in") {
				pin.Positions[q.Queue] = rapid.Int64Range(0, 200).Draw(t, "at")
			}
		}
		w.guards.Leases = append(w.guards.Leases, pin)
	}
	return w
}

// Whatever rules, quotas, holds, leases and the clock are: what goes is a prefix
// of its queue, never held, leased only beyond the lease's bound, and each
// removal names its rule; a second plan over what is left takes nothing.
func TestPlanProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		p := w.policy.Plan(w.queues, w.guards, w.now)
		leased, left := map[string]int64{}, []QueueFiles{}
		for i, q := range p.Queues {
			if q.Queue != w.queues[i].Queue {
				t.Fatalf("queue %d is %v", i, q.Queue)
			}
			for j, r := range q.Removals {
				if r.File != w.queues[i].Files[j] || r.Rule == "" || r.Cause == "" {
					t.Fatalf("removal %d of %v is %+v", j, q.Queue, r)
				}
				if name := w.guards.Held(q.Queue, r.File); name != "" {
					t.Fatalf("%+v goes, which %s holds", r, name)
				}
				if r.Cause != ByAge && j == len(q.Files)-1 {
					t.Fatalf("the newest file of %v goes by %s", q.Queue, r.Cause)
				}
				for _, l := range w.guards.Leases {
					if at, ok := l.Positions[q.Queue]; ok && r.File.Offsets.To > at {
						if l.MaxBytes == 0 {
							t.Fatalf("%+v goes, which %s keeps", r, l.Lease)
						}
						leased[l.Lease] += r.File.Bytes
					}
				}
			}
			left = append(left, QueueFiles{q.Queue, q.Files[len(q.Removals):]})
		}
		for i, u := range p.Leases {
			if pin := w.guards.Leases[i]; pin.MaxBytes > 0 && u.Bytes > pin.MaxBytes || leased[u.Lease] > 0 && u.Lost == 0 {
				t.Fatalf("%+v of %+v, %d bytes of it go", u, pin, leased[u.Lease])
			}
		}
		for _, u := range p.Tenants {
			if u.After > int64(u.Limit) != (u.Over > 0) || u.After > u.Used {
				t.Fatalf("%+v", u)
			}
		}
		if !reflect.DeepEqual(p, w.policy.Plan(w.queues, w.guards, w.now)) {
			t.Fatal("the same again is something else")
		}
		for i := range w.guards.Leases { // what their bounds let go is gone; the rest is theirs
			w.guards.Leases[i].MaxBytes = 0
		}
		for _, q := range w.policy.Plan(left, w.guards, w.now).Queues {
			if len(q.Removals) > 0 {
				t.Fatalf("a second plan takes %+v", q.Removals)
			}
		}
	})
}
