package connector

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
)

// TestNoLieMovesTheMark lets the bucket lie about each write of two topics'
// first commits. Whatever the connector then lets the log trim, a new process
// finds in the bucket.
func TestNoLieMovesTheMark(t *testing.T) {
	for what, how := range map[string]objtest.How{"nothing": objtest.Lie, "other bytes": objtest.Spoil, "half": objtest.Cut} {
		for skip := range 14 {
			t.Run(fmt.Sprintf("%s/%d", what, skip), func(t *testing.T) {
				inner := mem.New()
				log, bucket, o := openLog(t, vfs.NewMem()), objtest.NewFaulty(inner), newOracle(uint64(30+skip))
				defer log.Close()
				c := start(t, log, bucket, nil)
				// Files' bytes are checked at the end only; see stored.
				bucket.Add(objtest.Fault{Op: objtest.Put, How: how, Skip: skip, Times: 2})
				for range 2 {
					o.send(t, log, 300, 2, 1)
					c.mustFlush(t)
					trimAll(t, log)
				}
				c.stop()

				c = start(t, log, inner, nil)
				o.send(t, log, 100, 2, 1)
				c.mustFlush(t)
				if st := c.Status(); len(st.Blocked)+len(st.Damaged) > 0 {
					t.Errorf("after a restart: %+v", st)
				}
				o.check(t, inner, true)
			})
		}
	}
}

// TestDamageWhileRunning damages a table under a connector: its topic is
// blocked, the others go on, and when it is repaired so does it. Nothing is
// started again.
func TestDamageWhileRunning(t *testing.T) {
	for what, pick := range map[string]func(string) bool{
		"every version": func(n string) bool { return strings.HasSuffix(n, ".metadata.json") },
		"versions and manifests": func(n string) bool {
			return strings.HasSuffix(n, ".metadata.json") || strings.HasSuffix(n, ".avro")
		},
	} {
		t.Run(what, func(t *testing.T) {
			log, bucket, o := openLog(t, vfs.NewMem()), mem.New(), newOracle(12)
			defer log.Close()
			c := start(t, log, bucket, nil)
			o.send(t, log, 200, 2, 2)
			c.mustFlush(t)
			table, err := openArchive(t, bucket).Table(t.Context(), "topic-0")
			if err != nil {
				t.Fatal(err)
			}
			restore := spoil(t, bucket, table.Root(), pick)
			o.send(t, log, 2000, 2, 2)
			if err := c.Flush(t.Context()); !errors.Is(err, ErrBlocked) || !strings.Contains(err.Error(), table.Root()+"/metadata/v") {
				t.Fatalf("flush: %v; status %+v", err, c.Status())
			}
			st := c.Status()
			if st.State != Running || len(st.Damaged) != 1 || !strings.Contains(st.Damaged["topic-0"], table.Root()+"/metadata/v") || len(st.Blocked) != 2 {
				t.Errorf("status %+v", st)
			}
			checkMarks(t, c, o, "topic-1")
			o.send(t, log, 200, 2, 3)
			if err := c.Flush(t.Context()); !errors.Is(err, ErrBlocked) {
				t.Fatalf("flush: %v; status %+v", err, c.Status())
			}
			checkMarks(t, c, o, "topic-1")
			trimAll(t, log)

			restore()
			c.until(t, "the table can be read again", func(s Status) bool { return len(s.Damaged) == 0 && s.State == Running })
			c.mustFlush(t)
			checkMarks(t, c, o, "topic-0")
			o.check(t, bucket, true)
		})
	}
}

// checkMarks demands that all of a topic is archived.
func checkMarks(t *testing.T, c *running, o *oracle, topic string) {
	t.Helper()
	for id, sent := range o.sent {
		if mark := c.log.Archived(id); id.Topic == topic && mark != int64(len(sent)) {
			t.Errorf("%v is archived to %d, want %d", id, mark, len(sent))
		}
	}
}

// TestNewestVersionComesBack removes the newest version under a connector whose
// log was trimmed by it: the topic waits, and goes on when it is back.
func TestNewestVersionComesBack(t *testing.T) {
	log, bucket, o := openLog(t, vfs.NewMem()), mem.New(), newOracle(13)
	defer log.Close()
	c := start(t, log, bucket, nil)
	for range 2 {
		o.send(t, log, 3000, 1, 1)
		c.mustFlush(t)
	}
	trimAll(t, log)
	table, err := openArchive(t, bucket).Table(t.Context(), "topic-0")
	if err != nil {
		t.Fatal(err)
	}
	name := table.MetadataName()
	r, err := bucket.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	r.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := bucket.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	o.send(t, log, 100, 1, 1)
	st := c.until(t, "the queue is blocked", func(s Status) bool {
		return len(s.Blocked) == 1 && strings.Contains(s.Blocked[0].Reason, ErrOlder.Error())
	})
	if st.Blocked[0].Queue != (mq.Queue{Broker: broker, Topic: "topic-0"}) {
		t.Errorf("status %+v", st)
	}
	if err := bucket.Put(t.Context(), name, strings.NewReader(string(data)), int64(len(data)), objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
	c.until(t, "the queue goes on", func(s Status) bool { return len(s.Blocked) == 0 && s.State == Running })
	c.mustFlush(t)
	o.check(t, bucket, true)
}
