package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/broker/pop"
	"varve/internal/mq"
)

// popped is what a pop was answered.
type popped struct {
	PopResult
	err error
}

func (p popped) bodies() (out []string) {
	for i := range p.Messages {
		out = append(out, string(p.Messages[i].Record.Body()))
	}
	return out
}

func (p popped) handles() (out []Handle) {
	for i := range p.Messages {
		out = append(out, p.Messages[i].Handle)
	}
	return out
}

// popReq pops from every queue of a topic.
func popReq(topic string) PopRequest {
	return PopRequest{Group: "g", Topic: topic, QueueID: AnyQueue, MaxMessages: 32, Invisible: 10 * time.Second, FromMin: true}
}

func (r *rig) popAsync(req PopRequest) <-chan popped {
	ch := make(chan popped, 2) // room for a second answer, which would be a fault
	r.Pop(r.t.Context(), &req, func(p PopResult, err error) { ch <- popped{p, err} })
	return ch
}

// pop waits for the answer and demands success.
func (r *rig) pop(req PopRequest) popped {
	r.t.Helper()
	p := <-r.popAsync(req)
	if p.err != nil {
		r.t.Fatalf("pop: %v", p.err)
	}
	at := 0
	for i := range p.Messages {
		m := &p.Messages[i]
		if string(p.Body[at:at+len(m.Record)]) != string(m.Record) {
			r.t.Errorf("record %d doesn't lie at %d of the body", i, at)
		}
		at += len(m.Record)
		if m.Handle.Offset != m.Record.QueueOffset() || m.Handle.PhysicalOffset != m.Record.PhysicalOffset() || string(m.Record.Topic()) != req.Topic {
			r.t.Errorf("handle %s of a record of topic %s at %d", m.Handle.String(), m.Record.Topic(), m.Record.QueueOffset())
		}
	}
	if at != len(p.Body) {
		r.t.Errorf("body of %d bytes has records of %d", len(p.Body), at)
	}
	return p
}

func (r *rig) ack(hs ...Handle) {
	r.t.Helper()
	for _, err := range r.Ack(r.t.Context(), "g", hs) {
		if err != nil {
			r.t.Errorf("ack: %v", err)
		}
	}
}

func (r *rig) sendN(topic string, queue int32, from, to int) {
	r.t.Helper()
	for i := from; i < to; i++ {
		r.send(message(topic, queue, fmt.Sprint("m", i), mq.PropTags, fmt.Sprint("t", i%2)))
	}
}

func (r *rig) topic(name string, queues int32) {
	r.t.Helper()
	if err := r.PutTopic(Topic{Name: name, ReadQueues: queues, WriteQueues: queues, Perm: 6}); err != nil {
		r.t.Fatal(err)
	}
}

