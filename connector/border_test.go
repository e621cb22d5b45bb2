package connector

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/history"
	"varve/hot"
	"varve/internal/mq"
	"varve/internal/objstore/mem"
	"varve/internal/tier"
)

// TestReadersWhileTheBorderMoves sends, archives and trims all at once, while
// readers go over the whole range from its start again and again: each sees
// every offset once and byte for byte the same, from whichever side.
func TestReadersWhileTheBorderMoves(t *testing.T) {
	log, bucket := openLog(t, vfs.NewMem()), mem.New()
	defer log.Close()
	c := start(t, log, bucket, nil)
	node, err := history.New(history.Config{Dir: t.TempDir(), Poll: -1}, c.archive)
	if err != nil {
		t.Fatal(err)
	}
	r := tier.NewReader(log, node, tier.Options{Marks: log.Marks})
	const queues, rounds = 2, 40
	var mu sync.Mutex
	sent := map[mq.Queue][]mq.Record{}
	var wg sync.WaitGroup
	var done atomic.Bool
	for i := range int32(queues) {
		q := mq.Queue{Broker: broker, Topic: "t", ID: i}
		wg.Go(func() {
			for !done.Load() {
				readWhole(t, r, q, func(at int64) mq.Record {
					mu.Lock()
					defer mu.Unlock()
					if at < int64(len(sent[q])) {
						return sent[q][at]
					}
					return nil
				})
			}
		})
	}
	body := bytes.Repeat([]byte("layer"), 400)
	for range rounds {
		var msgs []*mq.Message
		for i := range 100 {
			msgs = append(msgs, &mq.Message{Topic: "t", QueueID: int32(i % queues), Body: body[:i*20]})
		}
		placed, err := log.Append(t.Context(), msgs)
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		for i, m := range msgs {
			q := mq.Queue{Broker: broker, Topic: "t", ID: m.QueueID}
			b, err := r.Read(t.Context(), q, placed[i].QueueOffset, mq.Limit{Messages: 1})
			if err != nil {
				t.Fatal(err)
			}
			sent[q] = append(sent[q], b.Body)
		}
		mu.Unlock()
		c.mustFlush(t)
		if err := log.Roll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := log.Trim(t.Context(), hot.TrimPolicy{KeepBytes: 1}); err != nil {
			t.Fatal(err)
		}
	}
	done.Store(true)
	wg.Wait()
	for i := range int32(queues) {
		q := mq.Queue{Broker: broker, Topic: "t", ID: i}
		if h, err := log.Range(t.Context(), q); err != nil || h.From == 0 {
			t.Errorf("the hot log still holds all of %v: %v, %v", q, h, err)
		}
		if w, err := r.Range(t.Context(), q); err != nil || w.From != 0 || w.To != rounds*100/queues {
			t.Errorf("range of %v: %v, %v", q, w, err)
		}
	}
}

func readWhole(t *testing.T, r mq.Reader, q mq.Queue, want func(at int64) mq.Record) {
	ctx := context.Background()
	w, err := r.Range(ctx, q)
	if err != nil {
		return // nothing was sent yet
	}
	for at := w.From; at < w.To; {
		b, err := r.Read(ctx, q, at, mq.Limit{Messages: 37})
		if err != nil {
			t.Errorf("read %v at %d of %v: %v", q, at, w, err)
			return
		}
		for rec := range mq.Records(b.Body) {
			if rec.QueueOffset() != at {
				t.Errorf("%v: offset %d where %d was due", q, rec.QueueOffset(), at)
				return
			}
			if x := want(at); x != nil && !bytes.Equal(rec, x) {
				t.Errorf("%v: offset %d differs", q, at)
			}
			at++
		}
		if b.Next != at {
			t.Errorf("%v: next %d after %d", q, b.Next, at)
			return
		}
	}
}
