package query

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"varve/internal/mq"
	"varve/query/wire"
)

// The result's vocabulary is the worker's; see package wire.
type (
	// Column is one column of a result.
	Column = wire.Column
	// Value is one value of a row, as JSON.
	Value = wire.Value
	// Error is a failed query: what kind, and a text for the user.
	Error = wire.Error
)

// Request is one query.
type Request struct {
	SQL string
	// Tenant is the schema of table names without one; default
	// mq.DefaultTenant.
	Tenant string
	// Visible says which topics there are for who asks; nil is all.
	Visible func(topic string) bool
	// Limits; 0 means the engine's.
	Timeout     time.Duration
	MemoryBytes int64
	MaxRows     int64
}

// Engine runs queries. Its methods may be called concurrently.
type Engine struct {
	cfg  Config
	deps Deps

	places chan struct{} // one token a running query
	mu     sync.Mutex
	closed bool
	stop   context.CancelFunc // ends all queries
	ctx    context.Context
	wg     sync.WaitGroup // queries not closed yet

	checked checked // data files
}

// ErrClosed says that the engine was closed.
var ErrClosed = errors.New("query engine is closed")

// A query's directory, and what is in it: the files that it reads, and where
// it may write.
const (
	dirPrefix = "query-"
	filesDir  = "files"
	spillDir  = "spill"
)

// New makes an engine and clears its TempDir of what a crash left behind.
func New(cfg Config, deps Deps) (*Engine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.TempDir, 0o755); err != nil {
		return nil, fmt.Errorf("query engine: making its directory: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(escapeGlob(cfg.TempDir), dirPrefix+"*"))
	if err != nil {
		return nil, fmt.Errorf("query engine: listing %s: %w", cfg.TempDir, err)
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return nil, fmt.Errorf("query engine: clearing what an earlier run left: %w", err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	return &Engine{cfg: cfg, deps: deps, places: make(chan struct{}, cfg.MaxConcurrent), ctx: ctx, stop: stop}, nil
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// Close ends all queries and waits until nothing of them is left.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.stop()
	e.wg.Wait()
	return nil
}

// Query starts a query and returns once its first rows are there. Its error is
// an *Error, or the context's. Rows must be closed.
func (e *Engine) Query(ctx context.Context, r Request) (*Rows, error) {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil, ErrClosed
	}
	e.wg.Add(1)
	e.mu.Unlock()
	q := e.newRun(ctx, r)
	rows, err := q.start()
	if err != nil {
		err = q.explain(err)
		q.close()
		e.cfg.Logger.Info("query failed", "tenant", q.req.Tenant, "elapsed", time.Since(q.began), "error", err)
		return nil, err
	}
	return rows, nil
}

func (e *Engine) newRun(ctx context.Context, r Request) *run {
	c := e.cfg
	if r.Tenant == "" {
		r.Tenant = mq.DefaultTenant
	}
	if r.Timeout <= 0 {
		r.Timeout = c.Timeout
	}
	r.Timeout = min(r.Timeout, c.MaxTimeout)
	if r.MemoryBytes <= 0 {
		r.MemoryBytes = c.MemoryBytes
	}
	r.MemoryBytes = min(r.MemoryBytes, c.MemoryBytes)
	if r.MaxRows <= 0 {
		r.MaxRows = c.MaxRows
	}
	q := &run{e: e, req: r, outer: ctx, began: time.Now()}
	inner, cancel := context.WithTimeout(ctx, r.Timeout)
	unlink := context.AfterFunc(e.ctx, cancel)
	q.ctx = inner
	q.undo = append(q.undo, func() { unlink(); cancel() })
	return q
}

// run is one query while it lasts.
type run struct {
	e     *Engine
	req   Request
	outer context.Context // the caller's
	ctx   context.Context // ends at the deadline too
	began time.Time
	dir   string
	proc  *process
	stats Stats
	files int // made in dir
	// objects tells what the linked files of dir are, by their names there.
	objects map[string]object
	mounted bool     // the worker has been told of them
	undo    []func() // what close does, last first
	once    sync.Once
}

// close ends the query and removes all of it. It may be called twice.
func (q *run) close() {
	q.once.Do(func() {
		for i := len(q.undo) - 1; i >= 0; i-- {
			q.undo[i]()
		}
		q.e.wg.Done()
	})
}

func (q *run) start() (*Rows, error) {
	if err := q.enter(); err != nil {
		return nil, err
	}
	if err := q.startWorker(); err != nil {
		return nil, err
	}
	reply, err := q.proc.reply()
	if err != nil {
		return nil, err
	}
	a := reply.Analysis
	if a == nil {
		return nil, errors.New("the query's worker answered out of turn")
	}
	if a.ShowTables {
		return q.showTables()
	}
	tables, err := q.gather(a.Tables)
	if err != nil {
		return nil, err
	}
	q.mounted = true
	if err := q.proc.send(wire.Tables{Tables: tables}); err != nil {
		return nil, err
	}
	if reply, err = q.proc.reply(); err != nil {
		return nil, err
	}
	if reply.Columns == nil {
		return nil, errors.New("the query's worker answered out of turn")
	}
	return &Rows{q: q, cols: reply.Columns}, nil
}

// enter waits for a place among the running queries and makes the query's
// directory.
func (q *run) enter() error {
	select {
	case q.e.places <- struct{}{}:
	case <-q.ctx.Done():
		if q.outer.Err() != nil || q.e.ctx.Err() != nil {
			return q.ctx.Err()
		}
		return &Error{Kind: wire.Busy, Message: fmt.Sprintf("no place to run the query became free within %s: %d others are running, which is the limit", q.req.Timeout, q.e.cfg.MaxConcurrent)}
	}
	q.stats.Waited = time.Since(q.began)
	q.undo = append(q.undo, func() { <-q.e.places })
	dir, err := os.MkdirTemp(q.e.cfg.TempDir, dirPrefix)
	if err != nil {
		return fmt.Errorf("making the query's directory: %w", err)
	}
	q.dir = dir
	q.undo = append(q.undo, func() {
		if err := os.RemoveAll(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			q.e.cfg.Logger.Warn("query directory not removed", "dir", dir, "error", err)
		}
	})
	for _, sub := range []string{filesDir, spillDir} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return fmt.Errorf("making the query's directory: %w", err)
		}
	}
	return nil
}

