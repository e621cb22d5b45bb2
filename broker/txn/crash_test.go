package txn

import (
	"context"
	"errors"
	"fmt"
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

// world is transactions over a disk that loses its power now and then.
type world struct {
	t   *testing.T
	rng *rand.Rand
	fs  *vfs.MemFS

	log   *hot.Store
	meta  *meta.Store
	txns  *Store
	end   func()
	sync  bool         // the log syncs before it acks
	ahead atomic.Int64 // of time, the clock

	sent    []*sent
	unkept  []func()         // what a power cut would undo; called when it no longer can
	history map[int64]string // what is in the real queue, by offset
	asked   int
	ask     func(ctx context.Context, group string, load func() (*Half, error)) (bool, error)
}

// sent is one transaction as its producer knows it.
type sent struct {
	body             string
	offset, physical int64
	kept             bool    // no power cut may undo the half
	verdict          Verdict // what the producer decided, 0 nothing
	acked, sure      bool    // the end was acked, and no power cut may undo it
	maybe            bool    // an end was acked before a power cut that may have undone it
}

var orders = mq.Queue{Broker: "b", Topic: "orders"}

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
	w.txns, err = Open(Options{
		Broker: "b", FirstCheck: time.Second, CheckInterval: 2 * time.Second, MaxChecks: 2, MaxAge: 20 * time.Second,
		KeepGivenUp: time.Hour, MaxPerTopic: 1 << 20, Now: clock,
		Ask:   w.ask,
		Place: func(*mq.Message, bool) error { return nil }, GiveUp: func() error { return nil },
	}, w.log, w.meta)
	if err != nil {
		w.t.Fatal(err)
	}
	txns := w.txns
	w.log.OnArrival(func([]hot.Arrival) { txns.Wake() })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- txns.Run(ctx) }()
	w.end = func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
		if err := errors.Join(w.log.Close(), w.meta.Close()); err != nil {
			w.t.Error(err)
		}
	}
}

// nowAndThen is a group that has a producer now and then, which never knows.
func (w *world) nowAndThen(_ context.Context, group string, load func() (*Half, error)) (bool, error) {
	h, err := load()
	if err != nil || h.Topic != orders.Topic || h.Group != group || string(h.Record.Topic()) != orders.Topic {
		w.t.Errorf("asked about half %+v of group %s, error %v", h, group, err)
	}
	w.asked++
	return w.asked%3 > 0, nil
}

// send appends half messages.
func (w *world) send() {
	for range 1 + w.rng.IntN(4) {
		x := &sent{body: fmt.Sprint("m", len(w.sent))}
		m := mq.Message{Topic: orders.Topic, Body: []byte(x.body), Properties: mq.AppendProperty(nil, mq.PropTransaction, "true")}
		w.txns.Prepare(&m, "producers", x.body)
		placed, err := w.log.Append(context.Background(), []*mq.Message{&m})
		if err != nil {
			w.t.Fatal(err)
		}
		x.offset, x.physical = placed[0].QueueOffset, placed[0].PhysicalOffset
		w.sent = append(w.sent, x)
		w.unkept = append(w.unkept, func() { x.kept = true })
		if w.rng.IntN(3) > 0 {
			w.decide(x)
		}
	}
	w.keep()
}

// decide has a producer end its transaction, some more than once and at once,
// or the one way and the other.
func (w *world) decide(x *sent) {
	if x.verdict == 0 {
		x.verdict = []Verdict{Commit, Rollback}[w.rng.IntN(2)]
	}
	verdicts := []Verdict{x.verdict}
	for w.rng.IntN(3) == 0 {
		verdicts = append(verdicts, x.verdict)
	}
	errs := make(chan error, len(verdicts))
	for _, v := range verdicts {
		go w.txns.End(End{Group: "producers", Offset: x.offset, Physical: x.physical, Verdict: v}, w.log.Submit, func(err error) { errs <- err })
	}
	for range verdicts {
		err := <-errs
		switch {
		case err == nil:
			x.acked = true
		case !errors.Is(err, ErrNoHalf) && !errors.Is(err, ErrEnded): // saved as ended, or given up
			w.t.Errorf("end of %s: %v", x.body, err)
		}
	}
	if x.acked && !x.sure {
		w.unkept = append(w.unkept, func() { x.sure = x.acked })
	}
	other := Commit + Rollback - x.verdict
	w.txns.End(End{Group: "producers", Offset: x.offset, Physical: x.physical, Verdict: other, FromCheck: true}, w.log.Submit, func(err error) {
		if err == nil && x.acked {
			w.t.Errorf("%s was ended the one way and the other", x.body)
		}
		if err == nil {
			x.verdict, x.acked = other, true
			w.unkept = append(w.unkept, func() { x.sure = x.acked })
		}
	})
	synctest.Wait()
}

