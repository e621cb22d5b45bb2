package app

import (
	"testing"

	"varve/internal/admin"
)

// TestTopicDeletedAndSentAgain sends to a queue that the deleted topic had no
// message in, then to the one it had: each is in SQL at once, and read again
// when the log has let it go, also after a restart in between.
func TestTopicDeletedAndSentAgain(t *testing.T) {
	c := settings(t)
	_, api, stop := run(t, c)
	put := func(queue int32, body string) {
		t.Helper()
		if _, err := api.SendMessage(t.Context(), admin.Outgoing{Topic: "t", Queue: &queue, Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	archived := func() {
		t.Helper()
		if err := api.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := api.Trim(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(rows string, bodies map[int32]string) {
		t.Helper()
		if n := countRows(t, api, "t"); n != rows {
			t.Errorf("SQL counts %s, want %s", n, rows)
		}
		for queue, body := range bodies {
			p, err := api.ReadMessages(t.Context(), admin.Stretch{Topic: "t", Queue: queue, Max: 10})
			if err != nil || len(p.Messages) != 1 || p.Messages[0].Body != body {
				t.Errorf("queue %d: %+v, %v; want %s", queue, p.Messages, err, body)
			}
		}
	}
	if _, err := api.CreateTopic(t.Context(), admin.TopicSpec{Name: "t", Queues: 4}); err != nil {
		t.Fatal(err)
	}
	put(1, "old1")
	put(1, "old2")
	archived()
	if err := api.DeleteTopic(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	if _, err := api.CreateTopic(t.Context(), admin.TopicSpec{Name: "t", Queues: 4}); err != nil {
		t.Fatal(err)
	}
	put(3, "newA")
	holds("1", map[int32]string{3: "newA"})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	_, api, stop = run(t, c)
	holds("1", map[int32]string{3: "newA"})
	archived()
	holds("1", map[int32]string{3: "newA"})
	put(1, "newB")
	holds("2", map[int32]string{1: "newB", 3: "newA"})
	archived()
	holds("2", map[int32]string{1: "newB", 3: "newA"})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}
