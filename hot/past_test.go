package hot

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
)

// byPosition is every record of the log, by position.
func byPosition(t *testing.T, s *Store) map[int64]mq.Record {
	t.Helper()
	out := map[int64]mq.Record{}
	for _, q := range s.Queues() {
		r, err := s.Range(t.Context(), q)
		for at := r.From; err == nil && at < r.To; {
			var b mq.Batch
			b, err = s.Read(t.Context(), q, at, mq.Limit{})
			for rec := range mq.Records(b.Body) {
				out[rec.PhysicalOffset()] = rec
			}
			at = b.Next
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// followed reads the log from a position to its end, past damage. It gives what
// is lost.
func followed(s *Store, from int64, maxBytes int, want map[int64]mq.Record) (map[int64]Lost, error) {
	tail := s.Tail(from)
	defer tail.Close()
	given, lost, last := 0, map[int64]Lost{}, int64(-1)
	below := 0
	for pos := range want {
		if pos < from {
			below++
		}
	}
	for end := s.Confirmed(); tail.at < end; {
		was := tail.at
		records, next, err := tail.Next(context.Background(), maxBytes)
		var more []Lost
		if Damaged(err) {
			records, more, next, err = tail.Past(maxBytes)
		}
		if err != nil {
			return nil, err
		}
		if next <= was {
			return nil, fmt.Errorf("no progress at %d", was)
		}
		for r := range mq.Records(records) {
			if pos := r.PhysicalOffset(); pos <= last || !bytes.Equal(r, want[pos]) {
				return nil, fmt.Errorf("at %d, after %d, another record than was written", pos, last)
			}
			last = r.PhysicalOffset()
			given++
		}
		for _, l := range more {
			r := want[l.Position]
			if !Damaged(l.Err) || r == nil || r.QueueOffset() != l.Offset || string(r.Topic()) != l.Queue.Topic || r.QueueID() != l.Queue.ID {
				return nil, fmt.Errorf("lost %+v, which is another record", l)
			}
			lost[l.Position] = l
		}
	}
	if given+len(lost)+below != len(want) {
		return nil, fmt.Errorf("%d records given, %d lost, of %d", given, len(lost), len(want)-below)
	}
	return lost, nil
}

// damagedLog is a log of several segments with deleted topics in it, partly in
// memory only.
func damagedLog(t *testing.T, mem vfs.FS) (*Store, map[int64]mq.Record) {
	t.Helper()
	s := mustOpen(t, "/hot", Options{FS: mem, Flush: FlushSync, SegmentBytes: 24 << 10})
	l := newLedger()
	stay, temp := newSender(s, l, "stay", 1), newSender(s, l, "temp", 2)
	for n := range 120 {
		fill(t, stay, 1)
		fill(t, temp, 2)
		if n%50 == 49 {
			temp.deleteTopic(t)
		}
		if n == 80 {
			if err := s.checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := byPosition(t, s)
	if s.Stats().Segments < 4 || len(want) < 200 {
		t.Fatalf("%d segments, %d records", s.Stats().Segments, len(want))
	}
	return s, want
}

// Whatever bytes of the log are damaged, a follower gets every record that was
// not, in order and once, and hears of the others by queue and offset.
func TestPastDamage(t *testing.T) {
	mem := vfs.NewMem()
	s, want := damagedLog(t, mem)
	defer closed(t, s)
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range 150 {
		g := s.files.segs[rng.IntN(len(s.files.segs))]
		end := min(g.end.Load(), s.Confirmed()) - g.base
		at := 64 + rng.Int64N(end-64)
		n := 1 + rng.Int64N(min(end-at, 1+int64(rng.IntN(3000))))
		put, was := overwrite(t, mem, g.path, at, n)
		s.blocks.sweep()
		s.blocks.sweep()
		for _, maxBytes := range []int{200, 1 << 20} {
			from := int64(0)
			if round%3 == 0 {
				for pos := range want { // resumes anywhere
					from = pos
					break
				}
			}
			lost, err := followed(s, from, maxBytes, want)
			if err != nil {
				t.Fatalf("%d bytes at %d of %s, from %d: %v", n, at, g.path, from, err)
			}
			for pos, r := range want {
				touched := pos >= g.base && pos < g.base+at+n && pos+int64(len(r)) > g.base+at && pos >= from
				if _, is := lost[pos]; is != touched {
					t.Fatalf("%d bytes at %d of %s: record at %d, lost %v, touched %v", n, at, g.path, pos, is, touched)
				}
			}
		}
		put(was)
	}
	if lost, err := followed(s, 0, 1<<20, want); err != nil || len(lost) != 0 {
		t.Fatalf("all is as it was: %d lost, %v", len(lost), err)
	}
}

// overwrite changes n bytes of a file and gives how they can be put back.
func overwrite(t *testing.T, fs vfs.FS, path string, at, n int64) (put func([]byte), was []byte) {
	t.Helper()
	put = func(b []byte) {
		f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
		if err == nil {
			_, err = f.WriteAt(b, at)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	was = make([]byte, n)
	if _, err := f.ReadAt(was, at); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	bad := bytes.Clone(was)
	for i := range bad {
		bad[i] ^= 0x55
	}
	put(bad)
	return put, was
}

// Next gives what stands before damage, as it does before a file's end, and the
// error only then.
func TestTailGivesWhatStandsBeforeDamage(t *testing.T) {
	mem := vfs.NewMem()
	s := mustOpen(t, "/hot", Options{FS: mem, Flush: FlushSync})
	defer closed(t, s)
	var placed []Placed
	for i := range 5 {
		placed = append(placed, appendOne(t, s, i))
	}
	flip(t, mem, s.files.segs[0].path, placed[3].PhysicalOffset+100)
	tail := s.Tail(0)
	defer tail.Close()
	records, next, err := tail.Next(t.Context(), 1<<20)
	n := 0
	for range mq.Records(records) {
		n++
	}
	if n != 3 || err != nil || next <= placed[2].PhysicalOffset || next > placed[3].PhysicalOffset {
		t.Fatalf("%d records up to %d, %v", n, next, err)
	}
	for range 2 {
		if _, _, err := tail.Next(t.Context(), 1<<20); !Damaged(err) {
			t.Fatalf("at the damage: %v", err)
		}
	}
}

// A queue whose index can't be read is lost alone.
func TestPastDamageOfAnIndex(t *testing.T) {
	mem := vfs.NewMem()
	s := mustOpen(t, "/hot", Options{FS: mem, Flush: FlushSync})
	l := newLedger()
	fill(t, newSender(s, l, "good", 1), 40)
	fill(t, newSender(s, l, "bad", 2), 40)
	fill(t, newSender(s, l, "good2", 3), 40)
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	want := byPosition(t, s)
	q := testQueue("bad", 1)
	u := s.db.Update()
	u.DropBlocks(s.find(q).uid, 0, 1)
	if err := u.Commit(); err != nil {
		t.Fatal(err)
	}
	tail := s.Tail(0)
	defer tail.Close()
	if _, err := s.Position(q, 0); !Damaged(err) {
		t.Errorf("position of a queue without index: %v", err)
	}
	for at := int64(0); at < s.Confirmed(); {
		records, lost, next, err := tail.Past(1 << 20)
		if err != nil || len(lost) != 1 || lost[0].Queue != q || lost[0].Position != at || next <= at {
			t.Fatalf("lost %+v up to %d, %v", lost, next, err)
		}
		for r := range mq.Records(records) {
			delete(want, r.PhysicalOffset())
		}
		at = next
	}
	for pos, r := range want {
		if string(r.Topic()) != "bad" || r.QueueID() != 1 {
			t.Errorf("record at %d of %s/%d is not given", pos, r.Topic(), r.QueueID())
		}
	}
	closed(t, s)
}
