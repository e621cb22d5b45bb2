package hot

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
)

// TestRemovedIsNotShown hides what the archive's retention removed from every
// way to read it, also after a restart, and never what is not archived.
func TestRemovedIsNotShown(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, "/hot", Options{FS: fs})
	l := newLedger()
	w := newSender(s, l, "t", 7)
	fill(t, w, 40)
	q := testQueue("t", 0)
	held, err := s.Held(q)
	if err != nil || held.From != 0 || held.To < 10 {
		t.Fatalf("%v, %v", held, err)
	}
	below := held.To / 2
	pos, err := s.Position(q, 0)
	if err != nil {
		t.Fatal(err)
	}
	hide := func(mark int64) {
		t.Helper()
		if err := s.SetRemoved(map[mq.Queue]int64{q: mark, testQueue("nobody's", 3): 5}); err != nil {
			t.Fatal(err)
		}
	}
	from := func(want int64) {
		t.Helper()
		if r, err := s.Range(t.Context(), q); err != nil || r.From != want || r.To < held.To {
			t.Fatalf("range %v, %v; want it from %d", r, err, want)
		}
	}
	hide(below)
	from(0) // nothing is archived yet
	archiveAll(t, s)
	from(below)
	hide(below - 1) // it only rises
	from(below)
	for range 2 {
		if _, err := s.Read(t.Context(), q, below-1, mq.Limit{}); !errors.Is(err, mq.ErrTooLow) {
			t.Errorf("read below: %v", err)
		}
		if b, err := s.Read(t.Context(), q, below, mq.Limit{}); err != nil || b.Count == 0 || b.Range.From != below {
			t.Errorf("read: %d records of %v, %v", b.Count, b.Range, err)
		}
		if at, err := s.OffsetAt(t.Context(), q, 0, mq.Lower); err != nil || at != below {
			t.Errorf("the first of all times: %d, %v", at, err)
		}
		if _, err := s.FindPhysical(t.Context(), q.Broker, pos); !errors.Is(err, mq.ErrNotFound) {
			t.Errorf("by position: %v", err)
		}
		if r, err := s.Held(q); err != nil || r != held {
			t.Errorf("the log holds %v, %v", r, err)
		}
		if p, err := s.Position(q, 0); err != nil || p != pos {
			t.Errorf("position of what is hidden: %d, %v", p, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, "/hot", Options{FS: fs})
	}
	if err := s.DeleteTopic("t"); err != nil {
		t.Fatal(err)
	}
	w = newSender(s, newLedger(), "t", 8)
	fill(t, w, 10)
	hide(5) // of the incarnation before
	archiveAll(t, s)
	if r, err := s.Range(t.Context(), q); err == nil && r.From != 0 {
		t.Errorf("the next incarnation begins at %d", r.From)
	}
	closed(t, s)
}
