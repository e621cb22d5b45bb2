package connector

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot"
	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
)

const broker = "b"

// openLog opens a hot log on a file system of a test.
func openLog(t *testing.T, fs vfs.FS) *hot.Store {
	t.Helper()
	s, err := hot.Open("log", hot.Options{FS: fs, Broker: broker, SegmentBytes: 1 << 20, MinFreeBytes: -1, FlushInterval: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openArchive(t *testing.T, b objstore.Bucket) *archive.Archive {
	t.Helper()
	a, err := archive.Open(t.Context(), b, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// oracle remembers what was acked, by queue.
type oracle struct {
	rng  *rand.Rand
	sent map[mq.Queue][]mq.Record
}

func newOracle(seed uint64) *oracle {
	return &oracle{rng: rand.New(rand.NewPCG(seed, 1)), sent: map[mq.Queue][]mq.Record{}}
}

// send appends n messages over some queues and notes them.
func (o *oracle) send(t *testing.T, log *hot.Store, n, topics, queues int) {
	t.Helper()
	for n > 0 {
		k := min(n, 1+o.rng.IntN(40))
		msgs := make([]*mq.Message, k)
		for i := range msgs {
			body := make([]byte, o.rng.IntN(900))
			for j := range body {
				body[j] = 'a' + byte(o.rng.IntN(4))
			}
			msgs[i] = &mq.Message{
				Topic: fmt.Sprintf("topic-%d", o.rng.IntN(topics)), QueueID: int32(o.rng.IntN(queues)), Body: body,
				Properties: mq.AppendProperty(mq.AppendProperty(nil, mq.PropTags, "tag"), mq.PropUniqKey, fmt.Sprintf("U%d", o.rng.Uint64())),
			}
		}
		o.append(t, log, msgs)
		n -= k
	}
}

func (o *oracle) append(t *testing.T, log *hot.Store, msgs []*mq.Message) {
	t.Helper()
	placed, err := log.Append(t.Context(), msgs)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range msgs {
		q := mq.Queue{Broker: broker, Topic: m.Topic, ID: m.QueueID}
		b, err := log.Read(t.Context(), q, placed[i].QueueOffset, mq.Limit{Messages: 1})
		if err != nil {
			t.Fatal(err)
		}
		o.sent[q] = append(o.sent[q], b.Body)
	}
}

// check holds the archive to what was sent: every message once, byte for byte,
// in order. Where all is false a tail may be missing.
func (o *oracle) check(t *testing.T, b objstore.Bucket, all bool) {
	t.Helper()
	a := openArchive(t, b)
	r := archive.NewReader(a, b, archive.ReaderOptions{})
	defer r.Close()
	for q, want := range o.sent {
		if mq.SystemTopic(q.Topic) {
			continue
		}
		got := readAll(t, r, q)
		if all && len(got) != len(want) || len(got) > len(want) {
			t.Errorf("%v: %d messages archived, %d sent", q, len(got), len(want))
			continue
		}
		for i, rec := range got {
			if !bytes.Equal(rec, want[i]) {
				t.Errorf("%v: offset %d differs", q, i)
				break
			}
		}
	}
	topics, err := a.Topics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range topics {
		if mq.SystemTopic(topic) {
			t.Errorf("system topic %s was archived", topic)
		}
	}
}

func readAll(t *testing.T, r mq.Reader, q mq.Queue) (out []mq.Record) {
	t.Helper()
	rng, err := r.Range(t.Context(), q)
	if err != nil {
		return nil
	}
	for at := rng.From; at < rng.To; {
		b, err := r.Read(t.Context(), q, at, mq.Limit{})
		if err != nil {
			t.Fatalf("read %v at %d: %v", q, at, err)
		}
		for rec := range mq.Records(b.Body) {
			out = append(out, rec)
		}
		at = b.Next
	}
	return out
}

// running is a connector under test.
type running struct {
	*Connector
	cancel context.CancelFunc
	ended  chan error
}

// start runs a connector with small, fast settings.
func start(t *testing.T, log *hot.Store, b objstore.Bucket, change func(*Config)) *running {
	t.Helper()
	cfg := Config{
		Broker: broker, Dir: t.TempDir(), FileBytes: 64 << 10, SmallBytes: 16 << 10,
		RollAge: 20 * time.Millisecond, RollAgeMax: 50 * time.Millisecond, FilesPerSecond: 100_000,
		MemoryBytes: 4 << 20, Encoders: 2, RetryMin: time.Millisecond, RetryMax: 20 * time.Millisecond,
	}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg, log, openArchive(t, b))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Connector: c, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- c.Run(ctx) }()
	t.Cleanup(r.stop)
	return r
}

func (r *running) stop() {
	r.cancel()
	<-r.done
}

// flushWait is how long a flush may take on a loaded machine.
const flushWait = 2 * time.Minute

func (r *running) mustFlush(t *testing.T) {
	t.Helper()
	if err := r.flushWithin(t, flushWait); err != nil {
		t.Fatalf("flush: %v; status %+v", err, r.Status())
	}
}

func (r *running) flushWithin(t *testing.T, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return r.Flush(ctx)
}

// drop lets everything go, archived or not.
var drop = hot.TrimPolicy{DropUnarchived: true, KeepBytes: 1}