func TestPopAndAck(t *testing.T) {
	r := newRig(t, vfs.NewMem(), nil)
	defer r.stop()
	r.topic("orders", 2)
	r.sendN("orders", 0, 0, 20)
	r.sendN("orders", 1, 20, 40)
	p := r.pop(popReq("orders"))
	if len(p.Messages) != 32 || p.Rest != 8 {
		t.Fatalf("%d messages, rest %d", len(p.Messages), p.Rest)
	}
	q := r.pop(popReq("orders"))
	if len(q.Messages) != 8 || q.Rest != 0 {
		t.Fatalf("%d messages, rest %d", len(q.Messages), q.Rest)
	}
	all := append(p.bodies(), q.bodies()...)
	slices.Sort(all)
	if len(slices.Compact(all)) != 40 {
		t.Fatalf("popped %v", all)
	}
	if s := r.Stats(); s.PopInFlight != 40 {
		t.Errorf("%d in flight", s.PopInFlight)
	}
	hs := append(p.handles(), q.handles()...)
	for _, h := range hs {
		for text := range slices.Values([]string{h.String(), h.ExtraInfo()}) {
			if back, err := ParseHandle("g", "orders", text); err != nil || back.ExtraInfo() != h.ExtraInfo() || back.Topic != h.Topic {
				t.Fatalf("handle %q came back as %+v, %v", text, back, err)
			}
		}
	}
	r.ack(hs[1:]...)
	first := hs[0]
	if off, err := r.QueryOffset(t.Context(), "g", "orders", first.QueueID, false); err != nil || off != 0 {
		t.Errorf("progress %d, %v while the first message is out", off, err)
	}
	r.ack(first)
	r.ack(hs...) // once more is no error
	for id := range int32(2) {
		if off, err := r.QueryOffset(t.Context(), "g", "orders", id, false); err != nil || off != 20 {
			t.Errorf("progress of queue %d: %d, %v", id, off, err)
		}
	}
	if p := r.pop(popReq("orders")); p.Status != PopNone {
		t.Errorf("status %d with %v", p.Status, p.bodies())
	}
	if s := r.Stats(); s.PopInFlight != 0 || s.Acks != 80 {
		t.Errorf("%d in flight, %d acks", s.PopInFlight, s.Acks)
	}
	bad := first
	bad.PopMillis--
	if errs := r.Ack(t.Context(), "g", []Handle{bad}); errs != nil {
		t.Errorf("ack below the progress within its time: %v", errs)
	}
	bad.InvisibleMillis = -100_000
	if errs := r.Ack(t.Context(), "g", []Handle{bad}); errs == nil || !errors.Is(errs[0], ErrHandleExpired) {
		t.Errorf("late ack: %v", errs)
	}
}

// TestPopHeld holds pops until a message comes that they want.
func TestPopHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, vfs.NewMem(), nil)
		defer r.stop()
		r.topic("orders", 2)
		req := popReq("orders")
		req.Wait, req.Expression = 15*time.Second, "t1"
		waits := r.popAsync(req)
		synctest.Wait()
		if n := r.HeldPops("g", "orders", AnyQueue); n != 1 {
			t.Fatalf("%d pops held", n)
		}
		r.send(message("orders", 0, "no", mq.PropTags, "t0"))
		synctest.Wait()
		select {
		case p := <-waits:
			t.Fatalf("answered %v, %v", p.bodies(), p.err)
		default:
		}
		r.send(message("orders", 1, "yes", mq.PropTags, "t1"))
		if p := <-waits; !slices.Equal(p.bodies(), []string{"yes"}) {
			t.Errorf("got %v, %v", p.bodies(), p.err)
		} else {
			r.ack(p.handles()...)
		}
		// Two wait, one message: one is answered, the other one at its end.
		one, two := r.popAsync(req), r.popAsync(req)
		synctest.Wait()
		r.send(message("orders", 0, "again", mq.PropTags, "t1"))
		if p := <-one; !slices.Equal(p.bodies(), []string{"again"}) {
			t.Errorf("got %v, %v", p.bodies(), p.err)
		} else {
			r.ack(p.handles()...)
		}
		start := time.Now()
		if p := <-two; p.err != nil || p.Status != PopNone || time.Since(start) != 15*time.Second {
			t.Errorf("status %d, %v after %s", p.Status, p.err, time.Since(start))
		}
	})
}

