package demo

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"varve/query/worker"
)

func TestMain(m *testing.M) {
	// A query worker is this program again.
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		os.Exit(worker.Main(os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

// TestRun is the main job, end to end: Apache's Go client, hot log, archive,
// cold reads, SQL, replay, retention, each checked by digest.
func TestRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	var out bytes.Buffer
	f, err := Run(t.Context(), Options{DataDir: dir, Keep: true, Messages: 20_000, Out: &out, Version: "test"})
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if f.Messages != 20_000 || f.Cold < 20_000 || f.Hot < hotEnough || f.Lost != 0 || f.Doubled != 0 || f.Replayed == 0 || f.Retained == 0 {
		t.Errorf("figures %+v\n%s", f, out.String())
	}
	for _, s := range []string{"start", "send", "archive", "trim", "consume", "sql", "replay", "retention"} {
		if !strings.Contains(out.String(), "\n"+s+" ") {
			t.Errorf("no line of stage %q in\n%s", s, out.String())
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "archive")); err != nil {
		t.Errorf("the archive isn't kept: %v", err)
	}
	if _, err := Run(t.Context(), Options{DataDir: dir, Messages: 20_000, Out: &out}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a second run over the same data: %v", err)
	}
}

// TestAuditFinds makes sure that the demo would notice.
func TestAuditFinds(t *testing.T) {
	l := newLedger()
	a := newAudit()
	read := func(n int, body []byte) {
		m := newMessage(topic, n)
		if body == nil {
			body = m.Body
		}
		a.note(m.GetProperty("number"), m.GetTags(), m.GetKeys(), m.GetProperty("region"), body)
	}
	for n := range 5 {
		l.acked(n, newMessage(topic, n))
	}
	read(0, nil)
	read(1, []byte("other"))
	read(2, nil)
	read(2, nil)
	read(3, nil)
	read(9, nil) // never sent
	a.note("none", "", "", "", nil)
	want := verdict{expected: 5, lost: 1, doubled: 1, changed: 1, strange: 2}
	if v := a.compare(l.numbers(func(int) bool { return true })); v != want || v.err("a reading") == nil {
		t.Errorf("got %v, want %v", v, want)
	}
}
