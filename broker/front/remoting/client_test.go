package remoting_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"

	"varve/broker"
)

// TestGoClient runs rocketmq-client-go v2.1.2 against a broker. Where a client
// misses its turn it waits up to 20 s for the next, so the scenarios run side
// by side on one broker, each with topics, groups and client instances of its
// own.
func TestGoClient(t *testing.T) {
	if raceDetector {
		t.Skip("rocketmq-client-go v2.1.2 has data races of its own")
	}
	rlog.SetLogLevel("fatal")
	n := startNode(t, nodeOptions{
		conf: func(c *broker.Config) {
			c.DelayLevels = "1s 1s 1s 1s 1s"
			c.TransactionTimeout, c.TransactionCheckInterval, c.TransactionMaxChecks = time.Second, time.Second, 6
		},
	})
	t.Run("scenarios", func(t *testing.T) {
		for name, f := range map[string]func(*testing.T, *node){
			"SendAndPull":   sendAndPull,
			"TagFilter":     tagFilter,
			"SQLFilter":     sqlFilter,
			"Broadcast":     broadcast,
			"Rebalance":     rebalance,
			"RetryToDLQ":    retryToDLQ,
			"Orderly":       orderly,
			"Admin":         adminTopics,
			"ResumeAtPlace": resumeAtPlace,
			"LargeBodies":   largeBodies,
			"RequestReply":  requestReply,
			"Transactions":  transactions,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f(t, n)
			})
		}
	})
}

func newProducer(t *testing.T, n *node, name string) rocketmq.Producer {
	t.Helper()
	p, err := rocketmq.NewProducer(
		producer.WithNsResolver(primitive.NewPassthroughResolver([]string{n.route})),
		producer.WithGroupName("P-"+name), producer.WithInstanceName("p-"+name), producer.WithRetry(0),
		producer.WithDefaultTopicQueueNums(4))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Shutdown() })
	return p
}

// createTopic makes a topic that consumers can find before the first send.
func createTopic(t *testing.T, n *node, topic string) {
	t.Helper()
	if err := n.broker.PutTopic(broker.Topic{Name: topic, ReadQueues: 4, WriteQueues: 4, Perm: 6}); err != nil {
		t.Fatal(err)
	}
}

// got gathers what a consumer receives: how often it saw each body.
type got struct {
	mu    sync.Mutex
	times map[string]int
	by    map[string]int // messages by consumer
}

func newGot() *got { return &got{times: map[string]int{}, by: map[string]int{}} }

func (g *got) add(who string, msgs []*primitive.MessageExt) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range msgs {
		g.times[string(m.Body)]++
		g.by[who]++
	}
}

func (g *got) count() (different, all int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range g.times {
		all += n
	}
	return len(g.times), all
}

func (g *got) from(who string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.by[who]
}

// push starts a push consumer that adds what it receives to g.
func push(t *testing.T, n *node, group, instance, topic string, sel consumer.MessageSelector, g *got, opts ...consumer.Option) rocketmq.PushConsumer {
	t.Helper()
	return pushFunc(t, n, group, instance, topic, sel, func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		g.add(instance, msgs)
		return consumer.ConsumeSuccess, nil
	}, opts...)
}

func pushFunc(t *testing.T, n *node, group, instance, topic string, sel consumer.MessageSelector,
	f func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error), opts ...consumer.Option,
) rocketmq.PushConsumer {
	t.Helper()
	// The client looks for the route of its retry topic once at its start and
	// then every 30 s, so the topic had better be there.
	retry := broker.Topic{Name: "%RETRY%" + group, ReadQueues: 1, WriteQueues: 1, Perm: 6}
	if err := n.broker.PutTopic(retry); err != nil {
		t.Fatal(err)
	}
	opts = append([]consumer.Option{
		consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{n.route})),
		consumer.WithGroupName(group), consumer.WithInstance(instance),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	}, opts...)
	c, err := rocketmq.NewPushConsumer(opts...)
	if err != nil {
		t.Fatal(err)
	}
	told := func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		defer n.stirred.fire()
		return f(ctx, msgs...)
	}
	if err := c.Subscribe(topic, sel, told); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Shutdown() })
	return c
}

