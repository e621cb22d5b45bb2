package broker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/broker/pop"
)

// One message that nobody acks holds up no other: what lies behind it is given
// out and acked, and stays acked after a start.
func TestPopGoesOnBehindOneMessage(t *testing.T) {
	const limit, all = 20, 50 * 20
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		r := newRig(t, fs, func(c *Config, _ *Deps) { c.MaxPopQueue = limit })
		defer func() { r.stop() }()
		r.topic("orders", 1)
		r.sendN("orders", 0, 0, all)
		req := popReq("orders")
		req.Invisible = time.Hour
		req.MaxMessages = 10
		var held, acked []Handle
		for got := 0; got < all; {
			p := r.pop(req)
			if p.Status != PopFound {
				t.Fatalf("status %d with %d of %d messages given out", p.Status, got, all)
			}
			hs := p.handles()
			if got == 0 {
				held, hs = hs[:1], hs[1:]
			}
			r.ack(hs...)
			got, acked = got+len(p.Messages), append(acked, hs...)
		}
		r.ack(acked...) // once more is no error
		if off, err := r.QueryOffset(t.Context(), "g", "orders", 0, false); err != nil || off != 0 {
			t.Errorf("progress %d, %v while the first message is out", off, err)
		}
		r.stop()

		r = newRig(t, fs, func(c *Config, _ *Deps) { c.MaxPopQueue = limit })
		if p := r.pop(req); p.Status != PopNone {
			t.Errorf("after a start: status %d with %v", p.Status, p.bodies())
		}
		r.ack(held...)
		if off, err := r.QueryOffset(t.Context(), "g", "orders", 0, false); err != nil || off != all {
			t.Errorf("progress %d, %v with everything acked", off, err)
		}
	})
}

// What a group may have in flight is shared by its topics: an ack in one wakes
// who waits for room in the other.
func TestAnAckMakesRoomInTheGroupsOtherTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, vfs.NewMem(), func(c *Config, _ *Deps) { c.MaxPopGroup = 10 })
		defer r.stop()
		r.topic("orders", 1)
		r.topic("bills", 1)
		r.sendN("orders", 0, 0, 10)
		out := r.pop(popReq("orders")).handles()
		r.sendN("bills", 0, 0, 2)
		req := popReq("bills")
		req.Wait, req.MaxMessages = time.Minute, 1
		first, second := r.popAsync(req), r.popAsync(req)
		synctest.Wait()
		began := time.Now()
		r.ack(out[0])
		r.ack(out[1])
		for _, ch := range []<-chan popped{first, second} {
			if p := <-ch; p.err != nil || len(p.Messages) != 1 || time.Since(began) != 0 {
				t.Errorf("%d messages, %v, %v after the acks", len(p.Messages), p.err, time.Since(began))
			}
		}
	})
}

// Room that a woken pop doesn't use goes to the next one, of whatever topic.
func TestRoomInAGroupIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, vfs.NewMem(), func(c *Config, _ *Deps) { c.MaxPopGroup = 2 })
		defer r.stop()
		for _, name := range []string{"orders", "bills", "notes"} {
			r.topic(name, 1)
			r.sendN(name, 0, 0, 2)
		}
		out := r.pop(popReq("orders")).handles()
		wait := func(topic, expression string) <-chan popped {
			req := popReq(topic)
			req.Wait, req.Expression = time.Minute, expression
			defer synctest.Wait()
			return r.popAsync(req)
		}
		none, some := wait("bills", "nobody-has-this-tag"), wait("notes", "*")
		began := time.Now()
		r.ack(out[0])
		if p := <-some; p.err != nil || len(p.Messages) == 0 || time.Since(began) != 0 {
			t.Errorf("%d messages, %v, %v after the acks", len(p.Messages), p.err, time.Since(began))
		}
		if p := <-none; p.err != nil || len(p.Messages) != 0 {
			t.Errorf("%v, %v", p.bodies(), p.err)
		}
	})
}

// A window that was full of messages that went to the retry topic has room once
// the log has synced that, and wakes who waits for it.
func TestWhatWasTakenBackMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, vfs.NewMem(), func(c *Config, _ *Deps) { c.MaxPopQueue = 10 })
		defer r.stop()
		r.topic("orders", 1)
		r.sendN("orders", 0, 0, 20)
		req := popReq("orders")
		req.Invisible = time.Second
		if p := r.pop(req); len(p.Messages) != 10 {
			t.Fatalf("%d messages", len(p.Messages))
		}
		req.Wait, req.Invisible = time.Minute, time.Hour
		began := time.Now()
		retries, others := r.popAsync(req), r.popAsync(req)
		for _, ch := range []<-chan popped{retries, others} {
			if p := <-ch; p.err != nil || len(p.Messages) != 10 || time.Since(began) > 10*time.Second {
				t.Errorf("%d messages, %v, after %v", len(p.Messages), p.err, time.Since(began))
			}
		}
	})
}

// What a group has in flight of a topic that is deleted is room in the others.
func TestADeletedTopicMakesRoomInTheGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, vfs.NewMem(), func(c *Config, _ *Deps) { c.MaxPopGroup = 10 })
		defer r.stop()
		for _, name := range []string{"orders", "bills"} {
			r.topic(name, 1)
			r.sendN(name, 0, 0, 10)
		}
		if p := r.pop(popReq("orders")); len(p.Messages) != 10 {
			t.Fatalf("%d messages", len(p.Messages))
		}
		req := popReq("bills")
		req.Wait = time.Minute
		held := r.popAsync(req)
		synctest.Wait()
		began := time.Now()
		if err := r.DeleteTopic(t.Context(), "orders"); err != nil {
			t.Fatal(err)
		}
		if p := <-held; p.err != nil || len(p.Messages) != 10 || time.Since(began) != 0 {
			t.Errorf("%d messages, %v, %v after the topic's end", len(p.Messages), p.err, time.Since(began))
		}
	})
}

// A pop asks for a queue's end before it has the queue's window. What another
// one gave out meanwhile, beyond that end, stays in flight.
func TestAPopOfAnOlderEndForgetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, vfs.NewMem(), nil)
		defer r.stop()
		r.topic("orders", 1)
		r.sendN("orders", 0, 0, 1)
		q := r.queue("orders", 0)
		older, known, err := r.hotRange(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		r.sendN("orders", 0, 1, 10)
		out := r.pop(popReq("orders")).handles()

		req := popReq("orders")
		w := r.pops.Window(pop.Key{Group: req.Group, Topic: req.Topic})
		w.Lock()
		ok, err := r.placePop(r.newPopTurn(&popping{ctx: t.Context(), req: &req}), w, q, pop.RetryNone, older, known)
		w.Unlock()
		if !ok || err != nil {
			t.Fatalf("placed: %t, %v", ok, err)
		}
		r.ack(out[0])
		time.Sleep(req.Invisible + time.Second)
		if again := r.pop(req); len(again.Messages) != len(out)-1 {
			t.Errorf("%d messages were given out and one acked; %v come again", len(out), again.bodies())
		}
	})
}
