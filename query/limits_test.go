package query

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"varve/internal/mq"
	"varve/query/wire"
)

func kindOf(t *testing.T, err error) wire.Kind {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error", err)
	}
	return e.Kind
}

// drain reads a query to its end.
func drain(t *testing.T, e *Engine, r Request) (n int, rows *Rows, err error) {
	t.Helper()
	rows, err = e.Query(t.Context(), r)
	if err != nil {
		return 0, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		n++
	}
	return n, rows, rows.Err()
}

// endless never ends by itself and keeps little in memory.
const endless = "select count(*) from range(100000000) a, range(1000000) b where a.range * b.range = -1"

func TestTimeout(t *testing.T) {
	e := newWorld(t).engine(t, nil)
	began := time.Now()
	_, _, err := drain(t, e, Request{SQL: endless, Timeout: 700 * time.Millisecond})
	if kindOf(t, err) != wire.Timeout || !strings.Contains(err.Error(), "700ms") {
		t.Errorf("got %v, want a timeout that names 700ms", err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("the query ended after %s", d)
	}
	// One long scalar call is not interrupted by DuckDB, but by the engine.
	_, _, err = drain(t, e, Request{SQL: "select length(replace(repeat('x', 100000000), 'x', repeat('ab', 7)))", Timeout: 300 * time.Millisecond})
	if k := kindOf(t, err); k != wire.Timeout && k != wire.Memory {
		t.Errorf("got %v, want a timeout", err)
	}
}

func TestMemory(t *testing.T) {
	e := newWorld(t).engine(t, func(c *Config) { c.MemoryBytes = 96 << 20; c.SpillBytes = 64 << 20 })
	for name, sql := range map[string]string{
		"aggregate": "select count(distinct (range * 7919) || 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx') from range(40000000)",
		"list":      "select length(list(range)) from range(100000000)",
		"scalar":    "select length(repeat('x', 1000000000)) + length(repeat('y', 1000000000)) + length(repeat(repeat('z', 1000000), 1000))",
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := drain(t, e, Request{SQL: sql})
			if kindOf(t, err) != wire.Memory {
				t.Errorf("got %v, want a memory error", err)
			}
			if strings.Contains(err.Error(), "SET ") || strings.Contains(err.Error(), "PRAGMA") {
				t.Errorf("the error advises settings that can't be changed: %v", err)
			}
		})
	}
	if n, _, err := drain(t, e, Request{SQL: "select 1"}); n != 1 || err != nil {
		t.Errorf("after that: %d rows, %v", n, err)
	}
}

func TestSpill(t *testing.T) {
	e := newWorld(t).engine(t, func(c *Config) { c.MemoryBytes = 128 << 20; c.SpillBytes = 2 << 30 })
	n, _, err := drain(t, e, Request{SQL: "select a from (select range a, hash(range) h from range(6000000) order by h) limit 3"})
	if n != 3 || err != nil {
		t.Errorf("%d rows, %v", n, err)
	}
	n, _, err = drain(t, e, Request{SQL: "select count(*) from (select a, row_number() over (order by h) r from (select range a, hash(range) h from range(5000000))) where r > 0"})
	if n != 1 || err != nil {
		t.Errorf("%d rows, %v", n, err)
	}
}

func TestResultLimits(t *testing.T) {
	e := newWorld(t).engine(t, func(c *Config) { c.MaxResultBytes = 1000; c.MaxRows = 50 })
	n, rows, err := drain(t, e, Request{SQL: "select * from range(1000)"})
	if n != 50 || err != nil || !strings.Contains(rows.Truncated(), "50 rows") {
		t.Errorf("%d rows, %v, truncated %q; want 50 by the row limit", n, err, rows.Truncated())
	}
	n, rows, err = drain(t, e, Request{SQL: "select repeat('x', 100) from range(40)"})
	if n < 5 || n > 10 || err != nil || !strings.Contains(rows.Truncated(), "1000 bytes") {
		t.Errorf("%d rows, %v, truncated %q; want 5 to 10 by the byte limit", n, err, rows.Truncated())
	}
	if st := rows.Stats(); st.Rows != int64(n) || st.Elapsed <= 0 {
		t.Errorf("stats %+v", st)
	}
}