func send(t *testing.T, p rocketmq.Producer, topic, tag, prefix string, from, to int) []*primitive.SendResult {
	t.Helper()
	var out []*primitive.SendResult
	for i := from; i < to; i++ {
		m := primitive.NewMessage(topic, fmt.Appendf(nil, "%s%d", prefix, i)).WithTag(tag).WithKeys([]string{fmt.Sprintf("key%d", i)})
		r, err := p.SendSync(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		if r.Status != primitive.SendOK || r.MsgID == "" || r.OffsetMsgID == "" {
			t.Fatalf("send result %+v", r)
		}
		out = append(out, r)
	}
	return out
}

// sendAndPull sends in all four ways and pulls everything back, queue by queue.
func sendAndPull(t *testing.T, n *node) {
	const topic = "pulled"
	p := newProducer(t, n, topic)
	want := map[string]int{}
	results := send(t, p, topic, "a", "sync", 0, 20)
	for i := range 20 {
		want[fmt.Sprintf("sync%d", i)] = 1
	}
	var async sync.WaitGroup
	for i := range 20 {
		async.Add(1)
		want[fmt.Sprintf("async%d", i)] = 1
		err := p.SendAsync(t.Context(), func(_ context.Context, r *primitive.SendResult, err error) {
			defer async.Done()
			if err != nil || r.Status != primitive.SendOK {
				t.Errorf("async send: %v, %v", r, err)
			}
		}, primitive.NewMessage(topic, fmt.Appendf(nil, "async%d", i)))
		if err != nil {
			t.Fatal(err)
		}
	}
	async.Wait()
	for i := range 20 {
		want[fmt.Sprintf("oneway%d", i)] = 1
		if err := p.SendOneWay(t.Context(), primitive.NewMessage(topic, fmt.Appendf(nil, "oneway%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	var batch []*primitive.Message
	for i := range 20 {
		want[fmt.Sprintf("batch%d", i)] = 1
		batch = append(batch, primitive.NewMessage(topic, fmt.Appendf(nil, "batch%d", i)).WithTag("b"))
	}
	r, err := p.SendSync(t.Context(), batch...)
	if err != nil || r.Status != primitive.SendOK {
		t.Fatalf("batch: %v, %v", r, err)
	}
	if ids := strings.Split(r.OffsetMsgID, ","); len(ids) != len(batch) {
		t.Errorf("batch of %d messages gave %d ids", len(batch), len(ids))
	}
	if results[0].RegionID != n.broker.Config().Region {
		t.Errorf("region %q", results[0].RegionID)
	}

	c, err := rocketmq.NewPullConsumer(
		consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{n.route})),
		consumer.WithGroupName("G-"+topic), consumer.WithInstance("c-"+topic))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Shutdown() })
	g := newGot()
	n.until(t, 20*time.Second, "one-way sends stored", func() bool {
		stored := int64(0)
		for id := range int32(4) {
			r, err := n.broker.QueueRange(t.Context(), topic, id)
			if err != nil {
				t.Fatal(err)
			}
			stored += r.To
		}
		return stored >= int64(len(want))
	})
	for id := range 4 {
		pullQueue(t, c, n, topic, id, g)
	}
	different, all := g.count()
	if different != len(want) || all != len(want) {
		t.Errorf("pulled %d messages, %d different, want %d", all, different, len(want))
	}
}

func pullQueue(t *testing.T, c rocketmq.PullConsumer, n *node, topic string, id int, g *got) {
	t.Helper()
	mq := &primitive.MessageQueue{Topic: topic, BrokerName: n.broker.Config().Broker, QueueId: id}
	end, err := n.broker.QueueRange(t.Context(), topic, int32(id))
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(0); at < end.To; { // a pull at the end would be held for 20 s
		r, err := c.PullFrom(t.Context(), mq, at, 7)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range r.GetMessageExts() {
			if m.QueueOffset != at+int64(i) {
				t.Errorf("queue %d: offset %d, want %d", id, m.QueueOffset, at+int64(i))
			}
		}
		g.add("pull", r.GetMessageExts())
		at = r.NextBeginOffset
	}
}

// tagFilter consumes two of three tags.
func tagFilter(t *testing.T, n *node) {
	const topic = "tagged"
	createTopic(t, n, topic)
	g := newGot()
	push(t, n, "G-tagged", "c-tagged", topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "red || blue"}, g)
	p := newProducer(t, n, topic)
	for _, tag := range []string{"red", "green", "blue"} {
		send(t, p, topic, tag, tag, 0, 10)
	}
	n.until(t, 30*time.Second, "messages of both tags", func() bool { d, _ := g.count(); return d >= 20 })
	if d, all := g.count(); d != 20 || all != 20 {
		t.Errorf("%d messages, %d different, want 20", all, d)
	}
	for body := range g.times {
		if strings.HasPrefix(body, "green") {
			t.Errorf("got %q", body)
		}
	}
}

