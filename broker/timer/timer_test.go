package timer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot"
	"varve/internal/meta"
	"varve/internal/mq"
)

func TestParseLevels(t *testing.T) {
	levels, err := ParseLevels(DefaultLevels)
	if err != nil || len(levels) != 18 || levels[0] != time.Second || levels[17] != 2*time.Hour {
		t.Errorf("the default levels are %v, error %v", levels, err)
	}
	if got, err := ParseLevels(" 0s  1d "); err != nil || fmt.Sprint(got) != "[0s 24h0m0s]" {
		t.Errorf("got %v, error %v", got, err)
	}
	for _, bad := range []string{"", "1", "s", "1x", "-1s", "1s 99999999999s", strings.Repeat("1s ", MaxLevels+1)} {
		if _, err := ParseLevels(bad); err == nil {
			t.Errorf("levels %.20q are accepted", bad)
		}
	}
}

func pairs(m *mq.Message) (out []string) {
	for k, v := range mq.Properties(m.Properties) {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}

func TestHeldBackAndRebuilt(t *testing.T) {
	s := &Store{o: Options{Levels: []time.Duration{time.Second, time.Minute}, Now: func() time.Time { return time.UnixMilli(1000) }}}
	sent := mq.Message{Topic: "orders", QueueID: 3, Body: []byte("b"), ReconsumeTimes: 2, SysFlag: mq.SysCompressed, Flag: 9}
	for _, p := range [][2]string{{mq.PropTags, "t"}, {mq.PropDelay, "2"}, {mq.PropTimerDelayMs, "5"}, {mq.PropRealTopic, "old"}} {
		sent.Properties = mq.AppendProperty(sent.Properties, p[0], p[1])
	}
	for _, c := range []struct {
		hold        func(m *mq.Message)
		topic       string
		queue       int32
		held, after string
	}{
		{func(m *mq.Message) { s.Level(m, 99) }, mq.ScheduleTopic, 1, "[DELAY=2 REAL_QID=3 REAL_TOPIC=orders TAGS=t TIMER_OUT_MS=61000 TIMER_SPAN_MS=60000]", "[DELAY=2 TAGS=t]"},
		{func(m *mq.Message) { s.At(m, 777) }, mq.TimerTopic, 0, "[DELAY=2 REAL_QID=3 REAL_TOPIC=orders TAGS=t TIMER_DELAY_MS=5 TIMER_OUT_MS=777]", "[DELAY=2 TAGS=t TIMER_DELAY_MS=5]"},
	} {
		m := sent
		c.hold(&m)
		if m.Topic != c.topic || m.QueueID != c.queue || fmt.Sprint(pairs(&m)) != c.held {
			t.Errorf("held back as %s/%d %v, want %s", m.Topic, m.QueueID, pairs(&m), c.held)
		}
		rec := mq.Record(mq.AppendRecord(nil, &m))
		rec.SetPlace(1, 2, 1000)
		due, err := s.due(rec, m.Topic)
		if want := map[string]int64{mq.ScheduleTopic: 61_000, mq.TimerTopic: 777}[m.Topic]; due != want || err != nil {
			t.Errorf("%s: due at %d, error %v, want %d", m.Topic, due, err, want)
		}
		back, err := original(rec)
		if err != nil || back.Topic != "orders" || back.QueueID != 3 || fmt.Sprint(pairs(&back)) != c.after ||
			back.ReconsumeTimes != 2 || back.SysFlag != mq.SysCompressed || back.Flag != 9 {
			t.Errorf("rebuilt as %+v %v, error %v", back, pairs(&back), err)
		}
	}
}

// alone runs test with a timer over a file system in memory, in fake time.
func alone(t *testing.T, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, fs: vfs.NewCrashableMem(), history: map[int64]string{}, due: map[string]int64{}, levels: testLevels}
		w.open()
		test(w)
		w.end()
	})
}

func (w *world) append(m *mq.Message) {
	w.t.Helper()
	if _, err := w.log.Append(w.t.Context(), []*mq.Message{m}); err != nil {
		w.t.Fatal(err)
	}
}

func TestLevelsThatAreNoMore(t *testing.T) {
	alone(t, func(w *world) {
		m := mq.Message{Topic: real.Topic, Body: []byte("late")}
		w.timer.Level(&m, 4)
		w.append(&m)
		fs := w.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}) // a kill, before the timer saves it
		w.end()
		w.fs, w.levels = fs, testLevels[:1]
		w.open()
		time.Sleep(testLevels[3] + maxSleep) // it keeps the delay that it was sent with
		if w.observe(); w.history[0] != "late" || w.timer.Pending() != 0 {
			t.Errorf("delivered %v, pending %d", w.history, w.timer.Pending())
		}
	})
}

// TestBrokenEntriesStopNoOther has messages in the timer's queues that can't be
// delivered, and topics that were deleted.
func TestBrokenEntriesStopNoOther(t *testing.T) {
	alone(t, func(w *world) {
		w.timer.o.Wanted = func(topic string) bool { return topic != "deleted" }
		noDue := mq.Message{Topic: mq.TimerTopic, Body: []byte("x")}
		noTopic := mq.Message{Topic: mq.ScheduleTopic, Body: []byte("x")}
		gone := mq.Message{Topic: "deleted", Body: []byte("x")}
		w.timer.Level(&gone, 1)
		good := mq.Message{Topic: real.Topic, Body: []byte("good")}
		w.timer.Level(&good, 1)
		for _, m := range []*mq.Message{&noDue, &noTopic, &gone, &good} {
			w.append(m)
		}
		time.Sleep(10 * time.Second)
		w.observe()
		if len(w.history) != 1 || w.history[0] != "good" || w.timer.Pending() != 0 {
			t.Errorf("delivered %v, pending %d", w.history, w.timer.Pending())
		}
		if _, err := w.log.Range(t.Context(), mq.Queue{Broker: "b", Topic: "deleted"}); err == nil {
			t.Error("the deleted topic has a queue again")
		}
	})
}