// TestLargeResult: what doesn't fit into memory as a whole is shown in part;
// what fits is shown whole, however many rows it has.
func TestLargeResult(t *testing.T) {
	e := newWorld(t).engine(t, func(c *Config) { c.MemoryBytes = 128 << 20; c.MaxRows = 1_000_000 })
	n, rows, err := drain(t, e, Request{SQL: "select range, repeat('x', 1000) || range from range(1000000)"})
	if n != 10_000 || err != nil || !strings.Contains(rows.Truncated(), "more memory") {
		t.Errorf("%d rows, %v; want the first 10000 and to be told so", n, err)
	}
	n, rows, err = drain(t, e, Request{SQL: "select range from range(300000) order by range desc"})
	if n != 300_000 || err != nil || rows.Truncated() != "" {
		t.Errorf("%d rows, %v, want 300000", n, err)
	}
	n, rows, err = drain(t, e, Request{SQL: "select range from range(10000)"})
	if n != 10_000 || err != nil || rows.Truncated() != "" {
		t.Errorf("%d rows, %v, %q, want 10000", n, err, rows.Truncated())
	}
}

// TestWorkerDies: whatever becomes of a worker, the engine says so and goes on.
func TestWorkerDies(t *testing.T) {
	w := newWorld(t)
	for mode, want := range map[string]wire.Kind{"crash": wire.Crashed, "crash later": wire.Crashed, "garbage": wire.Internal, "hang": wire.Timeout} {
		t.Run(mode, func(t *testing.T) {
			e := w.engine(t, func(c *Config) {
				c.Env = []string{workerEnv + "=" + mode}
				if want == wire.Timeout {
					c.Timeout = time.Second
				}
			})
			_, _, err := drain(t, e, Request{SQL: "select 1"})
			if k := kindOf(t, err); k != want {
				t.Errorf("got %s: %v, want %s", k, err, want)
			}
		})
	}
	e := w.engine(t, func(c *Config) { c.Command = []string{filepath.Join(t.TempDir(), "nothing")} })
	if _, _, err := drain(t, e, Request{SQL: "select 1"}); kindOf(t, err) != wire.Internal {
		t.Errorf("got %v, want an internal error", err)
	}
}

// endlessOver is a query like endless over a table of the world, and a channel
// that tells when it has its place and reads the table.
func endlessOver(w *world) (sql string, runs <-chan struct{}) {
	q := mq.Queue{Broker: "b", Topic: "t", ID: 0}
	w.send(q, message("archived"), message("hot"))
	w.archive(q, 1)
	told := make(chan struct{}, 1)
	w.onRead = func() {
		select {
		case told <- struct{}{}:
		default:
		}
	}
	return "select count(*) from t, range(100000000) a, range(1000000) b where a.range * b.range = -1", told
}

// TestServerDies: a worker whose server is gone ends by itself, in the middle
// of a query.
func TestServerDies(t *testing.T) {
	e := newWorld(t).engine(t, nil)
	q := e.newRun(t.Context(), Request{SQL: endless})
	e.wg.Add(1)
	defer q.close()
	if err := errors.Join(q.enter(), q.startWorker()); err != nil {
		t.Fatal(err)
	}
	if _, err := q.proc.reply(); err != nil {
		t.Fatal(err)
	}
	if err := q.proc.send(wire.Tables{}); err != nil {
		t.Fatal(err)
	}
	q.proc.in.Close() // as the kernel does when the server dies
	if err := q.proc.cmd.Wait(); err == nil || q.ctx.Err() != nil {
		t.Errorf("the worker ended with %v, the query's context with %v", err, q.ctx.Err())
	}
}

