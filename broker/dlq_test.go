package broker

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
)

// TestDeadLettersAreGivenBackOnce sends messages to a group's dead letters and
// gives them back: to that group only, each once, over a restart too.
func TestDeadLettersAreGivenBackOnce(t *testing.T) {
	fs := vfs.NewMem()
	r := newRig(t, fs, nil)
	if err := r.PutTopic(Topic{Name: "orders", ReadQueues: 1, WriteQueues: 1, Perm: 6}); err != nil {
		t.Fatal(err)
	}
	if err := r.PutGroup(DefaultGroup("G")); err != nil {
		t.Fatal(err)
	}
	die := func(body string) {
		t.Helper()
		got := r.send(message("orders", 0, body))
		if err := r.SendBack(t.Context(), &SendBackRequest{Group: "G", PhysicalOffset: got.PhysicalOffset, DelayLevel: -1, MaxReconsumeTimes: -1}); err != nil {
			t.Fatal(err)
		}
	}
	retried := func() []string {
		t.Helper()
		batch, err := r.log.Read(t.Context(), r.queue(mq.RetryTopic("G"), 0), 0, mq.Limit{Messages: 100})
		if err != nil && !errors.Is(err, mq.ErrNoQueue) {
			t.Fatal(err)
		}
		var out []string
		for rec := range mq.Records(batch.Body) {
			if m, err := rec.Decode(); err != nil || m.ReconsumeTimes != 0 || m.Property(mq.PropRetryTopic) != "orders" {
				t.Errorf("given back: %+v, %v", m, err)
			}
			out = append(out, string(rec.Body()))
		}
		return out
	}
	check := func(what string, want ...string) {
		t.Helper()
		if got := retried(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: the group got %v, want %v", what, got, want)
		}
	}
	die("a")
	die("b")
	dead, err := r.DeadLetters(t.Context())
	if err != nil || len(dead) != 1 || dead[0].Group != "G" || dead[0].Messages != 2 || dead[0].Waiting != 2 {
		t.Fatalf("dead letters %+v, %v", dead, err)
	}
	if n, more, err := r.ResendDeadLetters(t.Context(), "G", 1); n != 1 || !more || err != nil {
		t.Fatalf("the first: %d, more %v, %v", n, more, err)
	}
	check("one", "a")
	r.stop()
	r = newRig(t, fs, nil)
	defer func() { r.stop() }()
	if n, more, err := r.ResendDeadLetters(t.Context(), "G", 10); n != 1 || more || err != nil {
		t.Fatalf("the rest: %d, more %v, %v", n, more, err)
	}
	check("both", "a", "b")
	if n, _, err := r.ResendDeadLetters(t.Context(), "G", 10); n != 0 || err != nil {
		t.Errorf("once more: %d, %v", n, err)
	}
	batch, err := r.log.Read(t.Context(), r.queue(mq.DLQTopic("G"), 0), 0, mq.Limit{Messages: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.ResendDeadLetter(t.Context(), "G", mq.Record(batch.Body).PhysicalOffset()); err != nil {
		t.Errorf("one by its place: %v", err)
	}
	check("chosen", "a", "b", "a")
	if err := r.ResendDeadLetter(t.Context(), "G", r.send(message("orders", 0, "alive")).PhysicalOffset); !errors.Is(err, ErrNoMessage) {
		t.Errorf("a message that is no dead letter: %v", err)
	}
	if _, _, err := r.ResendDeadLetters(t.Context(), "nobody", 1); !errors.Is(err, ErrNoGroup) {
		t.Errorf("an unknown group: %v", err)
	}
}
