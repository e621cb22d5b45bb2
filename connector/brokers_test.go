package connector

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

	"varve/hot"
	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
)

// TestManyBrokersShareTopics has the connectors of several broker groups, each
// with its own log and its own faults of the bucket, archive the same topics at
// once, and every one is killed and started again in between. Each message is
// there once, byte for byte.
func TestManyBrokersShareTopics(t *testing.T) {
	const brokers, rounds, each, topics = 4, 6, 150, 2
	inner := mem.New()
	type member struct {
		name string
		log  *hot.Store
		sent map[mq.Queue][][]byte
	}
	members := make([]*member, brokers)
	var wg sync.WaitGroup
	for i := range members {
		m := &member{name: fmt.Sprint("broker-", i), sent: map[mq.Queue][][]byte{}}
		var err error
		m.log, err = hot.Open("log", hot.Options{FS: vfs.NewMem(), Broker: m.name, SegmentBytes: 1 << 20, MinFreeBytes: -1, FlushInterval: 10 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		defer m.log.Close()
		members[i] = m
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 5))
			for range rounds {
				b := objtest.NewFaulty(inner)
				r := start(t, m.log, b, func(c *Config) { c.Broker = m.name })
				for n := range each {
					q := mq.Queue{Broker: m.name, Topic: fmt.Sprint("topic-", n%topics), ID: int32(rng.IntN(3))}
					body := fmt.Appendf(nil, "%s %d %d", m.name, n, rng.Uint64())
					if _, err := m.log.Append(context.Background(), []*mq.Message{{Topic: q.Topic, QueueID: q.ID, Body: body}}); err != nil {
						t.Error(err)
						return
					}
					m.sent[q] = append(m.sent[q], body)
					if n%10 == 0 {
						b.Add(objtest.Fault{How: objtest.How(rng.IntN(int(objtest.Lie))), Skip: rng.IntN(20), Times: 1})
					}
				}
				b.Add(objtest.Fault{How: objtest.After, Skip: rng.IntN(30), Times: 3})
				r.stop() // in the middle of whatever it does
			}
			last := start(t, m.log, inner, func(c *Config) { c.Broker = m.name })
			if err := last.flushWithin(t, flushWait); err != nil {
				t.Errorf("%s: flush: %v; status %+v", m.name, err, last.Status())
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	reader := archive.NewReader(openArchive(t, inner), inner, archive.ReaderOptions{})
	defer reader.Close()
	for _, m := range members {
		for q, want := range m.sent {
			got := readAll(t, reader, q)
			if len(got) != len(want) {
				t.Errorf("%v: %d messages archived, %d sent", q, len(got), len(want))
				continue
			}
			for i, rec := range got {
				if !bytes.Equal(rec.Body(), want[i]) {
					t.Errorf("%v: offset %d is another message", q, i)
					break
				}
			}
		}
	}
}

// TestClaimedElsewhereIsFenced has a connector whose broker group is restored
// elsewhere meanwhile: it commits nothing more, whether to a table that it
// knows or to a new one, and says so.
func TestClaimedElsewhereIsFenced(t *testing.T) {
	for _, topic := range []string{"known", "new"} {
		fs := vfs.NewMem()
		log := openLog(t, fs)
		defer log.Close()
		b := mem.New()
		other := openArchive(t, b)
		r := start(t, log, b, func(c *Config) {
			c.Claim = func(ctx context.Context) error { return other.CheckClaim(ctx, broker, "old", 1) }
		})
		if err := other.Claim(t.Context(), broker, archive.Claim{Generation: 1, Writer: "old"}); err != nil {
			t.Fatal(err)
		}
		o := newOracle(3)
		o.append(t, log, []*mq.Message{{Topic: "known", Body: []byte("before")}})
		r.mustFlush(t)

		if err := other.Claim(t.Context(), broker, archive.Claim{Generation: 2, Writer: "new"}); err != nil {
			t.Fatal(err)
		}
		table, err := other.Table(t.Context(), "known")
		if err != nil {
			t.Fatal(err)
		}
		if err := table.Fence(t.Context(), broker, table.Snapshot().Epoch[broker]+1); err != nil {
			t.Fatal(err)
		}
		o.append(t, log, []*mq.Message{{Topic: topic, Body: []byte("after")}})
		if err := <-r.ended; !errors.Is(err, archive.ErrFenced) {
			t.Errorf("%s: %v", topic, err)
		}
		if st := r.Status(); st.State != Fenced || st.Error == "" {
			t.Errorf("%s: %+v", topic, st)
		}
		if err := r.Flush(t.Context()); !errors.Is(err, ErrStopped) || !strings.Contains(err.Error(), "fenced by a newer writer") {
			t.Errorf("%s: a flush says %v", topic, err)
		}
		for _, name := range []string{"known", "new"} {
			table, err := openArchive(t, b).Table(t.Context(), name)
			if errors.Is(err, archive.ErrNoTable) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			want := int64(0)
			if name == "known" {
				want = 1
			}
			if got := table.Snapshot().Next[mq.Queue{Broker: broker, Topic: name}]; got != want {
				t.Errorf("%s: the fenced connector archived %s up to %d", topic, name, got)
			}
		}
	}
}
