package hot

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
)

func TestPlantedLogGoesOnBehindTheArchive(t *testing.T) {
	const position, last = int64(7) << 40, int64(1_900_000_000_000)
	fs := vfs.NewMem()
	o := Options{FS: fs, Broker: "b", MinFreeBytes: -1, Now: func() time.Time { return time.UnixMilli(last - 1000) }}
	seed := Seed{Position: position, LastStoreMillis: last, Queues: []SeedQueue{{"orders", 0, 1000, 1000}, {"orders", 3, 512, 100}, {"empty", 0, 0, 0}}, Endings: []string{"gone"}}
	if err := Plant("log", o, seed); err != nil {
		t.Fatal(err)
	}
	if err := Plant("log", o, seed); err == nil {
		t.Error("planted over a log")
	}
	q := mq.Queue{Broker: "b", Topic: "orders"}
	for turn := range int64(3) {
		s, err := Open("log", o)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := s.Range(t.Context(), q); err != nil || r != (mq.Range{From: 1000, To: 1000 + turn}) {
			t.Fatalf("turn %d: %v, %v", turn, r, err)
		}
		if at := s.Archived(q); at != 1000 {
			t.Errorf("archived to %d", at)
		}
		if got := s.Stats().ArchivedPhysical; got != position {
			t.Errorf("archived position %d", got)
		}
		if archived, dropped := s.Marks(mq.Queue{Broker: "b", Topic: "orders", ID: 3}); archived != 100 || dropped != 512 {
			t.Errorf("a queue that begins above what is archived: %d, %d", archived, dropped)
		}
		if s.Ending("gone") != position {
			t.Errorf("endings %v", s.Endings())
		}
		placed, err := s.Append(t.Context(), []*mq.Message{{Topic: "orders", Body: []byte("x")}})
		if err != nil {
			t.Fatal(err)
		}
		if p := placed[0]; p.QueueOffset != 1000+turn || p.PhysicalOffset <= position || p.StoreTimeMillis < last {
			t.Errorf("turn %d: placed %+v", turn, p)
		}
		placed, err = s.Append(t.Context(), []*mq.Message{{Topic: "orders", QueueID: 3, Body: []byte("x")}})
		if err != nil || placed[0].QueueOffset != 512+turn {
			t.Errorf("a queue at the start of an index block: %+v, %v", placed, err)
		}
		if err := s.SetArchived(map[mq.Queue]int64{q: 1000}, position); err != nil {
			t.Error(err)
		}
		b, err := s.Read(t.Context(), q, 1000+turn, mq.Limit{Messages: 1, Bytes: 1 << 20})
		if err != nil || b.Count != 1 {
			t.Errorf("turn %d: read %+v, %v", turn, b, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPlantRefusesABadSeed(t *testing.T) {
	for name, seed := range map[string]Seed{
		"negative position":   {Position: -1},
		"position too high":   {Position: 1 << 48},
		"queue without topic": {Queues: []SeedQueue{{ID: 1}}},
		"queue twice":         {Queues: []SeedQueue{{"t", 1, 1, 1}, {"t", 1, 2, 2}}},
		"archived above":      {Queues: []SeedQueue{{"t", 1, 1, 2}}},
		"queue of the ended":  {Queues: []SeedQueue{{"t", 1, 1, 1}}, Endings: []string{"t"}},
	} {
		if err := Plant("log", Options{FS: vfs.NewMem(), Broker: "b"}, seed); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