// TestPopRetries lets messages expire until they are dead letters.
func TestPopRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, vfs.NewMem(), nil)
		defer r.stop()
		g := DefaultGroup("g")
		g.RetryMaxTimes = 2
		if err := r.PutGroup(g); err != nil {
			t.Fatal(err)
		}
		r.topic("orders", 1)
		r.sendN("orders", 0, 0, 3)
		req := popReq("orders")
		req.Wait = 20 * time.Second
		first := r.pop(req)
		r.ack(first.Messages[1].Handle)
		for try := int32(1); try <= 2; try++ {
			start := time.Now()
			var got []string
			for len(got) < 2 {
				p := r.pop(req)
				for _, m := range p.Messages {
					got = append(got, string(m.Record.Body()))
					if m.Deliveries != try || m.Record.ReconsumeTimes() != try || m.Handle.Retry != pop.RetryV1 || m.Handle.Topic != "%RETRY%g_orders" {
						t.Errorf("try %d: deliveries %d, handle %+v", try, m.Deliveries, m.Handle)
					}
					ck, _ := mq.Property(m.Record.Properties(), mq.PropPopCK)
					born, _ := mq.Property(m.Record.Properties(), mq.PropFirstPopTime)
					if string(ck) != m.Handle.ExtraInfo() || string(born) != fmt.Sprint(first.PopMillis) {
						t.Errorf("POP_CK %q, first popped %q", ck, born)
					}
				}
			}
			slices.Sort(got)
			if d := time.Since(start); !slices.Equal(got, []string{"m0", "m2"}) || d < 9*time.Second || d > 11*time.Second {
				t.Errorf("try %d gave %v after %s", try, got, d)
			}
		}
		if errs := r.Ack(t.Context(), "g", first.handles()[:1]); errs == nil || !errors.Is(errs[0], ErrHandleExpired) {
			t.Errorf("ack of what was taken back: %v", errs)
		}
		if p := r.pop(req); p.Status != PopNone {
			t.Errorf("got %v", p.bodies())
		}
		dead := r.all("%DLQ%g", 0)
		if len(dead) != 2 || dead[0].ReconsumeTimes != 3 || dead[0].Property(mq.PropRetryTopic) != "orders" {
			t.Errorf("dead letters %v", dead)
		}
		if s := r.Stats(); s.PopInFlight != 0 || s.PopRetries != 4 || s.DeadLetters != 2 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestPopChangeInvisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, vfs.NewMem(), nil)
		defer r.stop()
		r.topic("orders", 1)
		r.sendN("orders", 0, 0, 3)
		req := popReq("orders")
		hs := r.pop(req).handles()
		longer, err := r.ChangeInvisible(t.Context(), "g", hs[0], time.Minute, false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.ChangeInvisible(t.Context(), "g", hs[0], time.Minute, false); !errors.Is(err, ErrHandleExpired) {
			t.Errorf("second change by the old handle: %v", err)
		}
		if errs := r.Ack(t.Context(), "g", hs[:1]); errs == nil || !errors.Is(errs[0], ErrHandleExpired) {
			t.Errorf("ack by the old handle: %v", errs)
		}
		if _, err := r.ChangeInvisible(t.Context(), "g", hs[1], time.Second, true); err != nil {
			t.Fatal(err)
		}
		if err := r.DeadLetter(t.Context(), "g", hs[2], 5); err != nil {
			t.Fatal(err)
		}
		if err := r.DeadLetter(t.Context(), "g", hs[2], 5); !errors.Is(err, ErrHandleExpired) {
			t.Errorf("second dead letter: %v", err)
		}
		req.Wait = 20 * time.Second
		start := time.Now()
		p := r.pop(req)
		if d := time.Since(start); !slices.Equal(p.bodies(), []string{"m1"}) || d < time.Second || d > 2*time.Second || p.Messages[0].Deliveries != 0 {
			t.Errorf("got %v after %s, %d deliveries", p.bodies(), d, p.Messages[0].Deliveries)
		}
		r.ack(p.handles()...)
		if p := r.pop(req); p.Status != PopNone {
			t.Errorf("got %v", p.bodies())
		}
		r.ack(longer)
		if dead := r.all("%DLQ%g", 0); len(dead) != 1 || string(dead[0].Body) != "m2" || dead[0].Property(mq.PropMaxReconsumeTimes) != "5" {
			t.Errorf("dead letters %v", dead)
		}
		if off, err := r.QueryOffset(t.Context(), "g", "orders", 0, false); err != nil || off != 3 {
			t.Errorf("progress %d, %v", off, err)
		}
	})
}

