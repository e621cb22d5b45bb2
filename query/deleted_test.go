package query

import (
	"testing"

	"varve/internal/mq"
)

// TestTopicDeletedUnderAQuery deletes a topic while a query reads its queues from
// the log: the answer is of the topic that took its name, and of nothing else.
func TestTopicDeletedUnderAQuery(t *testing.T) {
	for _, c := range []struct {
		name     string
		then     []int // messages that the next topic's queues have
		want     string
		reborn   bool
		atSecond bool // deleted when the second queue is read
	}{
		{name: "shorter", then: []int{2}, want: "2"},
		{name: "as long as was read", then: []int{7}, want: "7"},
		{name: "longer", then: []int{30, 1}, want: "31"},
		{name: "again", then: []int{30, 1}, want: "31", reborn: true},
		{name: "empty", then: []int{0}, want: "0"},
		{name: "between two queues", then: []int{3, 1}, want: "4", atSecond: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			queue := func(id int) mq.Queue { return mq.Queue{Broker: "b", Topic: "t", ID: int32(id)} }
			for id := range 2 {
				for range 20 {
					w.send(queue(id), message("old"))
				}
			}
			w.ending, w.reborn = map[string]int64{}, map[string]bool{"t": c.reborn}
			if c.reborn {
				w.ending["t"] = 100
			}
			reads, at := 0, 2
			if c.atSecond {
				at = 4
			}
			w.onRead = func() {
				if reads++; reads != at {
					return
				}
				w.mu.Lock()
				clear(w.logs)
				w.ending["t"], w.reborn["t"] = 200, true
				w.mu.Unlock()
				for id, n := range c.then {
					w.mu.Lock()
					w.logs[queue(id)] = &testLog{}
					w.mu.Unlock()
					for range n {
						w.send(queue(id), message("new"))
					}
				}
			}
			rows, err := w.engine(t, nil).Query(t.Context(), Request{SQL: "select count(*) from t"})
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			if !rows.Next() || string(rows.Row()[0]) != c.want {
				t.Errorf("got %s, %v; want %s", rows.Row(), rows.Err(), c.want)
			}
		})
	}
}
