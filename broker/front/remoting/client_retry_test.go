package remoting_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// retryToDLQ fails a message until it is a dead letter.
func retryToDLQ(t *testing.T, n *node) {
	const topic, group = "failing", "G-failing"
	createTopic(t, n, topic)
	var mu sync.Mutex
	var times []int32
	pushFunc(t, n, group, "c-failing", topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "*"},
		func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			mu.Lock()
			defer mu.Unlock()
			for _, m := range msgs {
				times = append(times, m.ReconsumeTimes)
			}
			return consumer.ConsumeRetryLater, nil
		}, consumer.WithMaxReconsumeTimes(2))
	p := newProducer(t, n, topic)
	send(t, p, topic, "a", "bad", 0, 1)
	var end int64
	n.until(t, 60*time.Second, "a dead letter", func() bool {
		r, err := n.broker.QueueRange(t.Context(), "%DLQ%"+group, 0)
		end = r.To
		return err == nil && end > 0
	})
	mu.Lock()
	defer mu.Unlock()
	if fmt.Sprint(times) != "[0 1 2]" || end != 1 {
		t.Errorf("delivered with reconsume times %v and %d dead letters, want [0 1 2] and 1", times, end)
	}
}

// orderly consumes each queue in order, under the broker's locks.
func orderly(t *testing.T, n *node) {
	const topic = "ordered"
	createTopic(t, n, topic)
	p, err := rocketmq.NewProducer(
		producer.WithNsResolver(primitive.NewPassthroughResolver([]string{n.route})),
		producer.WithGroupName("P-ordered"), producer.WithInstanceName("p-ordered"),
		producer.WithQueueSelector(producer.NewHashQueueSelector()))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Shutdown() })
	for i := range 60 {
		m := primitive.NewMessage(topic, fmt.Appendf(nil, "%d", i)).WithShardingKey(fmt.Sprint("shard", i%3))
		if _, err := p.SendSync(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	last := map[string]int{}
	total := 0
	pushFunc(t, n, "G-ordered", "c-ordered", topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "*"},
		func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			mu.Lock()
			defer mu.Unlock()
			for _, m := range msgs {
				var i int
				fmt.Sscan(string(m.Body), &i)
				key := m.GetShardingKey()
				if l, has := last[key]; has && l >= i {
					t.Errorf("%s: %d after %d", key, i, l)
				}
				last[key] = i
				total++
			}
			return consumer.ConsumeSuccess, nil
		}, consumer.WithConsumerOrder(true))
	n.until(t, 60*time.Second, "everything in order", func() bool { mu.Lock(); defer mu.Unlock(); return total >= 60 })
}

