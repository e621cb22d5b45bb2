package timer

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot"
	"varve/internal/meta"
	"varve/internal/mq"
)

// world is a timer over a disk that loses its power now and then.
type world struct {
	t   *testing.T
	rng *rand.Rand
	fs  *vfs.MemFS

	log   *hot.Store
	meta  *meta.Store
	timer *Store
	end   func()

	ahead   atomic.Int64 // of time, the clock
	levels  []time.Duration
	sync    bool // the log syncs before it acks
	sent    int
	kept    map[string]bool  // bodies whose send no power cut may undo
	acked   []string         // bodies that are not in kept yet
	history map[int64]string // what is in the real queue, by offset
	due     map[string]int64 // when a body may first be delivered

	handles  map[string]Handle
	taken    []string        // bodies that were recalled and are not in never yet
	never    map[string]bool // bodies whose recall no power cut may undo
	maybe    map[string]bool // bodies whose recall was or may have been undone
	recalled int
}

var testLevels = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 30 * time.Second}

var real = mq.Queue{Broker: "b", Topic: "orders", ID: 0}

func (w *world) open() {
	w.t.Helper()
	clock := func() time.Time { return time.Now().Round(0).Add(time.Duration(w.ahead.Load())) }
	o := hot.Options{FS: w.fs, Broker: "b", MinFreeBytes: -1, SegmentBytes: 16 << 10, Now: clock}
	if w.sync {
		o.Flush = hot.FlushSync
	}
	var err error
	if w.log, err = hot.Open("log", o); err != nil {
		w.t.Fatal(err)
	}
	if w.meta, err = meta.Open("meta", w.fs); err != nil {
		w.t.Fatal(err)
	}
	if w.timer, err = Open(Options{Broker: "b", Levels: w.levels, Now: clock}, w.log, w.meta); err != nil {
		w.t.Fatal(err)
	}
	w.log.OnArrival(func([]hot.Arrival) { w.timer.Wake() })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	timer := w.timer
	go func() { ended <- timer.Run(ctx) }()
	w.end = func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
		if err := w.log.Close(); err != nil {
			w.t.Error(err)
		}
		if err := w.meta.Close(); err != nil {
			w.t.Error(err)
		}
	}
}

// send appends delayed messages.
func (w *world) send() {
	for range 1 + w.rng.IntN(5) {
		body := fmt.Sprint("m", w.sent)
		w.sent++
		m := mq.Message{Topic: real.Topic, QueueID: real.ID, Body: []byte(body), Properties: mq.AppendProperty(nil, mq.PropUniqKey, "id-"+body)}
		now := time.Now()
		h := Handle{Topic: real.Topic, Broker: "b", MsgID: "id-" + body}
		level := 0
		if w.rng.IntN(2) == 0 {
			level = 1 + w.rng.IntN(4)
			w.timer.Level(&m, level)
			w.due[body] = now.Add(w.timer.o.Levels[level-1]).UnixMilli()
		} else {
			w.due[body] = now.Add(time.Duration(w.rng.IntN(20_000)) * time.Millisecond).UnixMilli()
			w.timer.At(&m, w.due[body])
		}
		placed, err := w.log.Append(context.Background(), []*mq.Message{&m})
		if err != nil {
			w.t.Fatal(err)
		}
		h.DueMillis, h.Physical = w.due[body], placed[0].PhysicalOffset
		if level > 0 {
			h.DueMillis = placed[0].StoreTimeMillis + w.timer.Delay(level).Milliseconds()
		}
		w.handles[body] = h
		w.acked = append(w.acked, body)
	}
	if !w.sync && w.rng.IntN(3) == 0 {
		if err := w.log.Flush(context.Background()); err != nil {
			w.t.Fatal(err)
		}
		w.keep()
	}
	if w.sync {
		w.keep()
	}
}

func (w *world) keep() {
	for _, b := range w.acked {
		w.kept[b] = true
	}
	for _, b := range w.taken {
		w.never[b] = true
	}
	w.acked, w.taken = nil, nil
}

// recall takes a message back that was sent at some time. What it is told must
// be true.
func (w *world) recall() {
	if w.sent == 0 {
		return
	}
	body := fmt.Sprint("m", w.sent-1-w.rng.IntN(min(w.sent, 12)))
	h := w.handles[body]
	if w.rng.IntN(3) == 0 {
		h.Physical = -1
	}
	hit, err := w.timer.Recall(context.Background(), h)
	if err != nil {
		w.t.Fatal(err)
	}
	w.observe()
	delivered := slices.Contains(slices.Collect(maps.Values(w.history)), body)
	if hit && delivered {
		w.t.Errorf("%s was recalled after it was delivered", body)
	}
	if hit && w.never[body] {
		w.t.Errorf("%s was recalled twice", body)
	}
	if !hit && w.kept[body] && !delivered && !w.never[body] && !w.maybe[body] && !slices.Contains(w.taken, body) {
		w.t.Errorf("%s was neither recalled nor delivered", body)
	}
	if hit {
		w.recalled++
		if w.sync {
			w.never[body] = true
		} else {
			w.taken = append(w.taken, body)
		}
	}
}

