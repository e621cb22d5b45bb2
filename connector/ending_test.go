package connector

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot"
	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
)

// put appends one message to a queue of topic t.
func (o *oracle) put(t *testing.T, log *hot.Store, queue int32, body string) {
	t.Helper()
	o.append(t, log, []*mq.Message{{Topic: "t", QueueID: queue, Body: []byte(body)}})
}

// forget deletes topic t: what was sent to it is not to be seen any more.
func (o *oracle) forget(t *testing.T, log *hot.Store) {
	t.Helper()
	if err := log.DeleteTopic("t"); err != nil {
		t.Fatal(err)
	}
	clear(o.sent)
}

// inTable holds the queues of the table of topic t, and what number of
// incarnation it is.
func inTable(t *testing.T, b objstore.Bucket, incarnation int, want ...int32) {
	t.Helper()
	table, err := openArchive(t, b).Table(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	var have []int32
	for q := range table.Snapshot().Next {
		have = append(have, q.ID)
	}
	slices.Sort(have)
	if table.Incarnation() != incarnation || !slices.Equal(have, want) {
		t.Errorf("table %d has queues %v, want table %d with %v", table.Incarnation(), have, incarnation, want)
	}
}

// TestDeletionEndsTheTable sends to another queue than before the deletion
// first, so that no offset says that the topic is another.
func TestDeletionEndsTheTable(t *testing.T) {
	for _, mode := range []string{"running", "restarted", "crashed", "bucket away"} {
		t.Run(mode, func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			log, inner, o := openLog(t, fs), mem.New(), newOracle(1)
			bucket := objtest.NewFaulty(inner)
			c := start(t, log, bucket, nil)
			o.put(t, log, 1, "old1")
			o.put(t, log, 1, "old2")
			c.mustFlush(t)
			trimAll(t, log)
			if mode == "restarted" {
				c.stop()
			} else if mode != "running" {
				bucket.Add(objtest.Fault{})
			}
			o.forget(t, log)
			o.put(t, log, 3, "newA")
			if mode == "bucket away" || mode == "crashed" {
				c.until(t, "it retries", func(s Status) bool { return s.State == Retrying })
			}
			if mode == "crashed" || mode == "restarted" {
				if err := log.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				clone := fs.CrashClone(vfs.CrashCloneCfg{})
				c.stop()
				log.Close()
				log = openLog(t, clone)
				bucket.Clear()
				c = start(t, log, bucket, nil)
			}
			defer func() { c.stop(); log.Close() }()
			bucket.Clear()
			c.mustFlush(t)
			inTable(t, inner, 2, 3)
			o.put(t, log, 1, "newB")
			c.mustFlush(t)
			trimAll(t, log)
			inTable(t, inner, 2, 1, 3)
			o.check(t, inner, true)
			for q, sent := range o.sent {
				if at := log.Archived(q); at != int64(len(sent)) {
					t.Errorf("%v is archived to %d of %d", q, at, len(sent))
				}
			}
			if st := c.Status(); len(st.Blocked) > 0 || st.LagMessages > 0 {
				t.Errorf("status %+v", st)
			}
		})
	}
}

// TestDeletedBeforeItWasArchived deletes a topic of which messages are staged,
// and again before its next incarnation has a table. They went with it.
func TestDeletedBeforeItWasArchived(t *testing.T) {
	log, bucket, o := openLog(t, vfs.NewMem()), mem.New(), newOracle(2)
	defer log.Close()
	c := start(t, log, bucket, func(cfg *Config) { cfg.RollAge, cfg.RollAgeMax = time.Hour, time.Hour })
	o.put(t, log, 1, "old")
	c.mustFlush(t)
	for i := range 3 {
		o.put(t, log, int32(i), fmt.Sprint("staged ", i))
		if err := log.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.until(t, "it is staged", func(s Status) bool { return s.OpenSegments > 0 })
		o.forget(t, log)
	}
	o.put(t, log, 1, "new")
	c.mustFlush(t)
	inTable(t, bucket, 2, 1)
	o.check(t, bucket, true)
}

// TestFlushOfWhatWasDeleted ends a flush that waits for more than the topic's
// next incarnation has.
func TestFlushOfWhatWasDeleted(t *testing.T) {
	log, inner, o := openLog(t, vfs.NewMem()), mem.New(), newOracle(3)
	defer log.Close()
	bucket := objtest.NewFaulty(inner)
	c := start(t, log, bucket, nil)
	bucket.Add(objtest.Fault{})
	for range 5 {
		o.put(t, log, 1, "old")
	}
	flushed := make(chan error, 1)
	go func() { flushed <- c.flushWithin(t, flushWait) }()
	c.until(t, "it retries", func(s Status) bool { return s.State == Retrying })
	o.forget(t, log)
	o.put(t, log, 1, "new")
	bucket.Clear()
	if err := <-flushed; err != nil {
		t.Fatal(err)
	}
	c.mustFlush(t)
	o.check(t, inner, true)
}

// TestKilledWhileATableEnds dies after each of the bucket's calls between a
// deletion and the first commit of what came after it.
func TestKilledWhileATableEnds(t *testing.T) {
	for calls, died := 0, true; died; calls++ {
		died = killedWhileEnding(t, calls)
		if t.Failed() {
			t.Fatalf("at call %d", calls)
		}
	}
}

func killedWhileEnding(t *testing.T, calls int) (died bool) {
	fs := vfs.NewCrashableMem()
	bucket, o, log := mem.New(), newOracle(4), openLog(t, fs)
	d := newDying(bucket, 1<<30, true)
	c := start(t, log, d, nil)
	o.put(t, log, 1, "old1")
	o.put(t, log, 1, "old2")
	c.mustFlush(t)
	d.mu.Lock()
	d.left = calls
	d.mu.Unlock()
	o.forget(t, log)
	o.put(t, log, 3, "newA")
	if err := log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	flushOrDie(c, d.dead)
	select {
	case <-d.dead:
		died = true
	default:
	}
	clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(uint64(calls), 1))})
	c.stop()
	log.Close()
	log = openLog(t, clone)
	defer log.Close()
	c = start(t, log, bucket, nil)
	defer c.stop()
	o.put(t, log, 1, "newB")
	c.mustFlush(t)
	inTable(t, bucket, 2, 1, 3)
	o.check(t, bucket, true)
	return died
}

// TestATableOfAnotherGroupStays: what another broker group has made of the
// topic since is not of the incarnation that ended here.
func TestATableOfAnotherGroupStays(t *testing.T) {
	log, bucket, o := openLog(t, vfs.NewMem()), mem.New(), newOracle(5)
	defer log.Close()
	c := start(t, log, bucket, nil)
	o.put(t, log, 1, "old")
	c.mustFlush(t)
	c.stop()
	o.forget(t, log)
	a := openArchive(t, bucket)
	if err := a.DropTable(t.Context(), "t", "met by another group"); err != nil {
		t.Fatal(err)
	}
	table, err := a.CreateTable(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Fence(t.Context(), "another", 1); err != nil && !errors.Is(err, archive.ErrFenced) {
		t.Fatal(err)
	}
	o.put(t, log, 3, "new")
	c = start(t, log, bucket, nil)
	defer c.stop()
	c.mustFlush(t)
	inTable(t, bucket, 2, 3)
	o.check(t, bucket, true)
}
