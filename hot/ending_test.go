package hot

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
)

// TestEnding: a deletion stays known until the archive has followed it, over
// restarts and trims, and no mark of before it counts for what came after.
func TestEnding(t *testing.T) {
	o := Options{FS: vfs.NewMem(), SegmentBytes: 8 << 10}
	s := mustOpen(t, "/hot", o)
	w := newSender(s, newLedger(), "gone", 1)
	fill(t, w, 40)
	w.deleteTopic(t)
	if s.Reborn("gone") {
		t.Error("reborn without a message")
	}
	first := s.Ending("gone")
	fill(t, w, 40)
	w.deleteTopic(t)
	pos := s.Ending("gone")
	if first <= 0 || pos <= first || s.EndingsVersion() != 2 || len(s.Endings()) != 1 {
		t.Errorf("endings at %d and %d, version %d: %v", first, pos, s.EndingsVersion(), s.Endings())
	}
	if ok, err := s.EndingDone("gone", first); ok || err != nil {
		t.Errorf("the first ending is done after the second: %v, %v", ok, err)
	}
	fill(t, w, 200)
	closed(t, s)
	s = mustOpen(t, "/hot", o)
	if s.Ending("gone") != pos || !s.Reborn("gone") {
		t.Errorf("after a restart: ending %d, want %d; reborn %v", s.Ending("gone"), pos, s.Reborn("gone"))
	}
	archiveAll(t, s)
	trimmed(t, s, TrimPolicy{})
	q := testQueue("gone", 0)
	if s.Ending("gone") != pos || s.Archived(q) != 0 {
		t.Errorf("ending %d, want %d; archived to %d", s.Ending("gone"), pos, s.Archived(q))
	}
	if ok, err := s.EndingDone("gone", pos); !ok || err != nil {
		t.Fatalf("done: %v, %v", ok, err)
	}
	for range 2 {
		if s.Ending("gone") != 0 || s.Reborn("gone") {
			t.Error("the ending is still there")
		}
		if ok, err := s.EndingDone("gone", pos); !ok || err != nil {
			t.Errorf("done again: %v, %v", ok, err)
		}
		closed(t, s)
		s = mustOpen(t, "/hot", o)
	}
	if err := s.SetArchived(map[mq.Queue]int64{q: 1}, 0); err != nil || s.Archived(q) == 0 {
		t.Errorf("archived to %d, %v", s.Archived(q), err)
	}
	closed(t, s)
}
