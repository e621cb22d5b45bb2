package hot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"varve/internal/mq"
)

// ledger knows what was sent and what was acked. Each topic has one sender, so
// the offset that a message will get is known before.
type ledger struct {
	mu    sync.Mutex
	acked map[mq.Queue]int64 // offsets below are acked
	inc   map[string]int     // incarnation of a topic whose beginning is acked
	mark  map[mq.Queue]int64 // highest archived mark asked for
	units int
}

func newLedger() *ledger {
	return &ledger{acked: make(map[mq.Queue]int64), inc: make(map[string]int), mark: make(map[mq.Queue]int64)}
}

func (l *ledger) clone() *ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := newLedger()
	for k, v := range l.acked {
		c.acked[k] = v
	}
	for k, v := range l.inc {
		c.inc[k] = v
	}
	return c
}

func testQueue(topic string, id int32) mq.Queue { return mq.Queue{Broker: "b", Topic: topic, ID: id} }

// sender appends units of messages that say what they are.
type sender struct {
	s     *Store
	l     *ledger
	rng   *rand.Rand
	topic string
	inc   int
	next  map[mq.Queue]int64
}

func newSender(s *Store, l *ledger, topic string, seed uint64) *sender {
	return &sender{s: s, l: l, topic: topic, rng: rand.New(rand.NewPCG(seed, 7)), next: make(map[mq.Queue]int64)}
}

func (w *sender) unit() (msgs []*mq.Message) {
	w.l.mu.Lock()
	w.l.units++
	unit := w.l.units
	w.l.mu.Unlock()
	parts := 1 + w.rng.IntN(3)*w.rng.IntN(2)
	tmp := make(map[mq.Queue]int64)
	for p := range parts {
		q := testQueue(w.topic, int32(w.rng.IntN(2)))
		off := w.next[q] + tmp[q]
		tmp[q]++
		size := w.rng.IntN(200)
		if w.rng.IntN(20) == 0 {
			size = 5000
		}
		msgs = append(msgs, &mq.Message{
			Topic: w.topic, QueueID: q.ID,
			Properties: mq.AppendProperty(nil, mq.PropUniqKey, fmt.Sprintf("u%d.%d", unit, p)),
			Body: []byte(fmt.Sprintf("%s/%d inc=%d off=%d unit=%d part=%d/%d %s",
				w.topic, q.ID, w.inc, off, unit, p, parts, strings.Repeat("z", size))),
		})
	}
	return msgs
}

func (w *sender) send(ctx context.Context) error {
	msgs := w.unit()
	placed, err := w.s.Append(ctx, msgs)
	if err != nil {
		return err
	}
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	for i, p := range placed {
		q := testQueue(w.topic, msgs[i].QueueID)
		if p.QueueOffset != w.next[q] {
			return fmt.Errorf("%v: placed at %d, want %d", q, p.QueueOffset, w.next[q])
		}
		w.next[q]++
		w.l.acked[q] = max(w.l.acked[q], w.next[q])
	}
	return nil
}

// parsed is what a test message says of itself.
type parsed struct {
	topic                  string
	id                     int32
	inc, unit, part, parts int
	off                    int64
}

func parseBody(b []byte) (p parsed, err error) {
	head, _, _ := bytes.Cut(b, []byte(" "))
	name, id, _ := strings.Cut(string(head), "/")
	p.topic = name
	if _, err := fmt.Sscan(id, &p.id); err != nil {
		return p, err
	}
	_, err = fmt.Sscanf(string(b[len(head)+1:]), "inc=%d off=%d unit=%d part=%d/%d", &p.inc, &p.off, &p.unit, &p.part, &p.parts)
	return p, err
}

