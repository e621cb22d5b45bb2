package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"varve/internal/meta"
	"varve/internal/mq"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// bus is all the queues there are, in memory.
type bus struct {
	mu      sync.Mutex
	logs    map[mq.Queue]*busLog
	flushed int // calls of Flush
}

type busLog struct {
	from    int64
	recs    []mq.Record
	durable int // records that survive a power cut
}

var errCrash = errors.New("crashed")

func newBus() *bus { return &bus{logs: map[mq.Queue]*busLog{}} }

func (b *bus) log(q mq.Queue) *busLog {
	l := b.logs[q]
	if l == nil {
		l = &busLog{}
		b.logs[q] = l
	}
	return l
}

// send appends a message with properties given as pairs.
func (b *bus) send(q mq.Queue, millis int64, body string, props ...string) {
	m := mq.Message{Body: []byte(body), StoreTimeMillis: millis}
	for i := 0; i+1 < len(props); i += 2 {
		m.Properties = mq.AppendProperty(m.Properties, props[i], props[i+1])
	}
	m.BornTimeMillis = millis - 7
	m.BornHost = netip.MustParseAddrPort("10.1.1.1:1234")
	m.StoreHost = netip.MustParseAddrPort("10.0.0.1:10911")
	b.mu.Lock()
	defer b.mu.Unlock()
	b.append(q, &m)
}

func (b *bus) append(q mq.Queue, m *mq.Message) int64 {
	l := b.log(q)
	c := *m
	c.Topic, c.QueueID, c.QueueOffset, c.PhysicalOffset = q.Topic, q.ID, int64(len(l.recs)), int64(len(l.recs))*100
	if err := mq.CheckMessage(&c); err != nil {
		panic(err)
	}
	if c.StoreTimeMillis == 0 {
		c.StoreTimeMillis = 1
	}
	l.recs = append(l.recs, mq.AppendRecord(nil, &c))
	return c.QueueOffset
}

// remove forgets a topic's messages, its queues too unless it is made again.
func (b *bus) remove(topic string, again bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for q := range b.logs {
		if q.Topic == topic {
			delete(b.logs, q)
			if again {
				b.log(q)
			}
		}
	}
}

func (b *bus) trim(q mq.Queue, to int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log(q).from = to
}

// powerCut drops what was not flushed.
func (b *bus) powerCut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for q, l := range b.logs {
		if strings.HasPrefix(q.Topic, "dest") {
			l.recs = l.recs[:l.durable]
		}
	}
}

func (b *bus) messages(t testing.TB, q mq.Queue) []mq.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []mq.Message
	for _, r := range b.log(q).recs {
		m, err := r.Decode()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

// life is the bus as one life of a service sees it: a fault function is asked
// before and after each effect, and once it crashes nothing works any more.
type life struct {
	*bus
	jobs  Jobs
	fault func(point string) error // may be nil

	mu   sync.Mutex
	dead bool
}

func (l *life) at(point string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return errCrash
	}
	if l.fault == nil {
		return nil
	}
	err := l.fault(point)
	if errors.Is(err, errCrash) {
		l.dead = true
	}
	return err
}

func (l *life) crashed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

func (l *life) Queues(_ context.Context, topic string, count ...int) ([]mq.Queue, error) {
	l.bus.mu.Lock()
	defer l.bus.mu.Unlock()
	var out []mq.Queue
	for q := range l.logs {
		if q.Topic == topic {
			out = append(out, q)
		}
	}
	if len(out) == 0 && len(count) > 0 {
		for i := range count[0] {
			q := mq.Queue{Broker: "a", Topic: topic, ID: int32(i)}
			l.log(q)
			out = append(out, q)
		}
	}
	return out, l.at("queues")
}

func (l *life) Range(_ context.Context, q mq.Queue) (mq.Range, error) {
	l.bus.mu.Lock()
	defer l.bus.mu.Unlock()
	log := l.logs[q]
	if log == nil {
		return mq.Range{}, fmt.Errorf("%s: %w", q, mq.ErrNoQueue)
	}
	return mq.Range{From: log.from, To: int64(len(log.recs))}, nil
}

