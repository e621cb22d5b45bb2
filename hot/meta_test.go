package hot

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"varve/internal/mq"
)

// TestMetamorphic runs one random history through stores with different
// segment sizes, policies and checkpoints, reopening them at random points, by
// Close, by a kill and (under FlushSync) by a power cut. All have to hold the
// same messages. A failure prints rapid's seed and how to run it again.
func TestMetamorphic(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ops := rapid.SliceOfN(rapid.Custom(drawOp), 5, 40).Draw(rt, "ops")
		var want string
		bodies := make(map[string]string) // trims differ by segment size: what several have must agree
		for i, o := range []Options{
			{Flush: FlushSync, SegmentBytes: 4 << 10},
			{Flush: FlushAsync, SegmentBytes: 9 << 10, CheckpointBytes: 2 << 10},
			{Flush: FlushSync, SegmentBytes: 1 << 20, CheckpointBytes: 1 << 10},
		} {
			h := &history{t: t, rt: rt, o: o, fs: vfs.NewCrashableMem(), l: newLedger()}
			got, some := h.run(ops)
			if i == 0 {
				want = got
			} else if got != want {
				rt.Fatalf("options %d hold\n%s\noptions 0 hold\n%s", i, got, want)
			}
			for k, v := range some {
				if old, ok := bodies[k]; ok && old != v {
					rt.Fatalf("options %d hold at %s\n%s\nothers hold\n%s", i, k, v, old)
				}
				bodies[k] = v
			}
		}
	})
}

type op struct {
	kind string
	n    int
}

func drawOp(rt *rapid.T) op {
	kinds := []string{"send", "send", "send", "send", "send", "checkpoint", "flush index", "roll", "close", "kill", "power", "delete", "archive", "trim"}
	return op{rapid.SampledFrom(kinds).Draw(rt, "kind"), rapid.IntRange(1, 12).Draw(rt, "n")}
}

type history struct {
	t  *testing.T
	rt *rapid.T
	o  Options
	fs *vfs.MemFS
	l  *ledger
	s  *Store
}

func (h *history) open() {
	h.o.FS, h.o.Broker, h.o.MinFreeBytes = h.fs, "b", -1
	h.o.Now = func() time.Time { return time.UnixMilli(1_000_000) }
	var err error
	if h.s, err = Open("/hot", h.o); err != nil {
		h.rt.Fatalf("opening: %v", err)
	}
}

func (h *history) check(err error, what string) {
	if err != nil {
		h.rt.Fatalf("%s: %v", what, err)
	}
}

func (h *history) run(ops []op) (ends string, bodies map[string]string) {
	h.open()
	ctx := context.Background()
	senders := []*sender{newSender(h.s, h.l, "stay", 1), newSender(h.s, h.l, "temp", 2)}
	for i, o := range ops {
		switch o.kind {
		case "send":
			for range o.n {
				h.check(senders[o.n%2].send(ctx), "sending")
			}
		case "checkpoint":
			h.check(h.s.checkpoint(), "checkpoint")
		case "flush index":
			h.check(h.s.checkpoint(), "checkpoint")
			h.check(h.s.db.Flush(), "flushing the index")
		case "roll":
			h.check(h.s.Roll(ctx), "rolling")
		case "close":
			h.check(h.s.Close(), "closing")
			h.open()
		case "kill":
			h.crash(100)
		case "power":
			if h.o.Flush == FlushAsync {
				h.check(h.s.Flush(ctx), "flushing")
			}
			h.crash(0)
		case "delete":
			if o.n > 8 {
				senders[1].deleteTopic(h.t)
			}
		case "archive":
			archiveAll(h.t, h.s)
		case "trim":
			if o.n > 6 {
				trimmed(h.t, h.s, TrimPolicy{})
			}
		}
		for _, w := range senders {
			w.s = h.s
		}
		if i%8 == 7 {
			h.check(verify(h.s, h.l, true), fmt.Sprintf("after op %d (%s)", i, o.kind))
		}
	}
	h.check(verify(h.s, h.l, true), "at the end")
	checkTail(h.t, h.s, newLedger())
	ends, bodies = h.contents()
	h.check(h.s.Close(), "closing")
	return ends, bodies
}

// crash goes on with what a crash at this moment leaves.
func (h *history) crash(percent int) {
	clone := h.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: newSender(nil, h.l, "", 3).rng})
	h.check(h.s.Close(), "closing")
	h.fs = clone
	h.open()
}

// contents is the end of every queue, and each message that is not trimmed.
func (h *history) contents() (ends string, bodies map[string]string) {
	bodies = make(map[string]string)
	for _, q := range h.s.Queues() {
		r, err := h.s.Range(context.Background(), q)
		h.check(err, "range")
		ends += fmt.Sprintf("%v ends at %d\n", q, r.To)
		for at := r.From; at < r.To; {
			b, err := h.s.Read(context.Background(), q, at, mq.Limit{})
			h.check(err, "reading")
			for rec := range mq.Records(b.Body) {
				bodies[fmt.Sprintf("%v %d", q, rec.QueueOffset())] = string(rec.Body())
			}
			at = b.Next
		}
	}
	return ends, bodies
}
