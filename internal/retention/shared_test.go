package retention

import (
	"fmt"
	"testing"
	"time"

	"varve/internal/mq"
)

// sharing gives queues with a file a day, of which those of one day share an
// object; queue i has none of its first i days.
func sharing(queues, days int, now time.Time) (out []QueueFiles) {
	for id := range queues {
		q := QueueFiles{Queue: mq.Queue{Broker: "b", Topic: "t", ID: int32(id)}}
		for day := id; day < days; day++ {
			at := now.Add(-time.Duration(days-day) * 24 * time.Hour).UnixMilli()
			q.Files = append(q.Files, File{
				Name: fmt.Sprint("day", day), Offsets: mq.Range{From: int64(day) * 10, To: int64(day+1) * 10}, Rows: 10, Bytes: 100,
				FirstStoreMillis: at, LastStoreMillis: at + int64(id), Row: int64(id) * 10, Sharing: int64(min(queues, day+1)),
			})
		}
		out = append(out, q)
	}
	return out
}

func gone(p Plan) (n []int) {
	for _, q := range p.Queues {
		n = append(n, len(q.Removals))
	}
	return n
}

// TestSharedObjectsGoAsAWhole: nothing of an object goes while a part of it
// stays, by whatever reason, and the plan says why.
func TestSharedObjectsGoAsAWhole(t *testing.T) {
	now := time.Unix(100_000_000, 0)
	rule := func(name, queues string, days int) Rule {
		return Rule{Name: name, Queues: queues, Archive: &ArchiveBounds{Age: Duration(time.Duration(days)*24*time.Hour - time.Minute)}}
	}
	short := Policy{Rules: []Rule{rule("all", "", 2)}}
	quota := func(n int64) Policy { return Policy{Quotas: []Quota{{Tenant: "*", Bytes: Bytes(n)}}} }
	held := Guards{Held: func(q mq.Queue, f File) string {
		if q.ID == 1 && f.Name == "day2" {
			return "case-7"
		}
		return ""
	}}
	leased := Guards{Leases: []Pin{{Lease: "reader", Positions: map[mq.Queue]int64{{Broker: "b", Topic: "t", ID: 2}: 35}}}}
	for _, c := range []struct {
		name string
		p    Policy
		g    Guards
		gone string
		why  string // of queue 0
	}{
		{"all are due", short, Guards{}, "[4 3 2]", ""},
		{"one queue is kept longer", Policy{Rules: []Rule{rule("two", "2", 3), rule("all", "", 2)}}, Guards{}, "[3 2 1]", "object shared with queue 2 of b"},
		{"one queue is kept for ever", Policy{Rules: []Rule{{Name: "ever", Queues: "1", Archive: &ArchiveBounds{}}, rule("all", "", 2)}}, Guards{}, "[1 0 0]", "object shared with queue 1 of b"},
		{"a hold on one", short, held, "[2 1 0]", "object shared with queue 1 of b"},
		{"a lease on one", short, leased, "[3 2 1]", "object shared with queue 2 of b"},
		{"a quota takes whole objects", quota(850), Guards{}, "[3 2 1]", ""},
		{"a quota that suffices", quota(1200), Guards{}, "[0 0 0]", ""},
		{"a quota beside a hold", quota(100), held, "[2 1 0]", "object shared with queue 1 of b"},
		{"a quota leaves each queue's newest", quota(1), Guards{}, "[4 3 2]", ""},
	} {
		p := c.p.Plan(sharing(3, 5, now), c.g, now)
		why := ""
		if k := p.Queues[0].Kept; k != nil {
			why = string(k.By) + " " + k.Name
		}
		if fmt.Sprint(gone(p)) != c.gone || why != c.why {
			t.Errorf("%s: %v gone, want %s; kept: %q", c.name, gone(p), c.gone, why)
		}
		for _, u := range p.Tenants {
			left := int64(0)
			for _, q := range p.Queues {
				left += int64(len(q.Files)-len(q.Removals)) * 100
			}
			if u.After != left {
				t.Errorf("%s: %d bytes left, it says %d", c.name, left, u.After)
			}
		}
	}
	// A queue that fell silent doesn't keep the others from a quota.
	silent := sharing(3, 5, now)
	silent[2].Files = silent[2].Files[:1]
	for _, q := range silent {
		for i := range q.Files {
			if q.Files[i].Name > "day2" {
				q.Files[i].Sharing = 2
			}
		}
	}
	if p := quota(450).Plan(silent, Guards{}, now); fmt.Sprint(gone(p)) != "[3 2 1]" || p.Tenants[0].Over != 0 {
		t.Errorf("beside a silent queue: %v, %+v", gone(p), p.Tenants)
	}
	for _, c := range []struct {
		rules []Rule
		want  bool
	}{
		{nil, true},
		{[]Rule{rule("all", "", 2)}, true},
		{[]Rule{rule("two", "2", 2), rule("all", "", 2)}, true},
		{[]Rule{rule("two", "2", 3), rule("all", "", 2)}, false},
		{[]Rule{{Name: "ever", Queues: "1", Archive: &ArchiveBounds{}}, rule("all", "", 2)}, false},
		{[]Rule{{Name: "bytes", Archive: &ArchiveBounds{Bytes: 1 << 30}}}, false},
		{[]Rule{{Name: "messages", Archive: &ArchiveBounds{Age: Duration(time.Hour), Messages: 5}}}, false},
	} {
		var queues []mq.Queue
		for _, q := range silent {
			queues = append(queues, q.Queue)
		}
		if got := (Policy{Rules: c.rules}).Together(queues); got != c.want {
			t.Errorf("%+v: together %v", c.rules, got)
		}
	}
	// A part of it that nobody asked about stays.
	if p := short.Plan(sharing(3, 5, now)[:2], Guards{}, now); fmt.Sprint(gone(p)) != "[2 1]" {
		t.Errorf("without queue 2: %v", gone(p))
	}
}
