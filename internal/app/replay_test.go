package app

import (
	"strings"
	"testing"

	"varve/internal/admin"
)

// TestReplayIntoADeletedTopic deletes the destination of a paused replay: it
// fails, and doesn't make the topic again.
func TestReplayIntoADeletedTopic(t *testing.T) {
	n, api, stop := run(t, settings(t))
	defer stop()
	send(t, api, "src", 0, 50)
	job, err := api.StartReplay(t.Context(), admin.ReplaySpec{Topic: "src", Target: "dest", Rate: 5})
	if err != nil {
		t.Fatal(err)
	}
	for job.Sent == 0 {
		if job, err = api.ReplayJob(t.Context(), job.ID); err != nil {
			t.Fatal(err)
		}
	}
	if job, err = api.ReplayAction(t.Context(), job.ID, "pause"); err != nil {
		t.Fatal(err)
	}
	if err := api.DeleteTopic(t.Context(), "dest"); err != nil {
		t.Fatal(err)
	}
	if _, err = api.ReplayAction(t.Context(), job.ID, "resume"); err != nil {
		t.Fatal(err)
	}
	if job, err = api.AwaitReplay(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	if job.State != "failed" || !strings.Contains(job.Error, "destination topic of the replay is gone") {
		t.Errorf("the job is %s: %s", job.State, job.Error)
	}
	for _, q := range n.store.Queues() {
		if q.Topic == "dest" {
			t.Errorf("the log has %s again", q)
		}
	}
}
