package app

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"varve/internal/admin"
	"varve/internal/retention"
)

// TestReplayKeepsItsRange: a rule takes nothing of what a replay still has to
// read, and takes it when the replay has ended.
func TestReplayKeepsItsRange(t *testing.T) {
	c := settings(t)
	n, api, stop := run(t, c)
	if _, err := api.CreateTopic(t.Context(), admin.TopicSpec{Name: "t", Queues: 1}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		send(t, api, "t", i*10, i*10+10)
		if err := api.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	job, err := api.StartReplay(t.Context(), admin.ReplaySpec{Topic: "t", Target: "again", Rate: 1})
	if err != nil {
		t.Fatal(err)
	}
	if job, err = api.ReplayAction(t.Context(), job.ID, "pause"); err != nil {
		t.Fatal(err)
	}
	if err := api.SetRule(t.Context(), retention.Rule{Name: "few", Topic: "t", Archive: &retention.ArchiveBounds{Messages: 1}}); err != nil {
		t.Fatal(err)
	}
	gone, err := api.Apply(t.Context())
	if err != nil || len(gone) != 0 {
		t.Fatalf("%+v went, %v", gone, err)
	}
	leases, err := api.Leases(t.Context())
	if err != nil || len(leases) != 1 || leases[0].Name != "replay-"+job.ID || !strings.Contains(leases[0].Why, "again") {
		t.Fatalf("%+v, %v", leases, err)
	}
	if _, err := api.ReplayAction(t.Context(), job.ID, "cancel"); err != nil {
		t.Fatal(err)
	}
	n.leaseJobs(t.Context())
	if gone, err = api.Apply(t.Context()); err != nil || len(gone) != 1 || gone[0].To != 20 {
		t.Errorf("%+v went, %v", gone, err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// TestHoldForbidsDeletion of a topic, over remoting's way too, and dropping what
// is not archived; also in a process that has not reached the bucket yet.
func TestHoldForbidsDeletion(t *testing.T) {
	c := settings(t)
	c.Hot.DropUnarchived = true
	n, api, stop := run(t, c)
	if _, err := api.CreateTopic(t.Context(), admin.TopicSpec{Name: "t", Queues: 1}); err != nil {
		t.Fatal(err)
	}
	send(t, api, "t", 0, 1)
	if _, err := api.Holds(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !n.trimPolicy().DropUnarchived {
		t.Error("without a hold nothing may be dropped")
	}
	if _, err := api.SetHold(t.Context(), retention.Hold{Name: "h", Topic: "t", Why: "x"}); err != nil {
		t.Fatal(err)
	}
	check := func(n *Node) {
		t.Helper()
		if n.trimPolicy().DropUnarchived {
			t.Error("what is held may be dropped")
		}
		if err := n.broker.DeleteTopic(t.Context(), "t"); err == nil || !strings.Contains(err.Error(), `hold "h"`) {
			t.Errorf("deletion: %v", err)
		}
	}
	check(n)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	n, err := Open(t.Context(), c, Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer n.closeAll()
	check(n) // nothing runs, so nothing was read
}

// writes is a writer.
type writes func(p []byte) (int, error)

func (f writes) Write(p []byte) (int, error) { return f(p) }

// three makes a topic of three files of ten messages, of which a rule keeps one.
func three(t *testing.T, api *admin.Client) {
	t.Helper()
	if _, err := api.CreateTopic(t.Context(), admin.TopicSpec{Name: "t", Queues: 1}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		send(t, api, "t", i*10, i*10+10)
		if err := api.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := api.SetRule(t.Context(), retention.Rule{Name: "few", Topic: "t", Archive: &retention.ArchiveBounds{Messages: 1}}); err != nil {
		t.Fatal(err)
	}
}

// TestStreamKeepsItsRange: a rule takes nothing of what a stream still has to
// read, and takes it when the stream has ended.
func TestStreamKeepsItsRange(t *testing.T) {
	n, api, stop := run(t, settings(t))
	three(t, api)
	looked := 0
	err := replayAPI{n}.StreamReplay(t.Context(), admin.ReplaySpec{Topic: "t", Rate: 100_000}, writes(func(p []byte) (int, error) {
		if looked++; looked == 1 {
			gone, err := api.Apply(t.Context())
			leases, lerr := api.Leases(t.Context())
			if err != nil || lerr != nil || len(gone) != 0 || len(leases) != 1 || leases[0].State != retention.LeaseHolds || leases[0].Why != "replay stream" {
				t.Errorf("%+v went, %v; %+v, %v", gone, err, leases, lerr)
			}
		}
		return len(p), nil
	}))
	if err != nil || looked == 0 {
		t.Fatalf("%d writes, %v", looked, err)
	}
	if gone, err := api.Apply(t.Context()); err != nil || len(gone) != 1 || gone[0].To != 20 {
		t.Errorf("%+v went, %v", gone, err)
	}
	if leases, err := api.Leases(t.Context()); err != nil || len(leases) != 1 || leases[0].State != retention.LeaseReleased {
		t.Errorf("%+v, %v", leases, err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// TestEngineKeepsItsSnapshot by the catalog's header: the table that it is given
// has the tag, and the rule leaves the snapshot's files.
func TestEngineKeepsItsSnapshot(t *testing.T) {
	n, api, stop := run(t, settings(t))
	three(t, api)
	load := func(lease string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+n.Addr("http")+"/iceberg/v1/namespaces/default/tables/t", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Varve-Lease", lease)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body)
	}
	code, body := load("report;ttl=6h")
	leases, err := api.Leases(t.Context())
	if code != 200 || err != nil || len(leases) != 1 || !strings.HasPrefix(leases[0].Name, "report-") || leases[0].Snapshot == 0 {
		t.Fatalf("%d %.200s; %+v, %v", code, body, leases, err)
	}
	if !strings.Contains(body, "varve-lease-"+leases[0].Name) {
		t.Error("the table has no tag of the lease")
	}
	if _, err := api.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	tbl, err := n.archive.Table(t.Context(), "t")
	if err != nil || tbl.Tags()[leases[0].Name] != leases[0].Snapshot {
		t.Errorf("%v, %v", tbl.Tags(), err)
	}
	if code, body := load("Report/7"); code != 400 || !strings.Contains(body, "lower-case") {
		t.Errorf("a bad name: %d %s", code, body)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}
