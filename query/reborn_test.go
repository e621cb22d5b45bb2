package query

import (
	"fmt"
	"testing"

	"varve/internal/mq"
)

// TestRebornTopic: what the archive has of a deleted topic is no part of the
// one that has taken its name.
func TestRebornTopic(t *testing.T) {
	w := newWorld(t)
	e := w.engine(t, nil)
	q := mq.Queue{Broker: "varve-a", Topic: "t", ID: 1}
	for i := range 5 {
		w.send(q, message(fmt.Sprint(i)))
	}
	w.archive(q, 4)
	count := func() (out string) {
		rows, err := e.Query(t.Context(), Request{SQL: "select count(*) from t"})
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			out = string(rows.Row()[0])
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if n := count(); n != "5" {
		t.Fatalf("%s messages, want 5", n)
	}
	w.mu.Lock()
	w.logs = map[mq.Queue]*testLog{}
	w.reborn = map[string]bool{"t": true}
	w.mu.Unlock()
	w.send(q, message("new"), message("newer"))
	if n := count(); n != "2" {
		t.Errorf("%s messages, want 2", n)
	}
}