func (l *life) Read(ctx context.Context, q mq.Queue, at int64, lim mq.Limit) (mq.Batch, error) {
	if err := l.at("read"); err != nil {
		return mq.Batch{}, err
	}
	l.bus.mu.Lock()
	defer l.bus.mu.Unlock()
	log := l.logs[q]
	if log == nil {
		return mq.Batch{}, fmt.Errorf("%s: %w", q, mq.ErrNoQueue)
	}
	if at < log.from {
		return mq.Batch{}, fmt.Errorf("%s at %d: %w", q, at, mq.ErrTooLow)
	}
	b := mq.Batch{Next: at}
	for scanned := 0; b.Next < int64(len(log.recs)) && (lim.Scan == 0 || scanned < lim.Scan); scanned++ {
		r := log.recs[b.Next]
		if b.Count > 0 && (lim.Bytes > 0 && len(b.Body)+len(r) > lim.Bytes || lim.Messages > 0 && b.Count >= lim.Messages) {
			break
		}
		b.Next++
		tag, _ := mq.Property(r.Properties(), mq.PropTags)
		if lim.Filter != nil && (!lim.Filter.MatchTag(mq.TagHash(string(tag))) || !lim.Filter.MatchRecord(r)) {
			continue
		}
		b.Body = append(b.Body, r...)
		b.Count++
	}
	return b, ctx.Err()
}

func (l *life) OffsetAt(_ context.Context, q mq.Queue, millis int64, _ mq.Bound) (int64, error) {
	l.bus.mu.Lock()
	defer l.bus.mu.Unlock()
	log := l.logs[q]
	for i := log.from; i < int64(len(log.recs)); i++ {
		if log.recs[i].StoreTimeMillis() >= millis {
			return i, nil
		}
	}
	return int64(len(log.recs)), nil
}

func (l *life) Publish(_ context.Context, q mq.Queue, msgs []*mq.Message) (int64, error) {
	if err := l.at("publish"); err != nil {
		return 0, err
	}
	l.bus.mu.Lock()
	if l.logs[q] == nil {
		l.bus.mu.Unlock()
		return 0, fmt.Errorf("%w: %s", ErrGone, q)
	}
	first := int64(len(l.log(q).recs))
	for _, m := range msgs {
		l.append(q, m)
	}
	l.bus.mu.Unlock()
	return first, l.at("published")
}

func (l *life) Flush(context.Context) error {
	if err := l.at("flush"); err != nil {
		return err
	}
	l.bus.mu.Lock()
	for _, log := range l.logs {
		log.durable = len(log.recs)
	}
	l.flushed++
	l.bus.mu.Unlock()
	return l.at("flushed")
}

func (l *life) Put(key string, v any) error {
	if err := l.at("put"); err != nil {
		return err
	}
	if err := l.jobs.Put(key, v); err != nil {
		return err
	}
	return l.at("put done")
}

func (l *life) Delete(key string) error { return l.jobs.Delete(key) }
func (l *life) Scan(prefix string, fn func(string, []byte) error) error {
	return l.jobs.Scan(prefix, fn)
}

// source and publisher give the two Queues methods their own types.
type source struct{ *life }

func (s source) Queues(ctx context.Context, topic string) ([]mq.Queue, error) {
	return s.life.Queues(ctx, topic)
}

type publisher struct{ *life }

func (p publisher) Queues(ctx context.Context, topic string, count int) ([]mq.Queue, error) {
	if err := p.life.at("destination"); err != nil {
		return nil, err
	}
	return p.life.Queues(ctx, topic, count)
}

func newJobs(t testing.TB) Jobs {
	st, err := meta.Open("meta", vfs.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st.Table("replay")
}

// start makes a service over the bus and runs it until stop is called.
func (l *life) start(t testing.TB, cfg Config) (s *Service, stop func()) {
	s, err := New(cfg, source{l}, l, publisher{l})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return s, stop
}

// replayed lists what a job wrote, by destination and source queue.
func (b *bus) replayed(t testing.TB, dest, job string) map[string][]string {
	out := map[string][]string{}
	b.mu.Lock()
	var queues []mq.Queue
	for q := range b.logs {
		if q.Topic == dest {
			queues = append(queues, q)
		}
	}
	b.mu.Unlock()
	slices.SortFunc(queues, func(x, y mq.Queue) int { return int(x.ID - y.ID) })
	for _, q := range queues {
		for _, m := range b.messages(t, q) {
			if m.Property(PropJob) == job {
				key := fmt.Sprintf("%s -> %d", m.Property(PropQueue), q.ID)
				out[key] = append(out[key], m.Property(PropOffset))
			}
		}
	}
	return out
}

// memJobs is a table in memory, for tests whose time is not real.
type memJobs struct {
	mu sync.Mutex
	m  map[string][]byte
}

func newMemJobs() *memJobs { return &memJobs{m: map[string][]byte{}} }

func (j *memJobs) Put(key string, v any) error {
	b, err := json.Marshal(v)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.m[key] = b
	return err
}

func (j *memJobs) Delete(key string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.m, key)
	return nil
}

func (j *memJobs) Scan(prefix string, fn func(string, []byte) error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for k, v := range j.m {
		if err := fn(k, v); err != nil {
			return err
		}
	}
	return nil
}