// explain turns whatever ended the query into an error for its user.
func (q *run) explain(err error) error {
	var e *Error
	switch {
	case q.outer.Err() != nil && !errors.Is(q.outer.Err(), context.DeadlineExceeded):
		return q.outer.Err()
	case q.e.ctx.Err() != nil:
		return ErrClosed
	case errors.As(err, &e) && e.Kind != wire.Crashed:
		if e := q.damaged(e); e != nil {
			return e
		}
		return &Error{Kind: e.Kind, Position: e.Position, Message: q.hidePaths(e.Message)}
	case q.ctx.Err() != nil:
		return &Error{Kind: wire.Timeout, Message: fmt.Sprintf("the query ran longer than its limit of %s; narrow it (store_time, queue_id) or ask for a longer limit (up to %s)", q.req.Timeout, q.e.cfg.MaxTimeout)}
	case e != nil:
		return e
	}
	return &Error{Kind: wire.Internal, Message: q.hidePaths(err.Error())}
}

// object is a data file of the archive.
type object struct{ topic, name string }

// bad tells of an object that could not be read.
func (q *run) bad(topic, object, why string) {
	if q.e.deps.Bad != nil {
		q.e.deps.Bad(q.outer, topic, object, why)
	}
}

// damaged gives the error that names the data file where the worker couldn't
// read one, nil for any other error.
func (q *run) damaged(e *Error) *Error {
	for link, o := range q.objects {
		if strings.Contains(e.Message, link) {
			why := strings.ReplaceAll(q.hidePaths(e.Message), link, "the file")
			q.bad(o.topic, o.name, why)
			return &Error{Kind: wire.Storage, Message: "reading " + o.name + " of topic " + o.topic + " in the archive: " + why}
		}
	}
	// DuckDB doesn't say which file it is where it can't decode one's metadata.
	if !q.mounted || e.Kind != wire.Storage || len(q.objects) == 0 {
		return nil
	}
	which := fmt.Sprintf("one of the %d files of topic ", len(q.objects))
	topics := map[string]bool{}
	for _, o := range q.objects {
		if len(q.objects) == 1 {
			which = o.name + " of topic "
			q.bad(o.topic, o.name, q.hidePaths(e.Message))
		}
		topics[o.topic] = true
	}
	which += strings.Join(slices.Sorted(maps.Keys(topics)), ", ")
	return &Error{Kind: wire.Storage, Message: "reading " + which + " in the archive: " + q.hidePaths(e.Message)}
}

// hidePaths takes the query's directory out of a message.
func (q *run) hidePaths(msg string) string {
	if q.dir == "" {
		return msg
	}
	return strings.NewReplacer(q.dir+"/"+filesDir+"/", "", q.dir+"/", "", q.dir, "").Replace(msg)
}
