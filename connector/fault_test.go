package connector

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
)

// until polls the status, which changes on the connector's own goroutines.
func (r *running) until(t *testing.T, what string, ok func(Status) bool) Status {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if st := r.Status(); ok(st) {
			return st
		}
	}
	t.Fatalf("no status where %s: %+v", what, r.Status())
	return Status{}
}

func TestBucketThatFailsAndComesBack(t *testing.T) {
	for name, fault := range map[string]objtest.Fault{
		"denied":           {Op: objtest.Put, Err: objstore.ErrDenied},
		"missing":          {Err: objstore.ErrNoBucket},
		"unavailable":      {},
		"put is lost":      {Op: objtest.Put, How: objtest.After},
		"put breaks off":   {Op: objtest.Put, How: objtest.Half},
		"head fails":       {Op: objtest.Head},
		"list fails":       {Op: objtest.List},
		"metadata refused": {Op: objtest.Put, Name: "metadata"},
		"hangs": {How: objtest.Slow, Wait: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			log, bucket, o := openLog(t, vfs.NewMem()), objtest.NewFaulty(mem.New()), newOracle(2)
			defer log.Close()
			c := start(t, log, bucket, func(cfg *Config) { cfg.CallTimeout = 300 * time.Millisecond })
			o.send(t, log, 300, 2, 2)
			c.mustFlush(t)
			bucket.Add(fault)
			o.send(t, log, 300, 2, 2)
			if name != "list fails" { // nothing lists while it runs
				st := c.until(t, "it retries", func(s Status) bool {
					// An upload whose answer is lost is found by the second
					// try; a commit isn't.
					return s.State == Retrying && (name != "put is lost" || strings.HasPrefix(s.Error, "commit"))
				})
				if st.Error == "" || st.FailingSince.IsZero() || st.LagMessages == 0 || st.LagBytes == 0 {
					t.Errorf("status %+v", st)
				}
				err := c.flushWithin(t, 250*time.Millisecond)
				if !errors.Is(err, ErrFailing) || !strings.Contains(err.Error(), "failing since") {
					t.Errorf("flush: %v", err)
				}
			}
			bucket.Clear()
			c.mustFlush(t)
			o.check(t, bucket, true)
			c.until(t, "it runs", func(s Status) bool { return s.State == Running && s.FailingSince.IsZero() && s.LagMessages == 0 })
		})
	}
}

// A flush that isn't done in time names a failure of its own time, though the
// next try succeeded, and none from before.
func TestFlushTellsOfFailuresThatPassed(t *testing.T) {
	log := openLog(t, vfs.NewMem())
	defer log.Close()
	now := time.Unix(1_700_000_000, 0)
	c, err := New(Config{Broker: broker, Dir: t.TempDir(), Now: func() time.Time { return now }}, log, openArchive(t, mem.New()))
	if err != nil {
		t.Fatal(err)
	}
	c.begin()
	attempts := tries{c: c}
	attempts.failed(errors.New("the answer was lost"))
	attempts.end()
	flush := func() error { // nothing runs: it waits for ctx
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		return c.flushTimeout(ctx, now)
	}
	if err := flush(); !errors.Is(err, ErrFailing) || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "failing now and then, last at") || !strings.Contains(err.Error(), "the answer was lost") {
		t.Errorf("after a failure that passed: %v", err)
	}
	now = now.Add(time.Second)
	if err := flush(); errors.Is(err, ErrFailing) {
		t.Errorf("after a failure before it began: %v", err)
	}
	attempts.failed(errors.New("no answer"))
	now = now.Add(time.Second)
	if err := flush(); !errors.Is(err, ErrFailing) || !strings.Contains(err.Error(), "failing since") {
		t.Errorf("while it fails: %v", err)
	}
}

