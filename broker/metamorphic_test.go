package broker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
)

// variant is one way to run the same history.
type variant struct {
	name              string
	restarts, archive bool
}

// TestSameHistoryHoweverItRuns gives one random history of sends, batches,
// delays and retries to brokers that are restarted or have their log archived
// in between, and demands the same messages of all.
// Rerun one seed: go test ./broker -run 'TestSameHistoryHoweverItRuns/seed=3'
func TestSameHistoryHoweverItRuns(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			var want []string
			for _, v := range []variant{{name: "plain"}, {name: "restarts", restarts: true}, {name: "archive", archive: true}, {name: "both", restarts: true, archive: true}} {
				var got []string
				synctest.Test(t, func(t *testing.T) { got = history(t, seed, v) })
				if want == nil {
					want = got
				}
				if len(got) < 40 {
					t.Errorf("%s gives only %d messages", v.name, len(got))
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s gives\n%v\nplain gave\n%v", v.name, got, want)
				}
			}
		})
	}
}

// history runs one history and gives all that can be pulled at its end.
func history(t *testing.T, seed uint64, v variant) []string {
	s := &story{held: map[string]heldPull{}, clients: map[string]*client{}, cold: &archived{queues: map[mq.Queue][]mq.Record{}}}
	s.rig = newRig(t, vfs.NewMem(), s.settings(""))
	defer func() { s.stop() }()
	s.join(s.client("c"), "c", "pay", "orders", "*")
	rng := rand.New(rand.NewPCG(seed, 11))
	var last []Receipt
	for i := range 80 {
		op, disturb := rng.IntN(10), rng.IntN(12)
		m := message("orders", int32(rng.IntN(2)), fmt.Sprint("m", i), mq.PropTags, fmt.Sprint("t", rng.IntN(3)))
		m.Properties = mq.AppendProperty(m.Properties, mq.PropUniqKey, fmt.Sprintf("%032X", i))
		switch delay := fmt.Sprint(1 + rng.IntN(3)); {
		case op < 5:
			last = append(last, s.send(m))
		case op < 6:
			m.Body = batch(message("", 0, fmt.Sprint("b", i), mq.PropUniqKey, fmt.Sprint(i)), message("", 0, fmt.Sprint("c", i), mq.PropUniqKey, fmt.Sprint(i)))
			if _, err := s.trySend(&SendRequest{Message: m, Batch: true}); err != nil {
				t.Fatal(err)
			}
		case op < 8:
			m.Properties = mq.AppendProperty(m.Properties, mq.PropDelay, delay)
			s.send(m)
		case op < 9 && len(last) > 0:
			r := last[rng.IntN(len(last))]
			if err := s.SendBack(context.Background(), &SendBackRequest{Group: "pay", PhysicalOffset: s.physical(r), DelayLevel: 1, MaxReconsumeTimes: -1}); err != nil {
				t.Fatal(err)
			}
		default:
			time.Sleep(20 * time.Second)
		}
		if v.restarts && disturb == 0 {
			s.stop()
			s.rig = newRig(t, s.fs, s.settings(""))
		}
		if v.archive && disturb == 1 {
			if err := s.archive(); err != nil {
				t.Fatal(err)
			}
		}
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	return append(append(s.everything("orders", 0), s.everything("orders", 1)...), s.everything("%RETRY%pay", 0)...)
}

// physical finds a message by its queue offset again.
func (s *story) physical(r Receipt) int64 {
	b, err := s.cold.Read(context.Background(), r.Queue, r.QueueOffset, mq.Limit{Messages: 1})
	if err != nil {
		s.t.Fatal(err)
	}
	return mq.Record(b.Body).PhysicalOffset()
}

// everything pulls a queue from 0 on, with a filter and without, and gives the
// messages sorted: when a delayed one came may differ.
func (s *story) everything(topic string, queue int32) (out []string) {
	for _, expression := range []string{"*", "t1||t2"} {
		for at := int64(0); ; {
			req := inline(topic, queue, at)
			req.Expression, req.MaxMessages = expression, 3
			p := <-s.pullAsync(req)
			if p.err != nil {
				s.t.Fatal(p.err)
			}
			if p.Status == PullNoNew {
				break
			}
			for rec := range mq.Records(p.Batch.Body) {
				m, err := rec.Decode()
				if err != nil {
					s.t.Fatal(err)
				}
				m.Properties = mq.RemoveProperty(m.Properties, mq.PropOriginMessageID) // a place in the log
				out = append(out, fmt.Sprintf("%s %s/%d %s retry %d %q", expression, topic, queue, m.Body, m.ReconsumeTimes, m.Properties))
			}
			at = p.Next
		}
	}
	slices.Sort(out)
	return out
}
