package hot

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
)

func TestFollowGoesOnFromAnyPlace(t *testing.T) {
	q := testQueue("followed", 0)
	s, err := Open("log", Options{FS: vfs.NewMem(), Broker: "b", MinFreeBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if step, err := s.Follow(t.Context(), q, 7, 1); err != nil || step.Lost || step.More || step.Batch.Next != 7 {
		t.Errorf("nobody wrote there: %+v, %v", step, err)
	}
	for range 3 {
		if _, err := s.Append(t.Context(), []*mq.Message{{Topic: q.Topic, Body: []byte("x")}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		place, begins, next int64
		records             int
		lost, more          bool
	}{
		{0, 0, 1, 1, false, true},
		{2, 2, 3, 1, false, false},
		{3, 3, 3, 0, false, false},
		{-5, 0, 1, 1, true, true},
		{9, 3, 3, 0, true, false},
	} {
		step, err := s.Follow(t.Context(), q, c.place, 1)
		if err != nil {
			t.Fatal(err)
		}
		if step.Place != c.begins || step.Batch.Next != c.next || step.Batch.Count != c.records || step.Lost != c.lost || step.More != c.more || step.To != 3 {
			t.Errorf("from %d: %+v", c.place, step)
		}
	}
}