func TestBucketIsDownAtTheStart(t *testing.T) {
	inner := mem.New()
	log, bucket, o := openLog(t, vfs.NewMem()), objtest.NewFaulty(inner), newOracle(3)
	defer log.Close()
	o.send(t, log, 100, 1, 1)
	c := start(t, log, bucket, nil)
	c.mustFlush(t)
	c.stop()
	o.send(t, log, 100, 1, 1)
	c2, err := New(c.cfg, log, openArchive(t, bucket))
	if err != nil {
		t.Fatal(err)
	}
	bucket.Add(objtest.Fault{})
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{Connector: c2, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- c2.Run(ctx) }()
	t.Cleanup(r.stop)
	r.until(t, "it retries", func(s Status) bool { return s.State == Retrying })
	bucket.Clear()
	r.mustFlush(t)
	o.check(t, inner, true)
}

func TestBucketThatLies(t *testing.T) {
	log, bucket, o := openLog(t, vfs.NewMem()), objtest.NewFaulty(mem.New()), newOracle(4)
	defer log.Close()
	bucket.Add(objtest.Fault{Op: objtest.Put, Name: ".parquet", How: objtest.Lie, Times: 7})
	c := start(t, log, bucket, nil)
	o.send(t, log, 500, 2, 2)
	c.mustFlush(t)
	o.check(t, bucket, true)
	if st := c.Status(); st.Failures == 0 || !strings.Contains(st.Error, archive.ErrNotStored.Error()) {
		t.Errorf("status %+v", st)
	}
}

func TestSlowBucketStopsTheTailNotTheMemory(t *testing.T) {
	log, bucket, o := openLog(t, vfs.NewMem()), objtest.NewFaulty(mem.New()), newOracle(5)
	defer log.Close()
	gate := make(chan struct{})
	bucket.Add(objtest.Fault{Op: objtest.Put, Name: ".parquet", How: objtest.Slow, Wait: func(ctx context.Context) error {
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}})
	const budget = 4 << 20
	c := start(t, log, bucket, func(cfg *Config) {
		cfg.MemoryBytes, cfg.FileBytes, cfg.SmallBytes, cfg.Uploads = budget, 1<<20, 256<<10, 1
		cfg.RollAge, cfg.RollAgeMax = time.Hour, time.Hour
	})
	o.send(t, log, 20_000, 1, 4)
	st := c.until(t, "uploads wait", func(s Status) bool { return s.Jobs >= 3 })
	if st.StagedBytes > budget+budget/2 {
		t.Errorf("staged %d bytes, budget %d", st.StagedBytes, budget)
	}
	close(gate)
	c.mustFlush(t)
	o.check(t, bucket, true)
}

func TestManyQueuesStayWithinMemory(t *testing.T) {
	log, bucket, o := openLog(t, vfs.NewMem()), mem.New(), newOracle(6)
	defer log.Close()
	const budget = 3 << 20
	var most int64
	c := start(t, log, bucket, func(cfg *Config) {
		cfg.MemoryBytes, cfg.FileBytes, cfg.SmallBytes = budget, 1<<20, 512<<10
		cfg.RollAge, cfg.RollAgeMax = time.Hour, time.Hour
	})
	stop, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				most = max(most, c.Status().StagedBytes)
			}
		}
	}()
	o.send(t, log, 20_000, 20, 10)
	c.mustFlush(t)
	close(stop)
	<-watched
	if most > budget+budget/2 || most == 0 {
		t.Errorf("staged up to %d bytes, budget %d", most, budget)
	}
	if st := c.Status(); st.Files > 200 {
		t.Errorf("%d files of 200 queues", st.Files)
	}
	o.check(t, bucket, true)
}