// verify reads everything and holds it against the ledger. allAcked says that
// everything acked must be there.
func verify(s *Store, l *ledger, allAcked bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	type seen struct{ have, of int }
	units := make(map[int]seen)
	trimmed := make(map[int]bool)
	for _, q := range s.Queues() {
		r, err := s.Range(context.Background(), q)
		if err != nil {
			return err
		}
		inc := -1
		for at := r.From; at < r.To; {
			b, err := s.Read(context.Background(), q, at, mq.Limit{})
			if err != nil {
				return err
			}
			for rec := range mq.Records(b.Body) {
				p, err := parseBody(rec.Body())
				if err != nil {
					return fmt.Errorf("%v offset %d: %q: %w", q, rec.QueueOffset(), rec.Body(), err)
				}
				if p.topic != q.Topic || p.id != q.ID || p.off != rec.QueueOffset() {
					return fmt.Errorf("%v offset %d holds %+v", q, rec.QueueOffset(), p)
				}
				if inc < 0 {
					inc = p.inc
				}
				if p.inc != inc || p.inc < l.inc[q.Topic] {
					return fmt.Errorf("%v offset %d is of incarnation %d, want %d, at least %d", q, p.off, p.inc, inc, l.inc[q.Topic])
				}
				units[p.unit] = seen{units[p.unit].have + 1, p.parts}
				if r.From > 0 {
					trimmed[p.unit] = true
				}
				if found, err := s.FindPhysical(context.Background(), "b", rec.PhysicalOffset()); err != nil || !bytes.Equal(found, rec) {
					return fmt.Errorf("%v offset %d by position %d: %w", q, p.off, rec.PhysicalOffset(), err)
				}
				key, _ := mq.Property(rec.Properties(), mq.PropUniqKey)
				if k, err := s.FindKey(context.Background(), mq.KeyQuery{Topic: q.Topic, Key: string(key)}); err != nil || k.Count != 1 {
					return fmt.Errorf("%v offset %d by key %s: %d found, %w", q, p.off, key, k.Count, err)
				}
			}
			at = b.Next
		}
	}
	for unit, u := range units {
		if u.have != u.of && !trimmed[unit] {
			return fmt.Errorf("unit %d has %d of %d messages", unit, u.have, u.of)
		}
	}
	if !allAcked {
		return nil
	}
	for q, end := range l.acked {
		r, err := s.Range(context.Background(), q)
		if err != nil {
			return fmt.Errorf("acked up to %d: %w", end, err)
		}
		if r.To < end {
			return fmt.Errorf("%v ends at %d, acked up to %d", q, r.To, end)
		}
	}
	return nil
}

// crash is a file system as a crash left it, and what had been acked by then.
type crash struct {
	fs      *vfs.MemFS
	l       *ledger
	op      string
	percent int
}

// crashWorkload runs senders, checkpoints, trims and a topic's deletion on a
// store whose file system is cloned at (a share of) every write operation.
func crashWorkload(t *testing.T, flush FlushPolicy, seed uint64, share int, percents []int) (crashes []crash) {
	t.Helper()
	mem := vfs.NewCrashableMem()
	l := newLedger()
	var mu sync.Mutex
	n := 0
	rng := rand.New(rand.NewPCG(seed, 1))
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if n++; n%share != 0 {
			return nil
		}
		percent := percents[n/share%len(percents)]
		at := l.clone()
		crashes = append(crashes, crash{
			fs: mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}),
			l:  at, op: fmt.Sprintf("op %d (%d on %s)", n, op.Kind, op.Path), percent: percent,
		})
		return nil
	}))
	o := Options{
		FS: fs, Broker: "b", Flush: flush, SegmentBytes: 16 << 10, CheckpointBytes: 24 << 10,
		FlushInterval: time.Millisecond, MinFreeBytes: -1,
	}
	s, err := Open("/hot", o)
	if err != nil {
		t.Fatal(err)
	}
	runWorkload(t, s, l, seed)
	if err := verify(s, l, true); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	return crashes
}

func runWorkload(t *testing.T, s *Store, l *ledger, seed uint64) {
	t.Helper()
	var wg sync.WaitGroup
	for i, topic := range []string{"stay", "also", "temp"} {
		wg.Go(func() {
			w := newSender(s, l, topic, seed+uint64(i))
			for n := range 120 {
				if err := w.send(t.Context()); err != nil {
					t.Errorf("sending to %s: %v", topic, err)
					return
				}
				if topic == "temp" && n%40 == 39 {
					w.deleteTopic(t)
				}
			}
		})
	}
	wg.Go(func() {
		for range 8 {
			archiveAndTrim(t, s)
		}
	})
	wg.Wait()
}

func (w *sender) deleteTopic(t *testing.T) {
	t.Helper()
	// From here on a crash may or may not have the topic.
	w.l.mu.Lock()
	for q := range w.l.acked {
		if q.Topic == w.topic {
			delete(w.l.acked, q)
		}
	}
	w.l.mu.Unlock()
	if err := w.s.DeleteTopic(w.topic); err != nil {
		t.Error(err)
	}
	w.inc++
	clear(w.next)
	w.l.mu.Lock()
	w.l.inc[w.topic] = w.inc
	w.l.mu.Unlock()
}

// archiveAndTrim marks what is durable as archived and trims all it may.
func archiveAndTrim(t *testing.T, s *Store) {
	t.Helper()
	tail := s.Tail(s.Stats().FirstPhysical)
	defer tail.Close()
	marks := make(map[mq.Queue]int64)
	for range 4 {
		if err := tail.read(16 << 10); err != nil { // Next would wait at the end
			t.Error(err)
			return
		}
		for r := range mq.Records(tail.out) {
			marks[testQueue(string(r.Topic()), r.QueueID())] = r.QueueOffset() + 1
		}
	}
	delete(marks, testQueue("temp", 0)) // may be of the incarnation before
	delete(marks, testQueue("temp", 1))
	if err := s.SetArchived(marks, tail.at); err != nil {
		t.Error(err)
	}
	if _, err := s.Trim(t.Context(), TrimPolicy{}); err != nil {
		t.Error(err)
	}
}

