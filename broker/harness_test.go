package broker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot"
	"varve/internal/meta"
	"varve/internal/mq"
)

// rig is a broker on a file system in memory.
type rig struct {
	*Broker
	t    testing.TB
	fs   vfs.FS
	log  *hot.Store
	meta *meta.Store
	stop func()
	// endRun ends Run and leaves the broker open.
	endRun func()
}

var testHost = netip.MustParseAddrPort("127.0.0.1:10911")

func newRig(t testing.TB, fs vfs.FS, change func(*Config, *Deps)) *rig {
	t.Helper()
	r := &rig{t: t, fs: fs}
	var err error
	if r.log, err = hot.Open("log", hot.Options{FS: fs, Broker: defaultBroker, StoreHost: testHost, MinFreeBytes: -1, SegmentBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	if r.meta, err = meta.Open("meta", fs); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.StoreHost = testHost
	d := Deps{Log: r.log, Meta: r.meta}
	if change != nil {
		change(&cfg, &d)
	}
	if r.Broker, err = New(cfg, d); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	r.endRun = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	r.stop = func() {
		r.endRun()
		if err := r.Broker.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := r.log.Close(); err != nil {
			t.Errorf("close log: %v", err)
		}
		if err := r.meta.Close(); err != nil {
			t.Errorf("close meta: %v", err)
		}
	}
	return r
}

// message makes a message; props are names and values in turn.
func message(topic string, queue int32, body string, props ...string) mq.Message {
	m := mq.Message{Topic: topic, QueueID: queue, Body: []byte(body), BornTimeMillis: 1, BornHost: testHost}
	for i := 0; i < len(props); i += 2 {
		m.Properties = mq.AppendProperty(m.Properties, props[i], props[i+1])
	}
	return m
}

func (r *rig) send(m mq.Message) Receipt {
	r.t.Helper()
	got, err := r.trySend(&SendRequest{Message: m})
	if err != nil {
		r.t.Fatalf("send to %s: %v", m.Topic, err)
	}
	return got[0]
}

func (r *rig) trySend(req *SendRequest) ([]Receipt, error) {
	if req.DefaultQueues == 0 {
		req.DefaultQueues = 4
	}
	if req.MaxReconsumeTimes == 0 {
		req.MaxReconsumeTimes = -1
	}
	return r.Send(r.t.Context(), req)
}

// client is a connection that counts what it is told.
type client struct {
	told chan string
	addr netip.AddrPort
	deaf bool // takes no questions
}

func newClient() *client { return &client{told: make(chan string, 64), addr: testHost} }

func (c *client) RemoteAddr() netip.AddrPort { return c.addr }

func (c *client) NotifyMembersChanged(group string) { c.told <- group }

// CheckTransaction notes the question.
func (c *client) CheckTransaction(_ context.Context, h *HalfMessage) error {
	if c.deaf {
		return errors.New("connection is gone")
	}
	times, _ := mq.Property(h.Record.Properties(), "TRANSACTION_CHECK_TIMES")
	c.told <- fmt.Sprintf("%s/%d %s of %s, time %s", h.Record.Topic(), h.Record.QueueID(), h.Record.Body(), h.Group, times)
	return nil
}

// join has a client in a group that wants one topic.
func (r *rig) join(c Client, id, group, topic, expression string) {
	r.t.Helper()
	_, err := r.Heartbeat(c, &Heartbeat{ClientID: id, Consumers: []ConsumerBeat{{
		Group: group, ConsumeType: "CONSUME_PASSIVELY", MessageModel: "CLUSTERING",
		Subscriptions: []Subscription{{Topic: topic, Expression: expression, Type: "TAG", Version: 1}},
	}}})
	if err != nil {
		r.t.Fatal(err)
	}
}

// pulled is what a pull was answered.
type pulled struct {
	PullResult
	err error
}

// bodies gives the messages' bodies.
func (p pulled) bodies() (out []string) {
	for rec := range mq.Records(p.Batch.Body) {
		out = append(out, string(rec.Body()))
	}
	return out
}

func (p pulled) String() string {
	if p.err != nil {
		return "error: " + p.err.Error()
	}
	names := []string{"found", "no new", "no match", "moved", "elsewhere"}
	s := fmt.Sprintf("%s, next %d, range %d to %d", names[p.Status], p.Next, p.Min, p.Max)
	if p.Suggest != 0 {
		s += fmt.Sprintf(", from broker %d", p.Suggest)
	}
	if b := p.bodies(); len(b) > 0 {
		s += fmt.Sprintf(": %v", b)
	}
	return s
}

// pullAsync starts a pull; its answer comes on the channel.
func (r *rig) pullAsync(req PullRequest) <-chan pulled {
	ch := make(chan pulled, 2) // room for a second answer, which would be a fault
	var returned atomic.Bool
	r.Pull(r.t.Context(), &req, func(p PullResult, err error) {
		if p.Here && returned.Load() {
			r.t.Error("a pull was answered by another goroutine that says it was not")
		}
		ch <- pulled{p, err}
	})
	returned.Store(true)
	return ch
}

// inline is a pull that brings its own subscription.
func inline(topic string, queue int32, offset int64) PullRequest {
	return PullRequest{Group: "reader", Topic: topic, QueueID: queue, Offset: offset, MaxMessages: 32, CommitOffset: -1, Inline: true, Expression: "*"}
}

// all reads a queue from its start on.
func (r *rig) all(topic string, queue int32) (out []mq.Message) {
	r.t.Helper()
	q := r.queue(topic, queue)
	rng, _, err := r.hotRange(context.Background(), q)
	if err != nil {
		r.t.Fatal(err)
	}
	for at := rng.From; at < rng.To; {
		b, err := r.log.Read(context.Background(), q, at, mq.Limit{})
		if err != nil {
			r.t.Fatal(err)
		}
		for rec := range mq.Records(b.Body) {
			m, err := rec.Decode()
			if err != nil {
				r.t.Fatal(err)
			}
			out = append(out, m)
		}
		at = b.Next
	}
	return out
}

// props gives a message's properties as "name=value", sorted, without those
// that the broker adds to every message.
func props(m mq.Message) (out []string) {
	for k, v := range mq.Properties(m.Properties) {
		switch k {
		case mq.PropUniqKey, mq.PropMsgRegion, mq.PropTraceOn, mq.PropCluster:
			continue
		}
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}