func TestNewerConnectorTakesOver(t *testing.T) {
	log, bucket, o := openLog(t, vfs.NewMem()), mem.New(), newOracle(7)
	defer log.Close()
	old := start(t, log, bucket, nil)
	o.send(t, log, 200, 1, 2)
	old.mustFlush(t)
	start(t, log, bucket, nil)
	for end := time.Now().Add(20 * time.Second); ; {
		o.send(t, log, 50, 1, 2)
		select {
		case err := <-old.ended:
			if !errors.Is(err, archive.ErrFenced) {
				t.Fatalf("the old connector ended with %v", err)
			}
			if st := old.Status(); st.State != Fenced {
				t.Errorf("status %+v", st)
			}
		case <-time.After(5 * time.Millisecond):
			if time.Now().After(end) {
				t.Fatalf("the old connector still runs: %+v", old.Status())
			}
			continue
		}
		break
	}
	last := start(t, log, bucket, nil)
	last.mustFlush(t)
	o.check(t, bucket, true)
}

func TestTopicDeletedAndCreatedAgain(t *testing.T) {
	for _, restart := range []bool{false, true} {
		log, bucket, o := openLog(t, vfs.NewMem()), mem.New(), newOracle(8)
		c := start(t, log, bucket, nil)
		o.send(t, log, 400, 2, 2)
		c.mustFlush(t)
		if restart {
			c.stop()
		}
		if err := log.DeleteTopic("topic-0"); err != nil {
			t.Fatal(err)
		}
		for q := range o.sent {
			if q.Topic == "topic-0" {
				delete(o.sent, q)
			}
		}
		o.send(t, log, 700, 2, 2)
		if restart {
			c = start(t, log, bucket, nil)
		}
		c.mustFlush(t)
		o.check(t, bucket, true)
		if st := c.Status(); len(st.Blocked) > 0 {
			t.Errorf("status %+v", st)
		}
		c.stop()
		log.Close()
	}
}

func TestForeignLogIsRefused(t *testing.T) {
	log, bucket, o := openLog(t, vfs.NewMem()), mem.New(), newOracle(9)
	o.send(t, log, 400, 1, 2)
	c := start(t, log, bucket, nil)
	c.mustFlush(t)
	c.stop()
	log.Close()
	other := openLog(t, vfs.NewMem())
	defer other.Close()
	c = start(t, other, bucket, nil)
	c.until(t, "it says so", func(s Status) bool { return strings.Contains(s.Error, ErrForeignLog.Error()) })
	o.check(t, bucket, true)
}

// TestDroppedUnarchivedIsDeclared: the user chose to lose messages. The archive
// says which, and goes on after them.
func TestDroppedUnarchivedIsDeclared(t *testing.T) {
	log, bucket, o := openLog(t, vfs.NewMem()), mem.New(), newOracle(10)
	defer log.Close()
	c := start(t, log, bucket, nil)
	o.send(t, log, 100, 1, 1)
	c.mustFlush(t)
	c.stop()
	o.send(t, log, 5000, 1, 1)
	if err := log.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Trim(t.Context(), drop); err != nil {
		t.Fatal(err)
	}
	o.send(t, log, 100, 1, 1)
	q := mq.Queue{Broker: broker, Topic: "topic-0"}
	kept, err := log.Range(t.Context(), q)
	if err != nil || kept.From <= 100 {
		t.Fatalf("the log has %v, %v: nothing was dropped", kept, err)
	}
	c = start(t, log, bucket, nil)
	c.mustFlush(t)
	if st := c.Status(); len(st.Blocked) > 0 {
		t.Errorf("status %+v", st)
	}
	table, err := openArchive(t, bucket).Table(t.Context(), q.Topic)
	if err != nil {
		t.Fatal(err)
	}
	gap := mq.Range{From: 100, To: kept.From}
	if g := table.Snapshot().Gaps[q]; len(g) != 1 || g[0] != gap {
		t.Errorf("gaps %v, want %v", g, gap)
	}
	o.sent[q] = append(o.sent[q][:gap.From:gap.From], o.sent[q][gap.To:]...)
	o.check(t, bucket, true)
	if log.Archived(q) != kept.To {
		t.Errorf("archived to %d, want %d", log.Archived(q), kept.To)
	}
}
