package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

// Properties that the client has no method for.
const (
	deliverAt = "TIMER_DELIVER_MS"
	maxReason = 200 // of an error that goes onto the page
)

// v2 is rocketmq-client-go: remoting.
type v2 struct{ instances atomic.Int64 }

func newV2() *v2 {
	rlog.SetLogLevel("error")
	return &v2{}
}

func (l *v2) hasTLS() bool   { return false }
func (l *v2) remoting() bool { return true }

func (l *v2) instance() string {
	return fmt.Sprintf("i%d-%d", os.Getpid(), l.instances.Add(1))
}

func (l *v2) options(at place, group string) []producer.Option {
	o := []producer.Option{
		producer.WithNsResolver(primitive.NewPassthroughResolver([]string{at.Route})),
		producer.WithGroupName(group), producer.WithInstanceName(l.instance()), producer.WithRetry(0),
		producer.WithSendMsgTimeout(10 * time.Second), producer.WithQueueSelector(&chosen{}),
	}
	if at.User != "" {
		o = append(o, producer.WithCredentials(primitive.Credentials{AccessKey: at.User, SecretKey: at.Secret}))
	}
	return o
}

// chosen takes the message's queue, else its sharding key's, else the next.
type chosen struct{ next atomic.Uint32 }

func (c *chosen) Select(m *primitive.Message, qs []*primitive.MessageQueue, _ string) *primitive.MessageQueue {
	if m.Queue != nil {
		for _, q := range qs {
			if q.QueueId == m.Queue.QueueId {
				return q
			}
		}
		return nil
	}
	n := c.next.Add(1)
	if key := m.GetShardingKey(); key != "" {
		h := fnv.New32a()
		_, _ = h.Write([]byte(key))
		n = h.Sum32()
	}
	return qs[int(n)%len(qs)]
}

func outgoing(m *message) *primitive.Message {
	out := primitive.NewMessage(m.topic, []byte(m.body))
	if m.tag != "" {
		out.WithTag(m.tag)
	}
	if len(m.keys) > 0 {
		out.WithKeys(m.keys)
	}
	for k, v := range m.props {
		out.WithProperty(k, v)
	}
	if m.group != "" {
		out.WithShardingKey(m.group)
	}
	if m.level > 0 {
		out.WithDelayTimeLevel(m.level)
	}
	if !m.due.IsZero() {
		out.WithProperty(deliverAt, strconv.FormatInt(m.due.UnixMilli(), 10))
	}
	if m.queue >= 0 {
		out.Queue = &primitive.MessageQueue{QueueId: m.queue}
	}
	return out
}

func incoming(m *primitive.MessageExt) *message {
	in := &message{
		topic: m.Topic, body: string(m.Body), tag: m.GetTags(), props: m.GetProperties(), group: m.GetShardingKey(),
		id: m.MsgId, offset: m.QueueOffset, attempt: int(m.ReconsumeTimes) + 1, born: time.UnixMilli(m.BornTimestamp),
		size: int(m.StoreSize), from: m, queue: -1,
	}
	if keys := strings.TrimSpace(m.GetKeys()); keys != "" {
		in.keys = strings.Fields(keys)
	}
	if m.Queue != nil {
		in.queue = m.Queue.QueueId
	}
	return in
}

type v2Producer struct{ p rocketmq.Producer }

func (l *v2) producer(at place, topic string) (sender, error) {
	return startV2(l.options(at, "p_"+topic))
}

func startV2(o []producer.Option) (sender, error) {
	p, err := rocketmq.NewProducer(o...)
	if err != nil {
		return nil, err
	}
	if err := p.Start(); err != nil {
		return nil, err
	}
	return &v2Producer{p}, nil
}

func (l *v2) traced(at place, topic string) (sender, error) {
	trace := &primitive.TraceConfig{
		Access: primitive.Local, GroupName: "trace_" + topic, NamesrvAddrs: []string{at.Route},
		Resolver: primitive.NewPassthroughResolver([]string{at.Route}),
	}
	return startV2(append(l.options(at, "p_"+topic), producer.WithTrace(trace)))
}

func sentV2(r *primitive.SendResult, err error) (receipt, error) {
	if err != nil {
		return receipt{}, err
	}
	if r.Status != primitive.SendOK {
		return receipt{}, fmt.Errorf("send status %d", r.Status)
	}
	return receipt{id: r.MsgID, queue: r.MessageQueue.QueueId, offset: r.QueueOffset}, nil
}

func (p *v2Producer) send(ctx context.Context, m *message) (receipt, error) {
	return sentV2(p.p.SendSync(ctx, outgoing(m)))
}

func (p *v2Producer) sendAsync(ctx context.Context, m *message, done func(receipt, error)) error {
	return p.p.SendAsync(ctx, func(_ context.Context, r *primitive.SendResult, err error) { done(sentV2(r, err)) }, outgoing(m))
}

func (p *v2Producer) oneway(ctx context.Context, m *message) error {
	return p.p.SendOneWay(ctx, outgoing(m))
}

func (p *v2Producer) batch(ctx context.Context, ms []*message) error {
	out := make([]*primitive.Message, 0, len(ms))
	for _, m := range ms {
		out = append(out, outgoing(m))
	}
	_, err := sentV2(p.p.SendSync(ctx, out...))
	return err
}

func (p *v2Producer) request(ctx context.Context, m *message, limit time.Duration) (string, error) {
	r, err := p.p.Request(ctx, limit, outgoing(m))
	if err != nil {
		return "", err
	}
	return string(r.Body), nil
}

func (p *v2Producer) reply(ctx context.Context, to *message, body string) error {
	m, err := consumer.CreateReplyMessage(to.from.(*primitive.MessageExt), []byte(body))
	if err != nil {
		return err
	}
	m.Body = []byte(body) // which the client takes for the properties
	_, err = p.p.SendSync(ctx, m)
	return err
}

func (p *v2Producer) close() error { return p.p.Shutdown() }

// v2Bank answers for its transactions; what it says first goes by body.
type v2Bank struct {
	p     rocketmq.TransactionProducer
	asked func(*message) verdict
	first atomic.Int64 // one transaction is sent at a time
}

func stateOf(v verdict) primitive.LocalTransactionState {
	switch v {
	case commit:
		return primitive.CommitMessageState
	case rollback:
		return primitive.RollbackMessageState
	}
	return primitive.UnknowState
}

func (b *v2Bank) ExecuteLocalTransaction(*primitive.Message) primitive.LocalTransactionState {
	return stateOf(verdict(b.first.Load()))
}

func (b *v2Bank) CheckLocalTransaction(m *primitive.MessageExt) primitive.LocalTransactionState {
	return stateOf(b.asked(incoming(m)))
}

func (l *v2) bank(at place, topic string, asked func(*message) verdict) (bank, error) {
	b := &v2Bank{asked: asked}
	var err error
	if b.p, err = rocketmq.NewTransactionProducer(b, l.options(at, "p_"+topic)...); err != nil {
		return nil, err
	}
	return b, b.p.Start()
}

func (b *v2Bank) send(ctx context.Context, m *message, v verdict) (receipt, error) {
	b.first.Store(int64(v))
	r, err := b.p.SendMessageInTransaction(ctx, outgoing(m))
	if err != nil {
		return receipt{}, err
	}
	return sentV2(r.SendResult, nil)
}

func (b *v2Bank) close() error { return b.p.Shutdown() }