// adminTopics creates, lists and deletes a topic as the client's admin does.
func adminTopics(t *testing.T, n *node) {
	a, err := admin.NewAdmin(admin.WithResolver(primitive.NewPassthroughResolver([]string{n.route})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	ctx := t.Context()
	if err := a.CreateTopic(ctx, admin.WithTopicCreate("made"), admin.WithBrokerAddrCreate(n.addr),
		admin.WithReadQueueNums(3), admin.WithWriteQueueNums(3)); err != nil {
		t.Fatal(err)
	}
	if made, has := n.broker.Topic("made"); !has || made.ReadQueues != 3 {
		t.Errorf("topic %+v", made)
	}
	list, err := a.FetchAllTopicList(ctx)
	if err != nil || !strings.Contains(strings.Join(list.TopicList, ","), "made") {
		t.Errorf("topics %v, %v", list, err)
	}
	queues, err := a.FetchPublishMessageQueues(ctx, "made")
	if err != nil || len(queues) != 3 {
		t.Errorf("queues %v, %v", queues, err)
	}
	groups, err := a.GetAllSubscriptionGroup(ctx, n.addr, 3*time.Second)
	if err != nil || groups == nil {
		t.Errorf("groups %v, %v", groups, err)
	}
	if err := a.DeleteTopic(ctx, admin.WithTopicDelete("made"), admin.WithBrokerAddrDelete(n.addr)); err != nil {
		t.Fatal(err)
	}
	if _, has := n.broker.Topic("made"); has {
		t.Error("the topic is still there")
	}
}

// resumeAtPlace stops a consumer and starts it again: it goes on where it was.
func resumeAtPlace(t *testing.T, n *node) {
	const topic = "resumed"
	createTopic(t, n, topic)
	all := consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}
	p := newProducer(t, n, topic)
	send(t, p, topic, "a", "one", 0, 20)
	g := newGot()
	c := push(t, n, "G-resumed", "c-resumed", topic, all, g)
	n.until(t, 30*time.Second, "the first half", func() bool { d, _ := g.count(); return d >= 20 })
	if err := c.Shutdown(); err != nil {
		t.Fatal(err)
	}
	n.until(t, 30*time.Second, "progress noted", func() bool {
		stats, err := n.broker.ConsumeStats(t.Context(), "G-resumed", topic)
		var sum int64
		for _, s := range stats {
			sum += s.ConsumerOffset
		}
		return err == nil && sum == 20
	})
	send(t, p, topic, "a", "two", 0, 20)
	again := newGot()
	push(t, n, "G-resumed", "c-resumed-again", topic, all, again)
	n.until(t, 30*time.Second, "the second half", func() bool { d, _ := again.count(); return d >= 20 })
	if d, all := again.count(); d != 20 || all != 20 {
		t.Errorf("after the restart %d messages, %d different, want 20", all, d)
	}
}

// largeBodies sends what the client compresses, and an empty-tag message of
// almost 4 MiB that it can't.
func largeBodies(t *testing.T, n *node) {
	const topic = "large"
	createTopic(t, n, topic)
	p := newProducer(t, n, topic)
	bodies := map[string]string{"text": strings.Repeat("varve ", 20_000), "random": incompressible(3_900_000)}
	for key, body := range bodies {
		m := primitive.NewMessage(topic, []byte(body))
		m.WithProperty("which", key)
		if _, err := p.SendSync(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	same := map[string]bool{}
	pushFunc(t, n, "G-large", "c-large", topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "*"},
		func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			mu.Lock()
			defer mu.Unlock()
			for _, m := range msgs {
				key := m.GetProperty("which")
				same[key] = string(m.Body) == bodies[key]
			}
			return consumer.ConsumeSuccess, nil
		})
	n.until(t, 30*time.Second, "both bodies", func() bool { mu.Lock(); defer mu.Unlock(); return len(same) == 2 })
	for key, ok := range same {
		if !ok {
			t.Errorf("body %q came back changed", key)
		}
	}
}

func incompressible(n int) string {
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return string(b)
}

// requestReply has a consumer answer a producer's request.
func requestReply(t *testing.T, n *node) {
	const topic = "asked"
	createTopic(t, n, topic)
	replier := newProducer(t, n, "replier")
	replied := make(chan error, 10)
	pushFunc(t, n, "G-asked", "c-asked", topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "*"},
		func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			for _, m := range msgs {
				if consumer.GetReplyToClient(m) == "" {
					continue
				}
				reply, err := consumer.CreateReplyMessage(m, nil)
				if err != nil {
					t.Error(err)
					continue
				}
				reply.Body = []byte("re: " + string(m.Body)) // the client forgets to
				_, err = replier.SendSync(ctx, reply)
				replied <- err
			}
			return consumer.ConsumeSuccess, nil
		})
	p := newProducer(t, n, topic)
	send(t, p, topic, "a", "hello", 0, 1) // its first heartbeat is a second away
	n.until(t, 20*time.Second, "the producer is known", func() bool {
		ms, err := n.broker.Producers("P-" + topic)
		return err == nil && len(ms) > 0
	})
	answer, err := p.Request(t.Context(), 20*time.Second, primitive.NewMessage(topic, []byte("how much?")))
	if err != nil || string(answer.Body) != "re: how much?" {
		t.Errorf("answer %v, %v", answer, err)
	}
	if err := <-replied; err != nil {
		t.Error(err)
	}
}
