package app

import (
	"path/filepath"
	"testing"

	"varve/internal/admin"
	"varve/internal/config"
)

// TestClosedQueuesOfTheArchive makes a topic with fewer queues than the archive
// has of it, in a data directory that knows nothing of them.
func TestClosedQueuesOfTheArchive(t *testing.T) {
	c := settings(t)
	_, api, stop := run(t, c)
	if _, err := api.CreateTopic(t.Context(), admin.TopicSpec{Name: "orders", Queues: 3}); err != nil {
		t.Fatal(err)
	}
	for queue := range int32(3) {
		if _, err := api.SendMessage(t.Context(), admin.Outgoing{Topic: "orders", Queue: &queue, Body: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := api.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	again := settings(t)
	again.Archive.Dir = filepath.Join(c.DataDir, "archive")
	again.Roles = []string{config.RoleRoute, config.RoleBroker, config.RoleHistory}
	_, api, _ = run(t, again)
	made, err := api.CreateTopic(t.Context(), admin.TopicSpec{Name: "orders", Queues: 1})
	if err != nil || len(made.Closed) != 2 || made.Messages != 3 {
		t.Errorf("made %+v, %v", made, err)
	}
	all, err := api.Topics(t.Context())
	for _, x := range all {
		if x.Name == "orders" && (len(x.Closed) != 2 || x.Messages != 3) {
			t.Errorf("listed %+v, %v", x, err)
		}
	}
	d, err := api.Topic(t.Context(), "orders")
	if err != nil || len(d.Detail) != 3 || d.Detail[2].State != admin.QueueClosed || d.Detail[2].Max != 1 || d.Detail[2].LastTime.IsZero() {
		t.Errorf("shown %+v, %v", d, err)
	}
}
