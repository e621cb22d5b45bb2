package timer

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot"
	"varve/internal/mq"
)

func TestHandle(t *testing.T) {
	h := Handle{"orders", "varve-a", 1_800_000_000_123, "7F000001000A", 4711}
	raw, err := base64.URLEncoding.DecodeString(h.String())
	if err != nil || string(raw) != "v1 orders varve-a 1800000000123 7F000001000A 4711" {
		t.Errorf("the handle is %q, error %v", raw, err)
	}
	for _, h := range []Handle{h, {"t", "b", 0, "id with spaces", 0}, {"t", "b", 5, "id", -1}} {
		if got, err := ParseHandle(h.String()); err != nil || got != h {
			t.Errorf("%+v comes back as %+v, error %v", h, got, err)
		}
	}
	if got, err := ParseHandle(base64.RawURLEncoding.EncodeToString([]byte("v1 t b 5 id"))); err != nil || got.Physical != -1 {
		t.Errorf("a handle without padding: %+v, error %v", got, err)
	}
	for _, bad := range []string{
		"", "%", "v1", "djEgdCBiIDU", // "v1 t b 5"
		base64.URLEncoding.EncodeToString([]byte("v2 t b 5 id")), base64.URLEncoding.EncodeToString([]byte("v1 t b x id")),
		base64.URLEncoding.EncodeToString([]byte("v1 t b -1 id")), base64.URLEncoding.EncodeToString([]byte("v1 t b 5 id x")),
	} {
		if h, err := ParseHandle(bad); !errors.Is(err, ErrHandle) {
			t.Errorf("%q is read as %+v, error %v", bad, h, err)
		}
	}
}

func FuzzParseHandle(f *testing.F) {
	f.Add(Handle{"t", "b", 5, "id", 7}.String())
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := ParseHandle(text)
		if err != nil {
			return
		}
		if again, err := ParseHandle(h.String()); err != nil || again != h {
			t.Errorf("%q is %+v and then %+v, error %v", text, h, again, err)
		}
	})
}

// held sends one delayed message and gives its handle.
func (w *world) held(body string, level int) Handle {
	w.t.Helper()
	m := mq.Message{Topic: real.Topic, Body: []byte(body), Properties: mq.AppendProperty(nil, mq.PropUniqKey, body)}
	due := w.timer.Level(&m, level)
	p, err := w.log.Append(w.t.Context(), []*mq.Message{&m})
	if err != nil {
		w.t.Fatal(err)
	}
	return Handle{real.Topic, "b", due, body, p[0].PhysicalOffset}
}

func (w *world) recalls(h Handle, want bool) {
	w.t.Helper()
	if hit, err := w.timer.Recall(w.t.Context(), h); err != nil || hit != want {
		w.t.Errorf("recall of %+v: hit %v, error %v; want %v", h, hit, err, want)
	}
}

// TestRecall takes messages back at every stage of their wait.
func TestRecall(t *testing.T) {
	alone(t, func(w *world) {
		atOnce, saved, late, byID := w.held("at once", 3), w.held("saved", 3), w.held("late", 1), w.held("by id", 3)
		byID.Physical = -1
		w.recalls(atOnce, true)
		w.recalls(atOnce, false)
		wrong := saved
		wrong.MsgID = "another"
		w.recalls(wrong, false)
		wrong.Physical = -1
		w.recalls(wrong, false)
		beyond := saved
		beyond.Physical = 1 << 40
		w.recalls(beyond, false)
		time.Sleep(3 * time.Second) // in the meta store by now
		w.recalls(late, false)
		w.recalls(saved, true)
		w.recalls(byID, true)
		w.recalls(byID, false)
		fs := w.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}) // a kill
		w.end()
		if _, err := w.timer.Recall(context.Background(), saved); !errors.Is(err, hot.ErrClosed) {
			t.Errorf("a recall after the end: error %v", err)
		}
		w.fs = fs
		w.open()
		w.recalls(saved, false)
		time.Sleep(10 * time.Second)
		if w.observe(); fmt.Sprint(w.history) != "map[0:late]" || w.timer.Pending() != 0 {
			t.Errorf("delivered %v, pending %d", w.history, w.timer.Pending())
		}
	})
}

// TestRefusedRecallIsNone has the log refuse a recall: the caller is told, and
// the message is delivered.
func TestRefusedRecallIsNone(t *testing.T) {
	alone(t, func(w *world) {
		h := w.held("m", 3)
		synctest.Wait()
		r := &recall{h: h, ch: make(chan outcome, 1)}
		w.timer.units++
		w.timer.results <- result{entries: []entry{{h.DueMillis, h.Physical}}, recalls: []*recall{r}, err: hot.ErrDiskFull}
		if o := <-r.ch; o.hit || !errors.Is(o.err, hot.ErrDiskFull) {
			t.Errorf("the recall is told %+v", o)
		}
		time.Sleep(10 * time.Second)
		if w.observe(); len(w.history) != 1 || w.timer.Pending() != 0 {
			t.Errorf("delivered %v, pending %d", w.history, w.timer.Pending())
		}
	})
}

func TestList(t *testing.T) {
	alone(t, func(w *world) {
		w.held("far", 4)
		near := w.held("near", 3)
		other := mq.Message{Topic: "other", Body: []byte("x")}
		w.timer.At(&other, near.DueMillis+1)
		w.append(&other)
		time.Sleep(time.Second)
		for _, c := range []struct {
			q    Query
			want string
			more bool
		}{
			{Query{Max: 10}, "[near other: far]", false},
			{Query{Max: 2}, "[near other:]", true},
			{Query{Max: 10, Topic: real.Topic}, "[near far]", false},
			{Query{Max: 10, FromMillis: near.DueMillis + 2}, "[far]", false},
			{Query{Max: 10, Topic: "none"}, "[]", false},
		} {
			held, more, err := w.timer.List(c.q)
			got := []string{}
			for _, h := range held {
				name := h.MsgID
				if name == "" {
					name = h.Topic + ":"
				}
				got = append(got, name)
			}
			if fmt.Sprint(got) != c.want || more != c.more || err != nil {
				t.Errorf("%+v: %v, more %v, error %v; want %s", c.q, got, more, err, c.want)
			}
			if len(held) > 0 && held[0].MsgID == "near" && held[0].Handle != near {
				t.Errorf("listed %+v, want the handle %+v", held[0], near)
			}
		}
	})
}

// TestDeletedByMessage sends what RocketMQ's recall stores: a message that
// deletes another one due at the same time.
func TestDeletedByMessage(t *testing.T) {
	alone(t, func(w *world) {
		due := time.Now().Add(8 * time.Second).UnixMilli()
		send := func(body, id, deletes string) {
			m := mq.Message{Topic: real.Topic, Body: []byte(body), Properties: mq.AppendProperty(nil, mq.PropUniqKey, id)}
			if deletes != "" {
				m.Properties = mq.AppendProperty(m.Properties, mq.PropTimerDelete, deletes)
			}
			w.timer.At(&m, due)
			w.append(&m)
		}
		for i := range 4 {
			send(fmt.Sprint("m", i), fmt.Sprint("id", i), "")
		}
		send("0", "id0", "orders_id0")
		time.Sleep(2 * time.Second) // in the store by now
		send("0", "id1", "id1")
		send("0", "id9", "orders_id9")
		send("0", "id2", "others_id2")
		time.Sleep(10 * time.Second)
		if w.observe(); fmt.Sprint(w.history) != "map[0:m2 1:m3]" || w.timer.Pending() != 0 {
			t.Errorf("delivered %v, pending %d", w.history, w.timer.Pending())
		}
	})
}
