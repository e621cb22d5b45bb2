package connector

import (
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
)

// rot changes a byte of the log's first segment, or changes it back.
func rot(t *testing.T, fs vfs.FS, at int64) {
	t.Helper()
	names, err := fs.List("log")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".log") {
			continue
		}
		f, err := fs.OpenReadWrite("log/"+name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		if _, err := f.ReadAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 1
		if _, err := f.WriteAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no segment among %v", names)
}

// place is where an offset's record begins.
func place(t *testing.T, log *hot.Store, q mq.Queue, at int64) int64 {
	t.Helper()
	pos, err := log.Position(q, at)
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

// reopened closes a log and opens it again: what its readers had in memory is
// gone.
func reopened(t *testing.T, fs vfs.FS, log *hot.Store) *hot.Store {
	t.Helper()
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return openLog(t, fs)
}

// onlyBlocked wants one queue blocked because of damage, archived up to an
// offset, and all others archived.
func onlyBlocked(t *testing.T, c *running, o *oracle, b objstore.Bucket, q mq.Queue, at int64) {
	t.Helper()
	st := c.until(t, "the damage is told", func(s Status) bool { return len(s.Blocked) > 0 })
	if len(st.Blocked) != 1 || st.Blocked[0].Queue != q || !strings.Contains(st.Blocked[0].Reason, ".log at position") {
		t.Fatalf("blocked %+v, want %v", st.Blocked, q)
	}
	c.mustFlush(t)
	whole := o.sent[q]
	o.sent[q] = whole[:at]
	o.check(t, b, true)
	o.sent[q] = whole
	if st := c.Status(); st.LagMessages != int64(len(whole))-at {
		t.Errorf("lag of %d messages, the queue has %d from the lost one on", st.LagMessages, int64(len(whole))-at)
	}
}

// A record that the log lost and the archive lacks blocks its queue there. The
// others are archived, those of the same batch too; the log is not trimmed past
// it; and when the disk gives it again, its queue goes on. The batches of a send
// are damaged in a header, a body, a length field and a trailer.
func TestRotBlocksItsQueueOnly(t *testing.T) {
	q := mq.Queue{Broker: broker, Topic: "topic-1", ID: 0}
	for name, where := range map[string]int64{"length": 0, "magic": 4, "queue id": 15, "host": 60, "body": 100} {
		t.Run(name, func(t *testing.T) {
			fs, bucket, o := vfs.NewMem(), mem.New(), newOracle(5)
			log := openLog(t, fs)
			o.send(t, log, 300, 3, 2)
			c := start(t, log, bucket, nil)
			c.mustFlush(t)
			c.stop()
			at := int64(len(o.sent[q])) + 20
			o.send(t, log, 400, 3, 2)
			log = reopened(t, fs, log)
			defer func() { log.Close() }()
			pos := place(t, log, q, at)
			rot(t, fs, pos+where)

			c = start(t, log, bucket, nil)
			onlyBlocked(t, c, o, bucket, q, at)
			o.send(t, log, 200, 3, 2)
			onlyBlocked(t, c, o, bucket, q, at)
			if got := log.Stats().ArchivedPhysical; got > pos {
				t.Errorf("archived up to %d, past the lost record at %d", got, pos)
			}
			c.stop()
			c = start(t, log, bucket, nil) // resumes in the middle of the bad batch
			onlyBlocked(t, c, o, bucket, q, at)

			rot(t, fs, pos+where)
			c.until(t, "the queue goes on", func(s Status) bool { return len(s.Blocked) == 0 && s.State == Running })
			c.mustFlush(t)
			o.check(t, bucket, true)
		})
	}
}

// What only the trailer of a batch lost is archived: the queue index knows its
// records.
func TestRotOfATrailer(t *testing.T) {
	fs, bucket, o := vfs.NewMem(), mem.New(), newOracle(5)
	log := openLog(t, fs)
	o.send(t, log, 300, 3, 2)
	trailer := log.Confirmed() - 20
	o.send(t, log, 300, 3, 2)
	log = reopened(t, fs, log)
	defer func() { log.Close() }()
	rot(t, fs, trailer)
	c := start(t, log, bucket, nil)
	c.mustFlush(t)
	o.check(t, bucket, true)
	if st := c.Status(); st.LagMessages != 0 || len(st.Blocked) != 0 {
		t.Errorf("status %+v", st)
	}
}

// A record that was read well once is lost when its segment, which gave up what
// it had staged, is read again.
func TestRotUnderASegment(t *testing.T) {
	for name, first := range map[string]int64{"the first": 0, "a later one": 30} {
		t.Run(name, func(t *testing.T) {
			fs, bucket, o := vfs.NewMem(), mem.New(), newOracle(6)
			log := openLog(t, fs)
			o.send(t, log, 600, 3, 2)
			log = reopened(t, fs, log)
			defer func() { log.Close() }()
			q := mq.Queue{Broker: broker, Topic: "topic-1", ID: 0}
			c := start(t, log, bucket, func(c *Config) {
				c.MemoryBytes, c.FileBytes, c.SmallBytes = 64<<10, 64<<20, 32<<20
				c.RollAge, c.RollAgeMax = time.Hour, time.Hour
			})
			c.until(t, "all is taken", func(s Status) bool { return s.OpenSegments == 6 && s.StagedBytes < 64<<10 && s.LagMessages == 600 })
			pos := place(t, log, q, first)
			rot(t, fs, pos+100)
			onlyBlockedAfterFlush(t, c, o, bucket, q, first)
			rot(t, fs, pos+100)
			c.until(t, "the queue goes on", func(s Status) bool { return len(s.Blocked) == 0 && s.State == Running })
			c.mustFlush(t)
			o.check(t, bucket, true)
		})
	}
}

func onlyBlockedAfterFlush(t *testing.T, c *running, o *oracle, b objstore.Bucket, q mq.Queue, at int64) {
	t.Helper()
	c.mustFlush(t)
	onlyBlocked(t, c, o, b, q, at)
}

// The queue goes on after a lost record when its segment was dropped by the
// user's choice.
func TestRotIsDropped(t *testing.T) {
	fs, bucket, o := vfs.NewMem(), mem.New(), newOracle(5)
	log := openLog(t, fs)
	defer func() { log.Close() }()
	o.send(t, log, 300, 1, 1)
	log = reopened(t, fs, log)
	q := mq.Queue{Broker: broker, Topic: "topic-0"}
	rot(t, fs, place(t, log, q, 200))
	c := start(t, log, bucket, nil)
	onlyBlocked(t, c, o, bucket, q, 200)
	if err := log.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.send(t, log, 50, 1, 1)
	if _, err := log.Trim(t.Context(), drop); err != nil {
		t.Fatal(err)
	}
	c.until(t, "the archive goes on", func(s Status) bool { return len(s.Blocked) == 0 && s.State == Running })
	c.mustFlush(t)
	if st := c.Status(); st.LagMessages != 0 || len(st.Blocked) != 0 {
		t.Errorf("status %+v", st)
	}
}
