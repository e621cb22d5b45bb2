package broker

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/broker/offset"
	"varve/broker/topic"
	"varve/internal/meta"
	"varve/internal/mq"
)

// TestManyTopicsStartFast opens a broker with 10,000 topics, 100,000 queues
// with progress and 1,000 groups, and looks at what it keeps running.
func TestManyTopicsStartFast(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 100,000 offsets")
	}
	const topics, queues = 10_000, 10
	fs := vfs.NewMem()
	fill(t, fs, topics, queues)
	start := time.Now()
	r := newRig(t, fs, nil)
	defer r.stop()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("start took %v", took)
	}
	if n := r.Stats().Topics; n != topics+1 {
		t.Errorf("%d topics, want %d and the one that others inherit from", n, topics)
	}
	if off, err := r.QueryOffset(t.Context(), "g7", "t7", 3, false); off != 0 || err != nil { // the log has no message of it
		t.Errorf("offset %d, error %v", off, err)
	}
	before := runtime.NumGoroutine()
	for i := range 2000 {
		req := inline(fmt.Sprint("t", i), 1, 0)
		req.Suspend = time.Minute
		r.pullAsync(req)
	}
	if n := r.Stats().HeldPulls; n != 2000 {
		t.Errorf("%d pulls are held, want 2000", n)
	}
	if n := runtime.NumGoroutine() - before; n > 10 {
		t.Errorf("2000 held pulls run %d goroutines", n)
	}
}

// fill writes topics and progress without a broker, in large batches.
func fill(t *testing.T, fs vfs.FS, topics, queues int) {
	t.Helper()
	store, err := meta.Open("meta", fs)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]any{}
	for i := range topics {
		name := fmt.Sprint("t", i)
		all[name] = Topic{Name: name, ReadQueues: int32(queues), WriteQueues: int32(queues), Perm: topic.PermRead | topic.PermWrite}
	}
	if err := store.Table("topic").PutBatch(all, false); err != nil {
		t.Fatal(err)
	}
	offsets, err := offset.Load(store)
	if err != nil {
		t.Fatal(err)
	}
	for i := range topics {
		for q := range queues {
			offsets.Commit(fmt.Sprint("g", i%1000), fmt.Sprint("t", i), int32(q), int64(q))
		}
	}
	if err := offsets.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestEverythingAtOnce runs producers, consumers that hold their pulls, commits,
// retries, heartbeats and settings against each other; every consumer must see
// every message of its queue once, in order.
func TestEverythingAtOnce(t *testing.T) {
	const queues, each = 4, 300
	r := newRig(t, vfs.NewMem(), func(c *Config, _ *Deps) { c.DelayLevels = "1s" })
	defer r.stop()
	if err := r.PutTopic(Topic{Name: "orders", ReadQueues: queues, WriteQueues: queues, Perm: 6}); err != nil {
		t.Fatal(err)
	}
	c := newClient()
	r.join(c, "c", "pay", "orders", "*")
	var work, noise sync.WaitGroup
	var over atomic.Bool
	for q := range int32(queues) {
		work.Go(func() {
			for i := range each {
				if _, err := r.trySend(&SendRequest{Message: message("orders", q, fmt.Sprint(i))}); err != nil {
					t.Error(err)
				}
			}
		})
		work.Go(func() { consume(t, r, q, each) })
	}
	noise.Go(func() {
		for i := 0; !over.Load(); i++ {
			other := newClient()
			r.join(other, fmt.Sprint("other", i), "pay", "orders", "*")
			<-other.told
			r.Disconnect(other)
			drain(c.told)
		}
	})
	noise.Go(func() {
		for i := 0; !over.Load(); i++ {
			name := fmt.Sprint("made", i%8)
			if err := r.PutTopic(Topic{Name: name, ReadQueues: 1, WriteQueues: 1, Perm: 6}); err != nil {
				t.Error(err)
			}
			if err := r.DeleteTopic(t.Context(), name); err != nil {
				t.Error(err)
			}
			r.Stats()
		}
	})
	work.Wait()
	over.Store(true)
	noise.Wait()
	deadline := time.Now().Add(20 * time.Second)
	for r.timers.Pending() > 0 && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	if n := len(r.all("%RETRY%pay", 0)); n != queues*each/10 {
		t.Errorf("%d messages came back, want %d", n, queues*each/10)
	}
}

func drain(c <-chan string) {
	for {
		select {
		case <-c:
		default:
			return
		}
	}
}

// consume pulls a queue to its end and sends every tenth message back.
func consume(t *testing.T, r *rig, q int32, n int) {
	for at := int64(0); at < int64(n); {
		req := PullRequest{Group: "pay", Topic: "orders", QueueID: q, Offset: at, MaxMessages: 7, Suspend: 20 * time.Second, CommitOffset: at}
		p := <-r.pullAsync(req)
		if p.err != nil || p.Status != PullFound {
			t.Errorf("queue %d at %d: %v", q, at, p)
			return
		}
		for rec := range mq.Records(p.Batch.Body) {
			if want := fmt.Sprint(at); string(rec.Body()) != want || rec.QueueOffset() != at {
				t.Errorf("queue %d: got %s at %d, want %s", q, rec.Body(), rec.QueueOffset(), want)
			}
			if at%10 == 0 {
				if err := r.SendBack(t.Context(), &SendBackRequest{Group: "pay", PhysicalOffset: rec.PhysicalOffset(), DelayLevel: 1, MaxReconsumeTimes: -1}); err != nil {
					t.Error(err)
				}
			}
			at++
		}
	}
	if off, err := r.QueryOffset(t.Context(), "pay", "orders", q, false); err != nil || off == 0 {
		t.Errorf("queue %d: progress %d, error %v", q, off, err)
	}
}
