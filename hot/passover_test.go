package hot

import (
	"bytes"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot/segment"
	"varve/internal/mq"
)

// killedLog is a log whose process was killed when its queue index was durable up
// to a position and the keys of its active segment were not filed.
func killedLog(t *testing.T) (open func() *vfs.MemFS, want map[int64]mq.Record, path string, synced int64) {
	t.Helper()
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, "/hot", Options{FS: mem, Flush: FlushSync})
	t.Cleanup(func() { closed(t, s) })
	l := newLedger()
	a, b := newSender(s, l, "a", 1), newSender(s, l, "b", 2)
	for range 30 {
		fill(t, a, 1)
		fill(t, b, 1)
	}
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	synced = s.Confirmed()
	if err := s.flushIndexByAge(time.Now()); err != nil || s.indexFlushed == synced {
		t.Fatalf("flushed at once, %v", err)
	}
	if err := s.flushIndexByAge(time.Now().Add(flushIndexEvery)); err != nil || s.indexFlushed != synced {
		t.Fatalf("not flushed when it was time, %v", err)
	}
	fill(t, a, 5)
	want = byPosition(t, s)
	return func() *vfs.MemFS {
		return mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2))})
	}, want, s.files.segs[0].path, synced
}

// Damage below what the index had durably doesn't keep a log from opening after
// a kill: who reads a damaged record is told, all others are there, by offset and
// by key, and offsets go on.
func TestDamageBelowTheCheckpointIsPassedOver(t *testing.T) {
	killed, want, path, synced := killedLog(t)
	for at := int64(segment.HeaderLen); at < synced-3000; at += 173 {
		fs := killed()
		overwrite(t, fs, path, at, 1+at%700)
		var text bytes.Buffer
		s, err := Open("/hot", Options{FS: fs, Broker: "b", MinFreeBytes: -1, Logger: slog.New(slog.NewTextHandler(&text, nil))})
		if err != nil {
			t.Fatalf("damage at %d: %v", at, err)
		}
		if !strings.Contains(text.String(), "damaged below the last checkpoint") || !strings.Contains(text.String(), path) {
			t.Errorf("damage at %d: logged %q", at, text.String())
		}
		for pos, r := range want {
			q := testQueue(string(r.Topic()), r.QueueID())
			b, err := s.Read(t.Context(), q, r.QueueOffset(), mq.Limit{Messages: 1})
			touched := pos < at+1+at%700 && pos+int64(len(r)) > at
			if touched != errors.Is(err, ErrCorrupt) || !touched && !bytes.Equal(b.Body, r) {
				t.Fatalf("damage at %d: record at %d, %v", at, pos, err)
			}
			key, _ := mq.Property(r.Properties(), mq.PropUniqKey)
			if k, err := s.FindKey(t.Context(), mq.KeyQuery{Topic: q.Topic, Key: string(key)}); !touched && (err != nil || k.Count != 1) {
				t.Fatalf("damage at %d: %d found by the key of the record at %d, %v", at, k.Count, pos, err)
			}
		}
		ends := map[mq.Queue]int64{}
		for _, r := range want {
			q := testQueue(string(r.Topic()), r.QueueID())
			ends[q] = max(ends[q], r.QueueOffset()+1)
		}
		for q, end := range ends {
			p, err := s.Append(t.Context(), []*mq.Message{{Topic: q.Topic, QueueID: q.ID, Body: []byte("x")}})
			if err != nil || p[0].QueueOffset != end {
				t.Fatalf("damage at %d: %v goes on at %+v, %v, want %d", at, q, p, err, end)
			}
		}
		closed(t, s)
	}
}

// Above it damage is refused: nobody knows what was there.
func TestDamageAboveTheCheckpointIsRefused(t *testing.T) {
	killed, _, path, synced := killedLog(t)
	fs := killed()
	overwrite(t, fs, path, synced+100, 1)
	if s, err := Open("/hot", Options{FS: fs, Broker: "b", MinFreeBytes: -1}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("opened: %v", err)
		if err == nil {
			closed(t, s)
		}
	}
}