// observe takes down what the real queue has now.
func (w *world) observe() {
	r, err := w.log.Range(context.Background(), real)
	if err != nil {
		return
	}
	for off := range w.history {
		if off >= r.To {
			delete(w.history, off)
		}
	}
	for at := r.From; at < r.To; {
		b, err := w.log.Read(context.Background(), real, at, mq.Limit{})
		if err != nil {
			w.t.Fatal(err)
		}
		for rec := range mq.Records(b.Body) {
			body := string(rec.Body())
			w.history[rec.QueueOffset()] = body
			if rec.StoreTimeMillis() < w.due[body] {
				w.t.Errorf("%s was delivered at %d, before its time %d", body, rec.StoreTimeMillis(), w.due[body])
			}
		}
		at = b.Next
	}
}

// trim drops what the log needn't keep.
func (w *world) trim() {
	ctx := context.Background()
	w.observe()
	if err := w.log.Roll(ctx); err != nil {
		w.t.Fatal(err)
	}
	if err := w.log.SetArchived(nil, w.log.Stats().DurablePhysical); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.log.Trim(ctx, hot.TrimPolicy{}); err != nil {
		w.t.Fatal(err)
	}
}

// cut takes a picture of the disk as it would be after a power cut (or, with
// all unsynced data kept, a kill), and goes on from it.
func (w *world) cut() {
	percent := []int{0, 50, 100}[w.rng.IntN(3)]
	fs := w.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: w.rng})
	w.end()
	w.fs = fs
	for _, b := range w.taken {
		w.maybe[b] = true
	}
	w.acked, w.taken = nil, nil
	w.open()
	w.observe()
}

func (w *world) check() {
	for range 60 { // everything is due by then
		time.Sleep(time.Second)
	}
	w.observe()
	if n := w.timer.Pending(); n != 0 {
		w.t.Errorf("%d messages are still held back", n)
	}
	times := map[string]int{}
	for _, body := range w.history {
		times[body]++
	}
	var wrong []string
	for body, n := range times {
		if n != 1 {
			wrong = append(wrong, fmt.Sprintf("%s %d times", body, n))
		}
	}
	for body := range w.kept {
		if times[body] == 0 && !w.never[body] && !w.maybe[body] && !slices.Contains(w.taken, body) {
			wrong = append(wrong, body+" never")
		}
	}
	for body := range w.never {
		if times[body] > 0 {
			wrong = append(wrong, body+" though it was recalled")
		}
	}
	slices.Sort(wrong)
	if len(wrong) > 0 {
		w.t.Errorf("of %d messages, %d kept, these were delivered wrongly: %v", w.sent, len(w.kept), wrong)
	}
	left := 0
	if err := w.timer.table.Scan("", func(string, []byte) error { left++; return nil }); err != nil || left > 0 {
		w.t.Errorf("%d entries are left in the meta store, error %v", left, err)
	}
}

// TestExactlyOnceOverPowerCuts sends delayed messages while the power is cut at
// random; at the end each message that was kept was delivered once.
// Rerun one seed: go test ./broker/timer -run 'TestExactlyOnceOverPowerCuts/sync=false/seed=7'
func TestExactlyOnceOverPowerCuts(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() {
		seeds = 3
	}
	for _, sync := range []bool{false, true} {
		t.Run(fmt.Sprint("sync=", sync), func(t *testing.T) {
			for seed := range seeds {
				t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { life(t, seed, sync) })
				})
			}
		})
	}
}

func life(t *testing.T, seed uint64, sync bool) {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 7)), fs: vfs.NewCrashableMem(), sync: sync, levels: testLevels,
		kept: map[string]bool{}, history: map[int64]string{}, due: map[string]int64{},
		handles: map[string]Handle{}, never: map[string]bool{}, maybe: map[string]bool{},
	}
	w.open()
	for range 120 {
		switch n := w.rng.IntN(20); {
		case n < 9:
			w.send()
		case n < 12:
			w.recall()
		case n < 17:
			longest := []int{300, 3000}[w.rng.IntN(2)]
			time.Sleep(time.Duration(w.rng.IntN(longest)) * time.Millisecond)
			synctest.Wait()
		case n < 19:
			w.trim()
		default:
			w.cut()
		}
	}
	w.cut()
	w.check()
	w.end()
	if w.recalled == 0 {
		t.Error("no message was recalled")
	}
}