// sqlFilter consumes by an expression over a property. The client asks for it
// in its heartbeat and says TAG in its pulls all the same.
func sqlFilter(t *testing.T, n *node) {
	const topic = "selected"
	createTopic(t, n, topic)
	g := newGot()
	push(t, n, "G-selected", "c-selected", topic, consumer.MessageSelector{Type: consumer.SQL92, Expression: "price > 10 AND kind IN ('a', 'b')"}, g)
	p := newProducer(t, n, topic)
	want := 0
	for i := range 30 {
		kind := string(rune('a' + i%3))
		m := primitive.NewMessage(topic, fmt.Appendf(nil, "%d", i))
		m.WithProperty("price", fmt.Sprint(i))
		m.WithProperty("kind", kind)
		if i > 10 && kind != "c" {
			want++
		}
		if _, err := p.SendSync(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	n.until(t, 30*time.Second, "selected messages", func() bool { d, _ := g.count(); return d >= want })
	if d, all := g.count(); d != want || all != want {
		t.Errorf("%d messages, %d different, want %d", all, d, want)
	}
}

// broadcast has two members that both get everything.
func broadcast(t *testing.T, n *node) {
	const topic = "broadcast"
	createTopic(t, n, topic)
	all := consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}
	var gots [2]*got
	for i := range gots {
		gots[i] = newGot()
		// The client keeps its progress in a file of its instance's name.
		instance := fmt.Sprintf("c-broadcast%d-%d", i, time.Now().UnixNano())
		push(t, n, "G-broadcast", instance, topic, all, gots[i], consumer.WithConsumerModel(consumer.BroadCasting))
	}
	p := newProducer(t, n, topic)
	send(t, p, topic, "a", "m", 0, 40)
	for i, g := range gots {
		n.until(t, 30*time.Second, "everything broadcast", func() bool { d, _ := g.count(); return d >= 40 })
		if _, n := g.count(); n != 40 {
			t.Errorf("member %d got %d messages, want 40", i, n)
		}
	}
}

// rebalance starts a second member while the first consumes: the broker's
// notice (code 40) has them share the queues at once, and again when one goes.
func rebalance(t *testing.T, n *node) {
	const topic = "shared"
	createTopic(t, n, topic)
	all := consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}
	g := newGot()
	p := newProducer(t, n, topic)
	push(t, n, "G-shared", "c-first", topic, all, g)
	send(t, p, topic, "a", "one", 0, 20)
	n.until(t, 30*time.Second, "the first member consumes alone", func() bool { d, _ := g.count(); return d >= 20 })
	start := time.Now()
	second := push(t, n, "G-shared", "c-second", topic, all, g)
	sent := 0
	for g.from("c-second") == 0 || g.from("c-first") <= 20 { // until the second member has its share
		if time.Since(start) > 40*time.Second {
			t.Fatalf("the second member has no share of %d messages", sent)
		}
		send(t, p, topic, "a", "two", sent, sent+8)
		sent += 8
		n.until(t, 30*time.Second, "both together get everything", func() bool { d, _ := g.count(); return d >= 20+sent })
	}
	t.Logf("shared after %s", time.Since(start).Round(time.Millisecond))
	if err := second.Shutdown(); err != nil {
		t.Error(err)
	}
	send(t, p, topic, "a", "three", 0, 20)
	n.until(t, 40*time.Second, "the first member takes over", func() bool { d, _ := g.count(); return d >= 40+sent })
}
