package timer

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"varve/internal/mq"
)

// TestClockSetBack: a message that was to wait a while waits no longer than that
// while after the clock was set back; one that is due at a time waits for it.
func TestClockSetBack(t *testing.T) {
	for _, saved := range []bool{false, true} {
		t.Run(fmt.Sprintf("saved=%v", saved), func(t *testing.T) {
			alone(t, func(w *world) {
				began := time.Now()
				w.ahead.Store(int64(time.Hour))
				w.end()
				w.open()
				w.hold("level", func(m *mq.Message) { w.timer.Level(m, 2) })
				w.hold("after", func(m *mq.Message) { w.timer.After(m, 3*time.Second) })
				w.hold("at", func(m *mq.Message) { w.timer.At(m, began.Add(2*time.Hour).UnixMilli()) })
				if saved {
					w.end()
					w.open()
				} else {
					time.Sleep(10 * time.Millisecond)
				}
				w.ahead.Store(0)
				w.hold("later", func(m *mq.Message) { w.timer.Level(m, 2) }) // though the log's time is an hour ahead
				delay := w.levels[1] + backSlack + maxSleep
				time.Sleep(max(delay, 3*time.Second+backSlack+maxSleep))
				if got := w.delivered(); fmt.Sprint(got) != "[after later level]" {
					t.Errorf("delivered %v, want all that was to wait a while", got)
				}
				time.Sleep(time.Hour)
				if got := w.delivered(); len(got) != 3 {
					t.Errorf("delivered %v before its time", got)
				}
				time.Sleep(time.Until(began.Add(2*time.Hour + maxSleep)))
				if got := w.delivered(); fmt.Sprint(got) != "[after at later level]" {
					t.Errorf("delivered %v in the end", got)
				}
				w.end()
				w.open()
				if got := w.delivered(); len(got) != 4 {
					t.Errorf("a restart gave %v", got)
				}
			})
		})
	}
}

// hold stores a message as readdress leaves it.
func (w *world) hold(body string, readdress func(m *mq.Message)) {
	w.t.Helper()
	m := mq.Message{Topic: real.Topic, Body: []byte(body)}
	readdress(&m)
	w.append(&m)
	w.timer.Wake()
}

// delivered gives what has come, in the order of its bodies.
func (w *world) delivered() (bodies []string) {
	w.t.Helper()
	q := real
	r, err := w.log.Range(w.t.Context(), q)
	if err != nil {
		return nil
	}
	for at := r.From; at < r.To; {
		b, err := w.log.Read(w.t.Context(), q, at, mq.Limit{})
		if err != nil {
			w.t.Fatal(err)
		}
		for rec := range mq.Records(b.Body) {
			bodies = append(bodies, string(rec.Body()))
		}
		at = b.Next
	}
	slices.Sort(bodies)
	return bodies
}
