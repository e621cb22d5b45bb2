package app

import (
	"fmt"
	"testing"
	"time"

	"varve/internal/admin"
	"varve/internal/retention"
	"varve/internal/units"
)

// TestReadersAgreeAfterRetention removes archive files whose messages the hot
// log still has: no way to read gives them any more, also after a restart, and
// the other messages stay.
func TestReadersAgreeAfterRetention(t *testing.T) {
	c := settings(t)
	_, api, stop := run(t, c)
	if _, err := api.CreateTopic(t.Context(), admin.TopicSpec{Name: "t", Queues: 1}); err != nil {
		t.Fatal(err)
	}
	for _, part := range [][2]int{{0, 10}, {10, 20}, {20, 25}} {
		send(t, api, "t", part[0], part[1])
		if part[1] == 25 {
			break // stays hot alone
		}
		if err := api.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := api.SetRule(t.Context(), retention.Rule{Name: "one-file", Topic: "t", Archive: &retention.ArchiveBounds{Bytes: units.Bytes(1)}}); err != nil {
		t.Fatal(err)
	}
	gone, err := api.Apply(t.Context())
	if err != nil || len(gone) != 1 || gone[0].To != 10 {
		t.Fatalf("%+v, %v", gone, err)
	}
	agree := func(when string) {
		t.Helper()
		if n := countRows(t, api, "t"); n != "15" {
			t.Errorf("%s: SQL counts %s", when, n)
		}
		readAll(t, api, "t", 10, 25)
		if _, err := api.ReadMessages(t.Context(), admin.Stretch{Topic: "t", Offset: 9, Max: 1}); err == nil {
			t.Errorf("%s: offset 9 is read", when)
		}
		d, err := api.Topic(t.Context(), "t")
		if err != nil || d.Detail[0].Min != 10 || d.Messages != 15 {
			t.Errorf("%s: %+v, %v", when, d, err)
		}
		for key, want := range map[string]int{"k-3": 0, "k-13": 1, "k-23": 1} {
			if found, err := api.MessagesByKey(t.Context(), admin.KeySearch{Topic: "t", Key: key, Max: 10}); err != nil || len(found) != want {
				t.Errorf("%s: %s finds %d, %v", when, key, len(found), err)
			}
		}
		p, err := api.ReadMessages(t.Context(), admin.Stretch{Topic: "t", Offset: -1, From: time.Unix(1, 0), Max: 1})
		if err != nil || len(p.Messages) != 1 || p.Messages[0].Offset != 10 {
			t.Errorf("%s: the first by time: %+v, %v", when, p, err)
		}
		job, err := api.StartReplay(t.Context(), admin.ReplaySpec{Topic: "t", Target: fmt.Sprintf("again-%d", len(when)), From: time.Unix(1, 0)})
		if err != nil {
			t.Fatal(err)
		}
		for err == nil && job.Active() {
			job, err = api.AwaitReplay(t.Context(), job.ID)
		}
		if err != nil || job.State != "done" || job.Sent != 15 {
			t.Errorf("%s: replayed %+v, %v", when, job, err)
		}
	}
	agree("after the rule")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	_, api, stop = run(t, c)
	agree("after the restart too")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// Who wants no grace gets none: the objects go in the pass after the one that
// took their files out of the table.
func TestNoGrace(t *testing.T) {
	c := settings(t)
	c.Retention.Grace = 0
	n, api, _ := run(t, c)
	mustCreate(t, api, "t", 1)
	for at := range 2 {
		send(t, api, "t", 10*at, 10*at+10)
		if err := api.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := api.SetRule(t.Context(), retention.Rule{Name: "one-file", Topic: "t", Archive: &retention.ArchiveBounds{Bytes: units.Bytes(1)}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := api.Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if st := n.retainer.Swept(); st.Bytes == 0 {
		t.Errorf("removed %+v", st)
	}
}
