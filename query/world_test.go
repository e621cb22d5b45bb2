package query

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/typed"
	"varve/query/worker"
)

// workerEnv makes the test's own binary a worker.
const workerEnv = "VARVE_TEST_WORKER"

func TestMain(m *testing.M) {
	switch os.Getenv(workerEnv) {
	case "1":
		os.Exit(worker.Main(os.Stdin, os.Stdout))
	case "crash":
		// Dies in the middle of its query, as a fault in DuckDB would.
		fmt.Println(`{"analysis":{}}`)
		die()
	case "crash later":
		fmt.Println(`{"analysis":{}}`)
		fmt.Println(`{"columns":[{"name":"a","type":"INTEGER"}]}`)
		fmt.Println(`[1]`)
		die()
	case "escape":
		tryToEscape()
		os.Exit(0)
	case "hang":
		select {}
	case "garbage":
		fmt.Println("what?")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func die() {
	p, _ := os.FindProcess(os.Getpid())
	p.Kill()
	select {}
}

// tryToEscape does what a query must not.
func tryToEscape() {
	report := func(what string, err error) { fmt.Printf("%s: %t\n", what, err == nil) }
	report("read", func() error { _, err := os.ReadFile("file"); return err }())
	report("spill", os.WriteFile(filepath.Join(spillDir, "x"), []byte("x"), 0o600))
	report("create", os.WriteFile("new", []byte("x"), 0o600))
	report("overwrite", os.WriteFile("file", []byte("x"), 0o600))
	report("truncate", os.Truncate("file", 0))
	report("remove", os.Remove("file"))
	report("mkdir", os.Mkdir("dir", 0o700))
	report("move", os.Rename("file", filepath.Join(spillDir, "file")))
	report("link", os.Link("file", filepath.Join(spillDir, "file")))
	report("connect", func() error {
		c, err := net.Dial("tcp", os.Getenv("ADDRESS"))
		if err == nil {
			c.Close()
		}
		return err
	}())
	done := make(chan error)
	for range 20 { // on other threads too
		go func() { done <- os.WriteFile("new", []byte("x"), 0o600) }()
		if <-done == nil {
			fmt.Println("a thread is free")
		}
	}
}

// world is a hot log and an archive in memory and in a directory.
type world struct {
	t   testing.TB
	dir string

	mu     sync.Mutex
	logs   map[mq.Queue]*testLog
	files  map[string][]archive.DataFile // by topic
	reborn map[string]bool               // topics of which files has what is of before their deletion
	ending map[string]int64
	onRead func()        // called before each read of the hot log
	layout *typed.Layout // of every topic
}

type testLog struct {
	from int64 // of the hot log
	recs []mq.Record
	next int64 // archived
	mark int64 // archived once, where that is more
}

// epoch is the store time of every queue's offset 0; each offset is a second
// later.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newWorld(t testing.TB) *world {
	return &world{t: t, dir: t.TempDir(), logs: map[mq.Queue]*testLog{}, files: map[string][]archive.DataFile{}}
}

func (w *world) engine(t testing.TB, change func(*Config)) *Engine {
	t.Helper()
	cfg := Config{TempDir: filepath.Join(t.TempDir(), "tmp"), Command: []string{os.Args[0]}, Env: []string{workerEnv + "=1"}}
	if change != nil {
		change(&cfg)
	}
	e, err := New(cfg, Deps{Catalog: w, Files: PathFiles{w.path}, Hot: w, Schemas: w})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(cfg.TempDir); len(left) > 0 {
			t.Errorf("%d directories of queries are left", len(left))
		}
	})
	return e
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// send appends messages; the queue's offsets and store times follow.
func (w *world) send(q mq.Queue, msgs ...mq.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.logs[q]
	if l == nil {
		l = &testLog{}
		w.logs[q] = l
	}
	for _, m := range msgs {
		m.Topic, m.QueueID, m.QueueOffset = q.Topic, q.ID, int64(len(l.recs))
		m.PhysicalOffset = m.QueueOffset*1000 + int64(q.ID)
		if m.StoreTimeMillis == 0 {
			m.StoreTimeMillis = epoch.Add(time.Duration(m.QueueOffset) * time.Second).UnixMilli()
		}
		m.BornTimeMillis = m.StoreTimeMillis - 5
		m.BornHost = netip.MustParseAddrPort("10.0.0.7:5000")
		m.StoreHost = netip.MustParseAddrPort("10.0.0.1:10911")
		if err := mq.CheckMessage(&m); err != nil {
			w.t.Fatal(err)
		}
		l.recs = append(l.recs, mq.AppendRecord(nil, &m))
	}
}