// A power cut or a kill at every write: under FlushSync nothing acked is lost,
// under FlushAsync a kill loses nothing; a unit is whole or absent, and the
// store goes on from there.
func TestCrash(t *testing.T) {
	share := 5
	if testing.Short() {
		share = 29
	}
	for name, flush := range map[string]FlushPolicy{"async": FlushAsync, "sync": FlushSync} {
		t.Run(name, func(t *testing.T) {
			crashes := crashWorkload(t, flush, 42, share, []int{0, 100, 50, 0, 80})
			t.Logf("%d crashes", len(crashes))
			for _, c := range crashes {
				if err := afterCrash(t, c, flush == FlushSync || c.percent == 100); err != nil {
					t.Fatalf("crash at %s, %d %% of the unsynced data kept: %v", c.op, c.percent, err)
				}
			}
		})
	}
}

// afterCrash opens the store, checks it, appends to it, and does that again
// after a kill.
func afterCrash(t *testing.T, c crash, allAcked bool) error {
	t.Helper()
	o := Options{FS: c.fs, Broker: "b", Flush: FlushSync, SegmentBytes: 16 << 10, MinFreeBytes: -1}
	s, err := Open("/hot", o)
	if err != nil {
		return fmt.Errorf("opening: %w", err)
	}
	if err := verify(s, c.l, allAcked); err != nil {
		return errors.Join(err, s.Close())
	}
	before := s.Queues()
	w := newSender(s, newLedger(), "later", 1)
	w.l.units = 1 << 20
	for range 5 {
		if err := w.send(t.Context()); err != nil {
			return errors.Join(fmt.Errorf("appending: %w", err), s.Close())
		}
	}
	again := c.fs.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Close(); err != nil {
		return fmt.Errorf("closing: %w", err)
	}
	o.FS = again
	if s, err = Open("/hot", o); err != nil {
		return fmt.Errorf("opening again: %w", err)
	}
	for q, end := range w.l.acked {
		c.l.acked[q] = end
	}
	if err := verify(s, c.l, allAcked); err != nil {
		return errors.Join(fmt.Errorf("after the second crash: %w", err), s.Close())
	}
	for _, q := range before {
		if _, err := s.Range(t.Context(), q); err != nil {
			return errors.Join(err, s.Close())
		}
	}
	return s.Close()
}

// A disk that lost what it had synced, after the archive took it: offsets and
// positions of the archive are not given out again.
func TestDiskLostArchived(t *testing.T) {
	fs := vfs.NewMem()
	o := Options{FS: fs, SegmentBytes: 16 << 10}
	s := mustOpen(t, "/hot", o)
	l := newLedger()
	fill(t, newSender(s, l, "t", 1), 50)
	q := testQueue("t", 0)
	r, err := s.Range(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	// What SetArchived refuses to do, a lost log does.
	mark, physical := r.To+700, s.Confirmed()+100_000
	u := s.db.Update()
	u.Mark(s.find(q).uid, mark)
	u.Archived(physical)
	if err := u.Commit(); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	for range 2 {
		s = mustOpen(t, "/hot", o)
		if got, err := s.Range(t.Context(), q); err != nil || got.From != mark {
			t.Fatalf("range %v, %v, want it to begin at %d", got, err, mark)
		}
		p, err := s.Append(t.Context(), []*mq.Message{{Topic: "t", Body: []byte("after")}})
		if err != nil || p[0].QueueOffset < mark || p[0].PhysicalOffset < physical {
			t.Fatalf("placed at %+v, %v, archived up to %d and %d", p, err, mark, physical)
		}
		b, err := s.Read(t.Context(), q, mark, mq.Limit{})
		if err != nil || b.Next != p[0].QueueOffset+1 {
			t.Fatalf("read up to %d, %v", b.Next, err)
		}
		if b, err := s.Read(t.Context(), testQueue("t", 1), 0, mq.Limit{}); err != nil || b.Count == 0 {
			t.Fatalf("the other queue: %d, %v", b.Count, err)
		}
		tail := s.Tail(0)
		n := 0
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := tail.read(1 << 20); err != nil {
			t.Fatal(err)
		}
		for range mq.Records(tail.out) {
			n++
		}
		if n < 51 {
			t.Errorf("the tail gives %d records over the gap", n)
		}
		tail.Close()
		closed(t, s)
	}
}