// TestIdleTimerHoldsNothing sends no delayed message: the log may be trimmed to
// its end.
func TestIdleTimerHoldsNothing(t *testing.T) {
	alone(t, func(w *world) {
		for i := range 100 {
			w.append(&mq.Message{Topic: "other", Body: make([]byte, 1000), ReconsumeTimes: int32(i)})
		}
		time.Sleep(time.Second)
		if low, end := w.timer.lowest(), w.log.Confirmed(); low != end {
			t.Errorf("the log is held from %d on, its end is %d", low, end)
		}
		m := mq.Message{Topic: real.Topic, Body: []byte("m")}
		w.timer.Level(&m, 4)
		w.append(&m)
		end := w.log.Confirmed()
		if low := w.timer.lowest(); low >= end {
			t.Errorf("the log is held from %d on while a record before %d is not saved", low, end)
		}
		time.Sleep(10 * time.Second) // saved and synced, not due yet
		if low := w.timer.lowest(); low < end || w.timer.Pending() != 1 {
			t.Errorf("the log is held from %d on, all before %d is saved; pending %d", low, end, w.timer.Pending())
		}
	})
}

// TestFullLogIsTriedAgain refuses deliveries for a while.
func TestFullLogIsTriedAgain(t *testing.T) {
	alone(t, func(w *world) {
		m := mq.Message{Topic: real.Topic, Body: []byte("m")}
		w.timer.Level(&m, 1)
		w.append(&m)
		var e entry
		synctest.Wait()
		for e = range w.timer.fresh {
			break
		}
		// The unit that the log would have refused:
		w.timer.units++
		w.timer.results <- result{entries: []entry{e}, err: hot.ErrDiskFull}
		time.Sleep(5 * time.Second)
		if w.observe(); len(w.history) != 1 || w.timer.Pending() != 0 {
			t.Errorf("delivered %v, pending %d", w.history, w.timer.Pending())
		}
	})
}

// TestFullDiskLosesNothing has no room for the meta store for a while: what
// could not be saved is kept, the log is held, and all is delivered once.
func TestFullDiskLosesNothing(t *testing.T) {
	alone(t, func(w *world) {
		for i := range 50 {
			if i == 10 {
				w.fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1})
			}
			m := mq.Message{Topic: real.Topic, Body: fmt.Append(nil, "m", i)}
			w.timer.Level(&m, 1+i%4)
			w.append(&m)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(20 * time.Second)
		if low, end := w.timer.lowest(), w.log.Confirmed(); low >= end {
			t.Errorf("the log is held from %d of %d on, though nothing could be saved", low, end)
		}
		w.fs.TestingSetDiskUsage(vfs.DiskUsage{})
		time.Sleep(time.Minute)
		w.observe()
		times := map[string]int{}
		for _, body := range w.history {
			times[body]++
		}
		if len(times) != 50 || len(w.history) != 50 || w.timer.Pending() != 0 {
			t.Errorf("%d messages were delivered, %d different, %d pending", len(w.history), len(times), w.timer.Pending())
		}
	})
}

// TestOlderEntriesAreTakenOver has entries where earlier versions kept them.
func TestOlderEntriesAreTakenOver(t *testing.T) {
	alone(t, func(w *world) {
		for i := range 20 {
			w.held(fmt.Sprint("m", i), 4)
		}
		time.Sleep(time.Second)
		w.end()
		m, err := meta.Open("meta", w.fs)
		if err != nil {
			t.Fatal(err)
		}
		bulk, err := m.Bulk(bulkName)
		if err != nil {
			t.Fatal(err)
		}
		var pos position
		if ok, err := bulk.Table(stateTable).Get(positionKey, &pos); !ok || err != nil {
			t.Fatal(ok, err)
		}
		old, moved := m.Batch(), bulk.Batch()
		err = bulk.Table(entryTable).ScanRange("", "", func(key string, raw []byte) error {
			old.PutRaw(m.Table(entryTable), key, raw)
			moved.Delete(bulk.Table(entryTable), key)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		moved.Delete(bulk.Table(stateTable), positionKey)
		if err := old.Put(m.Table(stateTable), positionKey, map[string]any{"next": pos.Next}); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(old.Commit(true), moved.Commit(true), m.Close()); err != nil {
			t.Fatal(err)
		}
		w.open()
		if n := w.timer.Pending(); n != 20 {
			t.Errorf("%d messages are held back, want 20", n)
		}
		time.Sleep(time.Minute)
		if w.observe(); len(w.history) != 20 || w.timer.Pending() != 0 {
			t.Errorf("delivered %d, pending %d", len(w.history), w.timer.Pending())
		}
		if err := w.meta.Table(entryTable).Scan("", func(string, []byte) error { return errFound }); err != nil {
			t.Error("an entry is left where it was")
		}
	})
}
