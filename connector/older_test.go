package connector

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
)

// copyBucket is a backup.
func copyBucket(t *testing.T, from objstore.Bucket) objstore.Bucket {
	t.Helper()
	to := mem.New()
	for o, err := range from.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, o.Size)
		if err := from.ReadAt(t.Context(), o.Name, p, 0); err != nil && o.Size > 0 {
			t.Fatal(err)
		}
		if err := to.Put(t.Context(), o.Name, bytes.NewReader(p), o.Size, objstore.Always); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func trimAll(t *testing.T, log *hot.Store) int64 {
	t.Helper()
	if err := log.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	freed, err := log.Trim(t.Context(), hot.TrimPolicy{KeepBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	return freed
}

// TestOlderArchiveBlocks brings back an archive from before the log was
// trimmed, or none: nothing is archived into it, nothing is trimmed, and all is
// well when the right one is back.
func TestOlderArchiveBlocks(t *testing.T) {
	for name, tc := range map[string]struct{ empty, all bool }{
		"empty": {empty: true}, "empty, nothing hot": {empty: true, all: true}, "older": {}, "older, nothing hot": {all: true},
	} {
		t.Run(name, func(t *testing.T) {
			log, o := openLog(t, vfs.NewMem()), newOracle(20)
			defer log.Close()
			var right objstore.Bucket = mem.New()
			var wrong objstore.Bucket = mem.New()
			c := start(t, log, right, nil)
			o.send(t, log, 200, 1, 2)
			c.mustFlush(t)
			if !tc.empty {
				wrong = copyBucket(t, right)
			}
			o.send(t, log, 3000, 1, 2)
			c.mustFlush(t)
			if trimAll(t, log) == 0 {
				t.Fatal("nothing was trimmed")
			}
			if !tc.all {
				o.send(t, log, 300, 1, 2)
				c.mustFlush(t)
			}
			c.stop()

			c = start(t, log, wrong, nil)
			st := c.until(t, "the queues are blocked", func(s Status) bool { return s.State == Running && len(s.Blocked) == 2 })
			if !strings.Contains(st.Blocked[0].Reason, "the archive ends at offset") || !strings.Contains(st.Error, ErrOlder.Error()) {
				t.Errorf("status %+v", st)
			}
			o.send(t, log, 3000, 1, 2)
			c.mustFlush(t)
			first := log.Stats().FirstPhysical
			trimAll(t, log)
			if now := log.Stats().FirstPhysical; !tc.all && now != first {
				t.Errorf("trimmed from %d to %d with the wrong archive", first, now)
			}
			if st := c.Status(); st.Rows != 0 {
				t.Errorf("%d messages went into the wrong archive", st.Rows)
			}
			c.stop()

			c = start(t, log, right, nil)
			c.mustFlush(t)
			if st := c.Status(); len(st.Blocked) != 0 {
				t.Errorf("status %+v", st)
			}
			o.check(t, right, true)
		})
	}
}

// TestOlderArchiveIsFilledFromTheLog brings back an older archive while the log
// still has what it lacks; until that is archived again the log keeps it.
func TestOlderArchiveIsFilledFromTheLog(t *testing.T) {
	log, o := openLog(t, vfs.NewMem()), newOracle(21)
	defer log.Close()
	right := mem.New()
	c := start(t, log, right, nil)
	o.send(t, log, 500, 2, 2)
	c.mustFlush(t)
	older := copyBucket(t, right)
	o.send(t, log, 3000, 2, 2)
	c.mustFlush(t)
	c.stop()
	if _, err := New(c.cfg, log, openArchive(t, older)); err != nil {
		t.Fatal(err)
	}
	if freed := trimAll(t, log); freed > 0 {
		t.Errorf("trimmed %d bytes before the archive was looked at", freed)
	}
	c = start(t, log, older, nil)
	c.mustFlush(t)
	o.check(t, older, true)
	if st := c.Status(); len(st.Blocked) > 0 {
		t.Errorf("status %+v", st)
	}
	if trimAll(t, log) == 0 {
		t.Error("nothing is trimmed after it was archived again")
	}
	if q := (mq.Queue{Broker: broker, Topic: "topic-0"}); log.Archived(q) != int64(len(o.sent[q])) {
		t.Errorf("archived to %d of %d", log.Archived(q), len(o.sent[q]))
	}
}

// TestAbandonedArchive gives a lost archive up: another one, empty or an old
// backup, takes over what the log still holds, and says what it never had.
func TestAbandonedArchive(t *testing.T) {
	for name, backup := range map[string]bool{"empty": false, "backup": true} {
		t.Run(name, func(t *testing.T) {
			log, o := openLog(t, vfs.NewMem()), newOracle(22)
			defer log.Close()
			var lost, other objstore.Bucket = mem.New(), mem.New()
			c := start(t, log, lost, nil)
			o.send(t, log, 200, 1, 1)
			c.mustFlush(t)
			q := mq.Queue{Broker: broker, Topic: "topic-0"}
			had := int64(0)
			if backup {
				other, had = copyBucket(t, lost), log.Archived(q)
			}
			o.send(t, log, 3000, 1, 1)
			c.mustFlush(t)
			trimAll(t, log)
			o.send(t, log, 300, 1, 1)
			c.mustFlush(t)
			c.stop()
			kept, err := log.Range(t.Context(), q)
			if err != nil || kept.From <= had {
				t.Fatalf("the log has %v, %v", kept, err)
			}
			if err := log.AbandonArchive(); err != nil {
				t.Fatal(err)
			}
			if trimAll(t, log) > 0 {
				t.Error("trimmed before it was archived anew")
			}
			c = start(t, log, other, nil)
			c.mustFlush(t)
			if st := c.Status(); len(st.Blocked) > 0 || log.Archived(q) != kept.To {
				t.Errorf("archived to %d of %d; status %+v", log.Archived(q), kept.To, st)
			}
			table, err := openArchive(t, other).Table(t.Context(), q.Topic)
			if err != nil {
				t.Fatal(err)
			}
			if g := table.Snapshot().Gaps[q]; len(g) != 1 || g[0] != (mq.Range{From: had, To: kept.From}) {
				t.Errorf("gaps %v, want %d to %d", g, had, kept.From)
			}
			o.sent[q] = append(o.sent[q][:had:had], o.sent[q][kept.From:]...)
			o.check(t, other, true)
		})
	}
}