func TestCallerGoesAway(t *testing.T) {
	w := newWorld(t)
	endless, runs := endlessOver(w)
	e := w.engine(t, func(c *Config) { c.MaxConcurrent = 1 })
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := e.Query(ctx, Request{SQL: endless}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	})
	// The only place is taken; who waits longer than its own limit is told so.
	<-runs
	_, _, err := drain(t, e, Request{SQL: "select 1", Timeout: 50 * time.Millisecond})
	if kindOf(t, err) != wire.Busy {
		t.Errorf("got %v, want busy", err)
	}
	cancel()
	wg.Wait()
	if n, _, err := drain(t, e, Request{SQL: "select 1"}); n != 1 || err != nil {
		t.Errorf("after that: %d rows, %v", n, err)
	}
	// Rows closed early free their place.
	rows, err := e.Query(t.Context(), Request{SQL: "select * from range(10000)"})
	if err != nil || !rows.Next() {
		t.Fatal(err)
	}
	rows.Close()
	if n, _, err := drain(t, e, Request{SQL: "select 1"}); n != 1 || err != nil {
		t.Errorf("after an early close: %d rows, %v", n, err)
	}
}

func TestCloseEndsQueries(t *testing.T) {
	w := newWorld(t)
	endless, runs := endlessOver(w)
	e := w.engine(t, nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := e.Query(t.Context(), Request{SQL: endless}); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	})
	<-runs
	e.Close()
	wg.Wait()
	if _, err := e.Query(t.Context(), Request{SQL: "select 1"}); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

func TestReadLimits(t *testing.T) {
	w := newWorld(t)
	q := mq.Queue{Broker: "b", Topic: "t", ID: 0}
	for range 100 {
		w.send(q, message(strings.Repeat("x", 100)))
	}
	e := w.engine(t, func(c *Config) { c.MaxHotBytes = 5000; c.MaxScanBytes = 1000 })
	if _, _, err := drain(t, e, Request{SQL: "from t"}); kindOf(t, err) != wire.TooLarge {
		t.Errorf("hot: got %v, want too large", err)
	}
	if n, _, err := drain(t, e, Request{SQL: "from t where queue_offset > 90"}); n != 9 || err != nil {
		t.Errorf("a narrow query: %d rows, %v", n, err)
	}
	w.archive(q, 80)
	if _, _, err := drain(t, e, Request{SQL: "from t"}); kindOf(t, err) != wire.TooLarge {
		t.Errorf("archive: got %v, want too large", err)
	}
}

// TestLeftovers: what a killed server left is removed.
func TestLeftovers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "odd[1]*")
	if err := os.MkdirAll(filepath.Join(dir, dirPrefix+"123", "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "other"), 0o755); err != nil {
		t.Fatal(err)
	}
	e, err := New(Config{TempDir: dir}, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	left, _ := os.ReadDir(dir)
	if len(left) != 1 || left[0].Name() != "other" {
		t.Errorf("left: %v, want only what is not a query's", left)
	}
	if _, err := New(Config{}, Deps{}); err == nil {
		t.Error("an engine without a directory")
	}
}

// TestMovingBorder sends, archives and trims while queries count: each offset
// is there exactly once, whenever the query looked.
func TestMovingBorder(t *testing.T) {
	w := newWorld(t)
	queues := []mq.Queue{{Broker: "b", Topic: "t", ID: 0}, {Broker: "b", Topic: "t", ID: 1}}
	for _, q := range queues {
		w.send(q, message("0"), message("1"))
	}
	e := w.engine(t, nil)
	steps := 0
	w.onRead = func() {
		// Between the engine's look at the archive and its read of the log,
		// and in the middle of reading: archive all there is and trim it.
		steps++
		for _, q := range queues {
			w.mu.Lock()
			end, next := int64(len(w.logs[q].recs)), w.logs[q].next
			w.mu.Unlock()
			if steps%3 == 0 && end > next {
				w.archive(q, end)
				w.trim(q, end)
			}
			w.send(q, message("more"))
		}
	}
	for range 12 {
		rows, err := e.Query(t.Context(), Request{SQL: "select queue_id, count(*) = max(queue_offset) + 1 and count(*) = count(distinct queue_offset) from t group by 1"})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for rows.Next() {
			n++
			if string(rows.Row()[1]) != "true" {
				t.Errorf("queue %s has offsets twice or not at all", rows.Row()[0])
			}
		}
		if n != 2 || rows.Err() != nil {
			t.Fatalf("%d queues, %v", n, rows.Err())
		}
		rows.Close()
	}
}
