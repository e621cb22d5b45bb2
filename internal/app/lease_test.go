package app

import (
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