// keep has the log keep all there is, by chance or because it always does.
func (w *world) keep() {
	if !w.sync {
		if w.rng.IntN(3) > 0 {
			return
		}
		if err := w.log.Flush(context.Background()); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, f := range w.unkept {
		f()
	}
	w.unkept = nil
}

// late has a producer decide on an older transaction.
func (w *world) late() {
	if len(w.sent) == 0 {
		return
	}
	x := w.sent[w.rng.IntN(len(w.sent))]
	if x.verdict == 0 && x.kept {
		w.decide(x)
		if !x.acked { // it is given up
			if err := w.txns.Restore(context.Background(), x.physical); err != nil && !x.maybe {
				w.t.Errorf("restore %s: %v", x.body, err)
			}
			w.decide(x)
		}
		if !x.acked && !x.maybe {
			w.t.Errorf("%s can't be ended", x.body)
		}
		w.keep()
	}
}

// observe takes down what the real queue has now.
func (w *world) observe() {
	r, err := w.log.Range(context.Background(), orders)
	if err != nil {
		return
	}
	for off := range w.history {
		if off >= r.To {
			delete(w.history, off)
		}
	}
	for at := r.From; at < r.To; {
		b, err := w.log.Read(context.Background(), orders, at, mq.Limit{})
		if err != nil {
			w.t.Fatal(err)
		}
		for rec := range mq.Records(b.Body) {
			w.history[rec.QueueOffset()] = string(rec.Body())
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
	w.power([]int{0, 50, 100}[w.rng.IntN(3)])
	w.unkept = nil
	for _, x := range w.sent {
		if !x.sure { // it is not known, so it may be said again
			x.maybe = x.maybe || x.acked
			x.acked, x.verdict = false, 0
		}
	}
	w.open()
	w.observe()
	w.check()
}

// power cuts the power: so much of what wasn't synced is on the disk.
func (w *world) power(percent int) {
	fs := w.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: w.rng})
	w.end()
	w.fs = fs
}

// check compares what there is with what was sent.
func (w *world) check() {
	synctest.Wait()
	inDoubt := map[string]bool{}
	for _, givenUp := range []bool{false, true} {
		list, err := w.txns.List(Query{GivenUp: givenUp, Max: 1 << 20})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, h := range list {
			if body := string(h.Record.Body()); inDoubt[body] {
				w.t.Errorf("%s is in doubt twice", body)
			} else {
				inDoubt[body] = true
			}
		}
	}
	times := map[string]int{}
	for _, body := range w.history {
		times[body]++
	}
	var wrong []string
	for _, x := range w.sent {
		n, doubt := times[x.body], inDoubt[x.body]
		switch {
		case n > 1, n > 0 && doubt,
			x.sure && x.verdict == Commit && n != 1,
			x.sure && x.verdict == Rollback && n != 0,
			x.sure && doubt,
			x.kept && !x.sure && x.verdict == 0 && !doubt && n == 0 && !x.maybe:
			wrong = append(wrong, fmt.Sprintf("%s (%v, sure %v): %d times, in doubt %v", x.body, x.verdict, x.sure, n, doubt))
		}
	}
	slices.Sort(wrong)
	if len(wrong) > 0 {
		w.t.Fatalf("of %d transactions: %v", len(w.sent), wrong)
	}
}

// TestExactlyOnceOverPowerCuts sends and ends transactions while the power is
// cut at random; at the end each that was committed is there once, each that
// was rolled back never, and all others are in doubt or given up.
// Rerun one seed: go test ./broker/txn -run 'TestExactlyOnceOverPowerCuts/sync=false/seed=7'
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
		t: t, rng: rand.New(rand.NewPCG(seed, 11)), fs: vfs.NewCrashableMem(), sync: sync,
		history: map[int64]string{},
	}
	w.ask = w.nowAndThen
	w.open()
	for range 120 {
		switch n := w.rng.IntN(24); {
		case n < 10:
			w.send()
		case n < 14:
			w.late()
		case n < 20:
			longest := []int{300, 6000}[w.rng.IntN(2)]
			time.Sleep(time.Duration(w.rng.IntN(longest)) * time.Millisecond)
			synctest.Wait()
		case n < 22:
			w.trim()
		default:
			w.cut()
		}
	}
	w.cut()
	time.Sleep(time.Minute) // all that is in doubt is given up by then
	synctest.Wait()
	w.observe()
	w.check()
	if c := w.txns.Counts(); c.Open != 0 {
		t.Errorf("%d halves are in doubt still", c.Open)
	}
	if len(w.txns.queue)+len(w.txns.topics)+len(w.txns.groups)+len(w.txns.halves) != 0 || w.txns.freshN != 0 {
		t.Errorf("left in memory: %d questions, %d topics, %d groups, %d halves, %d bytes", len(w.txns.queue),
			len(w.txns.topics), len(w.txns.groups), len(w.txns.halves), w.txns.freshN)
	}
	w.end()
}