// TestPopOrdered gives out one batch a queue at a time.
func TestPopOrdered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, vfs.NewMem(), nil)
		defer r.stop()
		g := DefaultGroup("g")
		g.RetryMaxTimes = 1
		if err := r.PutGroup(g); err != nil {
			t.Fatal(err)
		}
		r.topic("orders", 1)
		r.sendN("orders", 0, 0, 5)
		req := popReq("orders")
		req.Ordered, req.MaxMessages, req.AttemptID = true, 2, "a"
		first := r.pop(req)
		if !slices.Equal(first.bodies(), []string{"m0", "m1"}) || first.Messages[0].Handle.Revive != pop.OrderedRevive {
			t.Fatalf("got %v", first.bodies())
		}
		again := r.pop(req) // the same attempt
		if !slices.Equal(again.bodies(), []string{"m0", "m1"}) || again.Messages[0].Deliveries != 0 {
			t.Fatalf("the same attempt got %v", again.bodies())
		}
		other := req
		other.AttemptID = "b"
		if p := r.pop(other); p.Status != PopNone {
			t.Fatalf("another attempt got %v", p.bodies())
		}
		other.Wait = 20 * time.Second
		held := r.popAsync(other)
		synctest.Wait()
		hs := again.handles()
		r.ack(hs[0])
		start := time.Now()
		p := <-held // m1 is not acked: it comes again when its time is over
		if d := time.Since(start); !slices.Equal(p.bodies(), []string{"m1"}) || p.Messages[0].Deliveries != 1 || d < 9*time.Second || d > 11*time.Second {
			t.Fatalf("got %v after %s, %v", p.bodies(), d, p.err)
		}
		other.AttemptID = "c"
		held = r.popAsync(other)
		synctest.Wait()
		r.ack(p.handles()...)
		if p = <-held; !slices.Equal(p.bodies(), []string{"m2", "m3"}) {
			t.Fatalf("got %v, %v", p.bodies(), p.err)
		}
		other.AttemptID = ""
		// Twice not acked: dead letters, and the queue goes on.
		if p = r.pop(other); !slices.Equal(p.bodies(), []string{"m4"}) && !slices.Equal(p.bodies(), []string{"m2", "m3"}) {
			t.Fatalf("got %v", p.bodies())
		}
		for !slices.Equal(p.bodies(), []string{"m4"}) {
			if p = r.pop(other); p.Status == PopNone {
				t.Fatal("the queue doesn't go on")
			}
		}
		r.ack(p.handles()...)
		synctest.Wait()
		dead := r.all("%DLQ%g", 0)
		if len(dead) != 2 || string(dead[0].Body) != "m2" || string(dead[1].Body) != "m3" {
			t.Errorf("dead letters %v", dead)
		}
	})
}

// TestPopOrderedAckBehindAnUnackedMessage: what was acked behind a message of
// the batch comes again behind it, and is no failed delivery.
func TestPopOrderedAckBehindAnUnackedMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, vfs.NewMem(), nil)
		defer r.stop()
		g := DefaultGroup("g")
		g.RetryMaxTimes = 1
		if err := r.PutGroup(g); err != nil {
			t.Fatal(err)
		}
		r.topic("orders", 1)
		r.sendN("orders", 0, 0, 5)
		req := popReq("orders")
		req.Ordered, req.MaxMessages = true, 3
		p := r.pop(req)
		if !slices.Equal(p.bodies(), []string{"m0", "m1", "m2"}) {
			t.Fatalf("got %v", p.bodies())
		}
		r.ack(p.handles()[1:]...)
		req.Wait = 20 * time.Second
		if p = r.pop(req); !slices.Equal(p.bodies(), []string{"m0", "m1", "m2"}) {
			t.Fatalf("again %v", p.bodies())
		}
		for i, before := range []int32{1, 0, 0} {
			if got := p.Messages[i].Deliveries; got != before {
				t.Errorf("m%d: %d deliveries before, want %d", i, got, before)
			}
		}
		r.ack(p.handles()...)
		if p = r.pop(req); !slices.Equal(p.bodies(), []string{"m3", "m4"}) {
			t.Fatalf("then %v", p.bodies())
		}
		r.ack(p.handles()...)
		if dead := r.all("%DLQ%g", 0); len(dead) != 0 {
			t.Errorf("dead letters %v", dead)
		}
		if off, err := r.QueryOffset(t.Context(), "g", "orders", 0, false); err != nil || off != 5 {
			t.Errorf("progress %d, %v", off, err)
		}
	})
}

func TestPopLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, vfs.NewMem(), func(c *Config, _ *Deps) { c.MaxPopQueue = 10 })
		defer r.stop()
		r.topic("orders", 1)
		r.sendN("orders", 0, 0, 20)
		p := r.pop(popReq("orders"))
		if len(p.Messages) != 10 {
			t.Fatalf("%d messages", len(p.Messages))
		}
		if p := r.pop(popReq("orders")); p.Status != PopFull {
			t.Errorf("status %d", p.Status)
		}
		req := popReq("orders")
		req.Wait = 5 * time.Second
		held := r.popAsync(req)
		synctest.Wait()
		r.ack(p.handles()...)
		if p := <-held; p.err != nil || len(p.Messages) == 0 {
			t.Errorf("status %d, %v", p.Status, p.err)
		}
	})
}

// TestPopReset moves a group's progress while messages are out.
func TestPopReset(t *testing.T) {
	r := newRig(t, vfs.NewMem(), nil)
	defer r.stop()
	r.topic("orders", 1)
	r.sendN("orders", 0, 0, 10)
	before := r.pop(popReq("orders")).handles()
	r.ack(before...)
	if _, err := r.ResetOffset(t.Context(), &ResetRequest{Group: "g", Topic: "orders", QueueID: 0, Offset: 4}); err != nil {
		t.Fatal(err)
	}
	p := r.pop(popReq("orders"))
	if len(p.Messages) != 6 || p.Messages[0].Handle.Offset != 4 {
		t.Fatalf("got %v", p.bodies())
	}
	r.ack(p.handles()...)
	if off, err := r.QueryOffset(t.Context(), "g", "orders", 0, false); err != nil || off != 10 {
		t.Errorf("progress %d, %v", off, err)
	}
	if err := r.CommitOffset("g", "orders", 0, 7); err != nil {
		t.Fatal(err)
	}
	if p := r.pop(popReq("orders")); len(p.Messages) != 3 {
		t.Errorf("after a commit by somebody else got %v", p.bodies())
	}
	if err := r.DeleteTopic(context.Background(), "orders"); err != nil {
		t.Fatal(err)
	}
	if s := r.Stats(); s.PopInFlight != 0 {
		t.Errorf("%d in flight after the topic went", s.PopInFlight)
	}
}

// The bound on an answer's bytes holds over all queues of a topic.
func TestAPopOfManyQueuesIsBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, vfs.NewMem(), func(c *Config, _ *Deps) { c.MaxPullBytes = 40 << 10 })
		defer r.stop()
		if err := r.PutTopic(Topic{Name: "t", ReadQueues: 8, WriteQueues: 8, Perm: 6}); err != nil {
			t.Fatal(err)
		}
		for q := range int32(8) {
			r.send(message("t", q, strings.Repeat("x", 30<<10)))
		}
		req := popReq("t")
		if _, n, rest, err := r.Peek(t.Context(), &req); err != nil || n != 2 || rest != 6 {
			t.Errorf("peeked at %d messages, %d are left: %v", n, rest, err)
		}
		got := 0
		for _, want := range []int{2, 2, 2, 2} {
			p := r.pop(popReq("t"))
			if len(p.Messages) != want {
				t.Errorf("%d messages of 30 KiB in an answer of at most 40 KiB and one message", len(p.Messages))
			}
			got += len(p.Messages)
			if (p.Rest == 0) != (got == 8) {
				t.Errorf("%d of 8 messages were given out, and %d are left", got, p.Rest)
			}
		}
	})
}