// archive writes the queue's next messages up to an offset as one file.
func (w *world) archive(q mq.Queue, to int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.logs[q]
	name := fmt.Sprintf("%s-%d-%d.parquet", q.Topic, q.ID, l.next)
	f, err := os.Create(w.path(name))
	if err != nil {
		w.t.Fatal(err)
	}
	fw := archive.NewFileWriter(f, q, archive.FileOptions{Typed: w.layout})
	for _, r := range l.recs[l.next:to] {
		if err := fw.Add(r); err != nil {
			w.t.Fatal(err)
		}
	}
	d, err := fw.Close()
	if err != nil {
		w.t.Fatal(err)
	}
	f.Close()
	d.Name = name
	w.files[q.Topic] = append(w.files[q.Topic], d)
	l.next = to
}

func (w *world) trim(q mq.Queue, to int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.logs[q].from = to
}

// Topics and State implement Catalog.
func (w *world) Topics(context.Context) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for t := range w.files {
		out = append(out, t)
	}
	return out, nil
}

func (w *world) State(_ context.Context, topic string, _ bool) (State, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reborn[topic] {
		return State{}, fmt.Errorf("the table of %s, which was deleted, is read", topic)
	}
	if w.files[topic] == nil {
		return State{}, fmt.Errorf("%s: %w", topic, archive.ErrNoTable)
	}
	st := State{Next: map[mq.Queue]int64{}, Files: slices.Clone(w.files[topic])}
	for q, l := range w.logs {
		if q.Topic == topic && l.next > 0 {
			st.Next[q] = l.next
		}
	}
	return st, nil
}

// Layout implements Schemas.
func (w *world) Layout(string) *typed.Layout { return w.layout }

// Archived, Queues, Range, Read and OffsetAt implement Hot.
func (w *world) Queues() []mq.Queue {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []mq.Queue
	for q := range w.logs {
		out = append(out, q)
	}
	return out
}

func (w *world) Reborn(topic string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reborn[topic]
}

func (w *world) Ending(topic string) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ending[topic]
}

func (w *world) Archived(q mq.Queue) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return max(w.logs[q].next, w.logs[q].mark)
}

func (w *world) log(q mq.Queue) (*testLog, error) {
	l := w.logs[q]
	if l == nil {
		return nil, fmt.Errorf("%s: %w", q, mq.ErrNoQueue)
	}
	return l, nil
}

func (w *world) Range(_ context.Context, q mq.Queue) (mq.Range, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l, err := w.log(q)
	if err != nil {
		return mq.Range{}, err
	}
	return mq.Range{From: l.from, To: int64(len(l.recs))}, nil
}

func (w *world) Read(_ context.Context, q mq.Queue, at int64, lim mq.Limit) (mq.Batch, error) {
	w.mu.Lock()
	onRead := w.onRead
	w.mu.Unlock()
	if onRead != nil {
		onRead()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	l, err := w.log(q)
	if err != nil {
		return mq.Batch{}, err
	}
	if at < l.from {
		return mq.Batch{}, fmt.Errorf("%s at %d: %w", q, at, mq.ErrTooLow)
	}
	if at > int64(len(l.recs)) {
		return mq.Batch{}, fmt.Errorf("%s at %d: %w", q, at, mq.ErrTooHigh)
	}
	b := mq.Batch{Next: at}
	for _, r := range l.recs[at:min(int64(len(l.recs)), at+7)] {
		if lim.Bytes > 0 && len(b.Body)+len(r) > lim.Bytes && b.Count > 0 {
			break
		}
		b.Body = append(b.Body, r...)
		b.Count++
		b.Next++
	}
	return b, nil
}

func (w *world) OffsetAt(_ context.Context, q mq.Queue, millis int64, bound mq.Bound) (int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l, err := w.log(q)
	if err != nil {
		return 0, err
	}
	if bound == mq.Lower {
		for at := l.from; at < int64(len(l.recs)); at++ {
			if l.recs[at].StoreTimeMillis() >= millis {
				return at, nil
			}
		}
		return int64(len(l.recs)), nil
	}
	for at := int64(len(l.recs)) - 1; at > l.from; at-- {
		if l.recs[at].StoreTimeMillis() <= millis {
			return at, nil
		}
	}
	return l.from, nil
}

// message makes a message with a body and properties.
func message(body string, props ...string) mq.Message {
	m := mq.Message{Body: []byte(body)}
	for i := 0; i+1 < len(props); i += 2 {
		m.Properties = mq.AppendProperty(m.Properties, props[i], props[i+1])
	}
	return m
}

// workerCommand starts the test's own binary as a worker.
func (w *world) workerCommand() []string { return []string{os.Args[0]} }

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
