package broker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/broker/pop"
	"varve/internal/mq"
)

// popWorld is a broker with POP consumers whose disk loses its power now and
// then.
type popWorld struct {
	t    *testing.T
	rng  *rand.Rand
	fs   *vfs.MemFS
	rig  *rig
	keep bool // cuts keep what is not synced: kill -9
	room int  // messages of a queue that may be in flight

	sent  int
	fresh []string        // sent since the log was last flushed
	kept  map[string]bool // sent, and no power cut may undo it
	acked map[string]int
	out   []Handle          // given out, by their bodies below
	named map[string]string // handle → body
	done  map[string]bool   // acked, and saved since; must not come again
	maybe []string          // acked since the last save
}

func (w *popWorld) open() {
	w.rig = newRig(w.t, w.fs, func(c *Config, _ *Deps) {
		c.Broker = defaultBroker
		c.MaxPopQueue = w.room
	})
}

func (w *popWorld) send() {
	for range 1 + w.rng.IntN(6) {
		body := fmt.Sprint("m", w.sent)
		w.sent++
		w.rig.send(message("orders", w.rng.Int32N(2), body))
		w.fresh = append(w.fresh, body)
	}
	if w.rng.IntN(2) == 0 {
		if err := w.rig.log.Flush(context.Background()); err != nil {
			w.t.Fatal(err)
		}
		w.flushed()
	}
}

func (w *popWorld) flushed() {
	for _, b := range w.fresh {
		w.kept[b] = true
	}
	w.fresh = nil
}

func (w *popWorld) pop(wait time.Duration) int {
	req := popReq("orders")
	req.MaxMessages, req.Wait = 1+w.rng.IntN(16), wait
	req.Invisible = time.Duration(200+w.rng.IntN(8000)) * time.Millisecond
	p := w.rig.pop(req)
	for i := range p.Messages {
		m := &p.Messages[i]
		body := string(m.Record.Body())
		if w.done[body] && w.keep { // a cut may take a retry whose ack was saved, and bring the message back
			w.t.Errorf("%s came again after its ack was saved", body)
		}
		w.out = append(w.out, m.Handle)
		w.named[m.Handle.String()] = body
	}
	return len(p.Messages)
}

func (w *popWorld) ack(all bool) {
	for len(w.out) > 0 && (all || w.rng.IntN(3) > 0) {
		i := w.rng.IntN(len(w.out))
		h := w.out[i]
		w.out = slices.Delete(w.out, i, i+1)
		errs := w.rig.Ack(context.Background(), "g", []Handle{h})
		body := w.named[h.String()]
		switch {
		case errs == nil:
			w.acked[body]++
			w.maybe = append(w.maybe, body)
		case !errors.Is(errs[0], ErrHandleExpired):
			w.t.Fatal(errs[0])
		}
	}
}

// change gives a message back, or keeps it for longer.
func (w *popWorld) change() {
	if len(w.out) == 0 {
		return
	}
	i := w.rng.IntN(len(w.out))
	h, err := w.rig.ChangeInvisible(context.Background(), "g", w.out[i], time.Duration(w.rng.IntN(5000))*time.Millisecond, false)
	switch {
	case err == nil:
		w.named[h.String()] = w.named[w.out[i].String()]
		w.out[i] = h
	case !errors.Is(err, ErrHandleExpired):
		w.t.Fatal(err)
	}
}

func (w *popWorld) save() {
	if err := w.rig.save(); err != nil {
		w.t.Fatal(err)
	}
	for _, b := range w.maybe {
		w.done[b] = true
	}
	w.maybe = nil
}

func (w *popWorld) cut() {
	percent := 100
	if !w.keep {
		percent = []int{0, 50, 100}[w.rng.IntN(3)]
	}
	fs := w.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: w.rng})
	w.rig.stop()
	w.fs, w.fresh, w.maybe = fs, nil, nil
	time.Sleep(2 * time.Millisecond) // a start takes longer: no delivery after it has the name of one before
	w.open()
}

// copies finds messages that were copied twice for one expiry.
func (w *popWorld) copies() {
	seen := map[string]int{}
	for _, m := range w.rig.all(pop.RetryTopic("g", "orders"), 0) {
		seen[fmt.Sprint(string(m.Body), " try ", m.ReconsumeTimes, m.Property(mq.PropOriginMessageID))]++
	}
	for k, n := range seen {
		if n > 1 {
			w.t.Errorf("%s: %d copies", k, n)
		}
	}
}

func newPopWorld(t *testing.T, seed uint64, keep bool, room int) *popWorld {
	w := &popWorld{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), fs: vfs.NewCrashableMem(), keep: keep, room: room,
		kept: map[string]bool{}, acked: map[string]int{}, named: map[string]string{}, done: map[string]bool{},
	}
	w.open()
	g := DefaultGroup("g")
	g.RetryMaxTimes = 10_000
	if err := w.rig.PutGroup(g); err != nil {
		t.Fatal(err)
	}
	w.rig.topic("orders", 2)
	return w
}

// end acks everything that is still to come, and counts.
func (w *popWorld) end() {
	for idle := 0; idle < 2; idle++ { // longer than any invisible time
		if w.pop(15*time.Second) > 0 {
			idle = -1
		}
		w.ack(true)
	}
	for body := range w.kept {
		if w.acked[body] == 0 {
			w.t.Errorf("%s was never given out until it was acked", body)
		}
	}
	synctest.Wait()
	w.copies()
	if n := w.rig.Stats().PopInFlight; n != 0 {
		w.t.Errorf("%d messages are in flight at the end", n)
	}
	w.rig.stop()
}

func runPopWorld(t *testing.T, seed uint64, keep bool) {
	synctest.Test(t, func(t *testing.T) {
		w := newPopWorld(t, seed, keep, 50)
		for range 120 {
			switch n := w.rng.IntN(20); {
			case n < 5:
				w.send()
			case n < 10:
				w.pop(0)
			case n < 14:
				w.ack(false)
			case n < 15:
				w.change()
			case n < 16:
				w.save()
			case n < 18:
				time.Sleep(time.Duration(w.rng.IntN(3000)) * time.Millisecond)
			default:
				w.cut()
			}
		}
		w.end()
	})
}

// TestPopCrash sends, pops, acks, lets messages expire and cuts the power, in
// random order: nothing that was kept is lost, what was saved as acked doesn't
// come again, and no message is copied twice.
func TestPopCrash(t *testing.T) {
	for seed := range uint64(10) {
		for _, keep := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d kill=%v", seed, keep), func(t *testing.T) { runPopWorld(t, seed, keep) })
		}
	}
}

// TestPopCrashOfSweptWindows kills the broker while its windows go on far behind
// messages that stay out: most of what lies between was acked, and is swept out
// of the window before it is saved.
func TestPopCrashOfSweptWindows(t *testing.T) {
	const room = 500
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newPopWorld(t, seed, true, room)
				for range 30 {
					for range 60 {
						w.send()
					}
					for w.pop(0) > 0 {
						for len(w.out) > 4 {
							w.ack(false)
						}
					}
					if n := w.rig.Stats().PopInFlight; n > room {
						t.Fatalf("%d messages are in flight", n)
					}
					if w.rng.IntN(2) == 0 {
						w.save()
					}
					if w.rng.IntN(3) == 0 {
						w.cut()
					}
				}
				w.end()
			})
		})
	}
}
