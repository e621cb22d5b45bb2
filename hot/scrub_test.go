package hot

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"varve/internal/mq"
)

// TestScrub: what was trimmed is nowhere in the log's files afterwards, neither
// in spares, nor behind the end of a segment that was one, nor in one that a
// reader still had; what is in the log is as it was, and goes on.
func TestScrub(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{SegmentBytes: 64 << 10})
	secret := []byte("aaasecretperson")
	send := func(n int, body string) {
		for i := range n {
			m := &mq.Message{Topic: "t", Body: fmt.Appendf(nil, "%s %d %s", body, i, bytes.Repeat([]byte("x"), 300))}
			if _, err := s.Append(t.Context(), []*mq.Message{m}); err != nil {
				t.Fatal(err)
			}
		}
	}
	found := func() (names []string) {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if data, err := os.ReadFile(name); err == nil && bytes.Contains(data, secret) {
				names = append(names, filepath.Base(name))
			}
		}
		return names
	}
	send(600, string(secret))
	if err := s.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	send(3, "after")
	reader := s.files.acquire(s.files.first())
	archiveAll(t, s)
	trimmed(t, s, TrimPolicy{})
	send(1, "in a recycled segment") // after a roll: the next segment was a spare
	for range 2 {
		if err := s.Roll(t.Context()); err != nil {
			t.Fatal(err)
		}
		send(2, "short")
	}
	if names := found(); len(names) < 4 {
		t.Fatalf("before, it is in %v only", names)
	}
	if err := s.Scrub(t.Context()); err != nil {
		t.Fatal(err)
	}
	if names := found(); len(names) > 1 {
		t.Errorf("it is still in %v", names) // one has a reader
	}
	if err := s.files.release(reader); err != nil {
		t.Fatal(err)
	}
	if names := found(); len(names) > 0 || s.Stats().Spares > 0 {
		t.Errorf("it is still in %v, %d spares", names, s.Stats().Spares)
	}
	send(40, "later")
	q := mq.Queue{Broker: s.o.Broker, Topic: "t"}
	r, err := s.Range(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	read := func() (n int64) {
		for at := r.From; at < r.To; {
			b, err := s.Read(t.Context(), q, at, mq.Limit{Messages: 100})
			if err != nil {
				t.Fatal(err)
			}
			n, at = n+int64(b.Count), b.Next
		}
		return n
	}
	if n := read(); n != r.Len() || n < 47 {
		t.Errorf("%d of %v are read", n, r)
	}
	closed(t, s)
	s = mustOpen(t, dir, Options{SegmentBytes: 64 << 10})
	defer closed(t, s)
	if n := read(); n != r.Len() {
		t.Errorf("after a start: %d of %v are read", n, r)
	}
	if err := s.Scrub(t.Context()); err != nil {
		t.Error(err)
	}
}
