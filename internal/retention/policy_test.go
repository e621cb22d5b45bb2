package retention

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"varve/internal/mq"
)

const sample = `
rules:
  - name: default
    archive: {age: 90d}
    hot: {age: 3d, bytes: 100GiB}
  - name: payments
    topic: pay-*
    archive: {age: 3650d}
    hot: {age: 7d}
  - name: pay-logs
    topic: pay-logs
    archive: {age: 1w, bytes: 10MiB}
  - name: pay-logs-q0
    topic: pay-logs
    queues: 0,4-7
    archive: {}
  - name: acme
    tenant: acme
    archive: {age: 12h}
`

func mustYAML(t *testing.T, s string) Policy {
	t.Helper()
	p, err := ParseYAML([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const day = 24 * time.Hour

func TestMostSpecificRuleDecides(t *testing.T) {
	p := mustYAML(t, sample)
	for _, c := range []struct {
		topic string
		id    int32
		rule  string
		hot   string
	}{
		{"orders", 0, "default", "default"},
		{"pay-in", 3, "payments", "payments"},
		{"pay-logs", 3, "pay-logs", "payments"},
		{"pay-logs", 5, "pay-logs-q0", "payments"},
		{"acme%orders", 0, "acme", "default"},
		{"acme%pay-in", 0, "payments", "payments"}, // the topic counts before the tenant
		{"%RETRY%acme%g", 0, "acme", "default"},
	} {
		q := mq.Queue{Broker: "b", Topic: c.topic, ID: c.id}
		if d := p.Match(q); d.Rule != c.rule {
			t.Errorf("archive of %v: rule %q, want %q (%v)", q, d.Rule, c.rule, d.Candidates)
		} else if d.Candidates[0].Rule != c.rule {
			t.Errorf("archive of %v: candidates %v don't start with the rule", q, d.Candidates)
		}
		if d := p.MatchHot(c.topic); d.Rule != c.hot {
			t.Errorf("hot of %s: rule %q, want %q", c.topic, d.Rule, c.hot)
		}
	}
	d := p.Match(mq.Queue{Topic: "pay-logs", ID: 4})
	if len(d.Candidates) != 4 || !strings.Contains(d.Candidates[1].Why, "names queues") && !strings.Contains(d.Candidates[2].Why, "names") {
		t.Errorf("candidates %+v", d.Candidates)
	}
}

func TestCutByAgeAndBytes(t *testing.T) {
	now := time.UnixMilli(1_000_000_000)
	hour := time.Hour.Milliseconds()
	files := func(n int) (out []File) {
		for i := range n {
			out = append(out, File{
				Offsets: mq.Range{From: int64(i) * 10, To: int64(i+1) * 10}, Rows: 10, Bytes: 100,
				LastStoreMillis: now.UnixMilli() - int64(n-i)*hour,
			})
		}
		return out
	}
	q := mq.Queue{Topic: "t"}
	rule := func(a ArchiveBounds) Policy { return Policy{Rules: []Rule{{Name: "r", Archive: &a}}} }
	for _, c := range []struct {
		name string
		p    Policy
		n    int
		want []Cause
	}{
		{"no rule", Policy{}, 5, nil},
		{"for ever", rule(ArchiveBounds{}), 5, nil},
		{"by age, the exact age stays", rule(ArchiveBounds{Age: Duration(3 * time.Hour)}), 5, []Cause{ByAge, ByAge}},
		{"all by age", rule(ArchiveBounds{Age: Duration(time.Minute)}), 2, []Cause{ByAge, ByAge}},
		{"by bytes keeps at least the bound", rule(ArchiveBounds{Bytes: 250}), 5, []Cause{ByBytes, ByBytes}},
		{"by bytes exact", rule(ArchiveBounds{Bytes: 300}), 5, []Cause{ByBytes, ByBytes}},
		{"bytes never take the newest", rule(ArchiveBounds{Bytes: 1}), 3, []Cause{ByBytes, ByBytes}},
		{"by messages keeps at least the bound", rule(ArchiveBounds{Messages: 25}), 5, []Cause{ByMessages, ByMessages}},
		{"messages never take the newest", rule(ArchiveBounds{Messages: 1}), 3, []Cause{ByMessages, ByMessages}},
		{"both", rule(ArchiveBounds{Age: Duration(4 * time.Hour), Bytes: 200}), 5, []Cause{ByAge, ByBytes, ByBytes}},
		{"no files", rule(ArchiveBounds{Bytes: 1}), 0, nil},
	} {
		var got []Cause
		for _, r := range c.p.Cut(q, files(c.n), now) {
			got = append(got, r.Cause)
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestExplainSaysWhatGoesNext(t *testing.T) {
	now := time.UnixMilli(10_000_000)
	p := Policy{Rules: []Rule{{Name: "short", Archive: &ArchiveBounds{Age: Duration(time.Second)}}}}
	files := []File{{LastStoreMillis: now.UnixMilli() - 1001, Bytes: 7}, {LastStoreMillis: now.UnixMilli() - 500, Bytes: 5}}
	e := p.Explain(p.Plan([]QueueFiles{{mq.Queue{Topic: "t"}, files}}, Guards{}, now).Queues[0])
	if len(e.Removals) != 1 || e.Removals[0].Rule != "short" || e.Bytes != 12 || e.Files != 2 {
		t.Fatalf("%+v", e)
	}
	if e.Next == nil || e.Next.Bytes != 5 {
		t.Fatalf("next %+v", e.Next)
	}
	if got := p.Cut(e.Queue, files, e.NextAt); len(got) != 2 {
		t.Errorf("at %v %d files go, want 2", e.NextAt, len(got))
	}
	if got := p.Cut(e.Queue, files, e.NextAt.Add(-time.Millisecond)); len(got) != 1 {
		t.Errorf("just before %v %d files go, want 1", e.NextAt, len(got))
	}
}

func TestHotTrim(t *testing.T) {
	h := mustYAML(t, sample).HotTrim()
	if h.KeepFor != 3*day || h.KeepBytes != 100<<30 || h.DropUnarchived {
		t.Errorf("%+v", h)
	}
	if h.MinAge("orders") != 3*day || h.MinAge("pay-in") != 7*day {
		t.Errorf("orders %v, pay-in %v", h.MinAge("orders"), h.MinAge("pay-in"))
	}
	if none := (Policy{}).HotTrim(); none.KeepFor != Forever || none.MinAge("x") != Forever {
		t.Errorf("empty policy: %+v", none)
	}
}

func TestErrorsNameRuleAndField(t *testing.T) {
	for _, c := range []struct{ doc, field string }{
		{`{"rules":[{"archive":{"age":"1d"}}]}`, "name"},
		{`{"rules":[{"name":"r"}]}`, "archive"},
		{`{"rules":[{"name":"r","archive":{"age":"soon"}}]}`, "archive.age"},
		{`{"rules":[{"name":"r","archive":{"age":7}}]}`, "archive.age"},
		{`{"rules":[{"name":"r","archive":{"bytes":"many"}}]}`, "archive.bytes"},
		{`{"rules":[{"name":"r","archive":{"size":"1GiB"}}]}`, "archive.size"},
		{`{"rules":[{"name":"r","hot":{"age":"-1h"}}]}`, "hot.age"},
		{`{"rules":[{"name":"r","topics":"x","archive":{}}]}`, "topics"},
		{`{"rules":[{"name":"r","queues":"7-4","archive":{}}]}`, "queues"},
		{`{"rules":[{"name":"r","queues":"1","hot":{"age":"1d"}}]}`, "hot"},
		{`{"rules":[{"name":"r","topic":"t","hot":{"bytes":"1GiB"}}]}`, "hot.bytes"},
		{`{"rules":[{"name":"r","topic":"t","hot":{"drop_unarchived":true}}]}`, "hot.drop_unarchived"},
		{`{"rules":[{"name":"r","archive":{}},{"name":"r","topic":"t","archive":{}}]}`, "name"},
		{`{"rules":[{"name":"r","archive":{}},{"name":"s","topic":"*","archive":{}}]}`, "topic"},
	} {
		_, err := ParseJSON([]byte(c.doc))
		var re *RuleError
		if !errors.As(err, &re) || re.Field != c.field {
			t.Errorf("%s: %v, want a RuleError about %s", c.doc, err, c.field)
		}
	}
	for _, doc := range []string{``, `[]`, `{"rule":[]}`, `{"rules":[]} x`} {
		if _, err := ParseJSON([]byte(doc)); err == nil {
			t.Errorf("%q was accepted", doc)
		}
	}
}

func TestPolicyReadsBackWhatItWrites(t *testing.T) {
	p := mustYAML(t, sample)
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseJSON(b)
	if err != nil || !reflect.DeepEqual(p, again) {
		t.Errorf("%s\n%v\n%+v\n%+v", b, err, p, again)
	}
}

// A cut is a prefix, never lets the bound in bytes be undershot, and cutting
// again what is left cuts nothing.
func TestCutProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 20).Draw(t, "n")
		var files []File
		last := int64(0)
		for i := range n {
			last += rapid.Int64Range(0, 100).Draw(t, "dt")
			files = append(files, File{Offsets: mq.Range{From: int64(i), To: int64(i + 1)}, LastStoreMillis: last, Bytes: rapid.Int64Range(0, 50).Draw(t, "size")})
		}
		a := ArchiveBounds{Age: Duration(rapid.Int64Range(0, 500).Draw(t, "age") * int64(time.Millisecond)), Bytes: Bytes(rapid.Int64Range(0, 300).Draw(t, "bytes"))}
		p := Policy{Rules: []Rule{{Name: "r", Archive: &a}}}
		now := time.UnixMilli(rapid.Int64Range(0, 2500).Draw(t, "now"))
		cut := p.Cut(mq.Queue{Topic: "t"}, files, now)
		for i, r := range cut {
			if r.File != files[i] {
				t.Fatalf("removal %d is %v", i, r.File)
			}
			if r.Cause == ByBytes && totalBytes(files[i+1:]) < int64(a.Bytes) {
				t.Fatalf("removal %d leaves %d bytes of %d", i, totalBytes(files[i+1:]), a.Bytes)
			}
		}
		if again := p.Cut(mq.Queue{Topic: "t"}, files[len(cut):], now); len(again) != 0 {
			t.Fatalf("second cut takes %v", again)
		}
	})
}

// Version 1 is read for ever, in both forms.
func TestGoldenPolicy(t *testing.T) {
	read := func(name string, parse func([]byte) (Policy, error)) Policy {
		data, err := os.ReadFile("testdata/v1/" + name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := parse(data)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	y, j := read("policy.yaml", ParseYAML), read("policy.json", ParseJSON)
	if !reflect.DeepEqual(y, j) {
		t.Errorf("the forms differ:\n%+v\n%+v", y, j)
	}
	if d := y.Match(mq.Queue{Topic: "acme%log-a", ID: 5}); d.Rule != "logs" || d.Age != Duration(7*day) || d.Bytes != 50<<30 {
		t.Errorf("%+v", d)
	}
	if d := y.Match(mq.Queue{Topic: "ledger"}); d.Rule != "ledger" || d.Age != 0 {
		t.Errorf("%+v", d)
	}
}
