package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	golang "github.com/apache/rocketmq-clients/golang/v5"
	"github.com/apache/rocketmq-clients/golang/v5/credentials"
	protocol "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
)

// v5 is rocketmq-clients/golang/v5: gRPC, with TLS unless the environment
// says otherwise.
type v5 struct{}

func newV5() *v5 { return &v5{} }

func (l *v5) hasTLS() bool   { return golang.EnableSsl }
func (l *v5) remoting() bool { return false }

func configV5(at place, group string) *golang.Config {
	return &golang.Config{
		Endpoint: at.GRPC, ConsumerGroup: group,
		Credentials: &credentials.SessionCredentials{AccessKey: at.User, AccessSecret: at.Secret},
	}
}

type v5Producer struct{ p golang.Producer }

func (l *v5) producer(at place, topic string) (sender, error) {
	return startV5(at, golang.WithTopics(topic))
}

func startV5(at place, o ...golang.ProducerOption) (*v5Producer, error) {
	p, err := golang.NewProducer(configV5(at, ""), o...)
	if err != nil {
		return nil, err
	}
	if err := p.Start(); err != nil {
		return nil, err
	}
	return &v5Producer{p}, nil
}

func (l *v5) traced(place, string) (sender, error) {
	return nil, lacks("trace topic: it exports spans")
}

func outgoingV5(m *message) (*golang.Message, error) {
	out := &golang.Message{Topic: m.topic, Body: []byte(m.body)}
	if m.tag != "" {
		out.SetTag(m.tag)
	}
	out.SetKeys(m.keys...)
	for k, v := range m.props {
		out.AddProperty(k, v)
	}
	if m.group != "" {
		out.SetMessageGroup(m.group)
	}
	if !m.due.IsZero() {
		out.SetDelayTimestamp(m.due)
	}
	switch {
	case m.level > 0:
		return nil, lacks("delay levels")
	case m.queue >= 0:
		return nil, lacks("choice of the queue")
	}
	return out, nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func incomingV5(m *golang.MessageView) *message {
	in := &message{
		topic: m.GetTopic(), body: string(m.GetBody()), tag: text(m.GetTag()), keys: m.GetKeys(), props: m.GetProperties(),
		group: text(m.GetMessageGroup()), queue: -1, id: m.GetMessageId(), offset: m.GetOffset(), attempt: int(m.GetDeliveryAttempt()), from: m,
	}
	if t := m.GetBornTimestamp(); t != nil {
		in.born = *t
	}
	return in
}

func sentV5(r []*golang.SendReceipt, err error) (receipt, error) {
	switch {
	case err != nil:
		return receipt{}, err
	case len(r) != 1:
		return receipt{}, fmt.Errorf("%d receipts for one message", len(r))
	}
	return receipt{id: r[0].MessageID, queue: -1, offset: r[0].Offset}, nil
}

func (p *v5Producer) send(ctx context.Context, m *message) (receipt, error) {
	out, err := outgoingV5(m)
	if err != nil {
		return receipt{}, err
	}
	return sentV5(p.p.Send(ctx, out))
}

func (p *v5Producer) sendAsync(ctx context.Context, m *message, done func(receipt, error)) error {
	out, err := outgoingV5(m)
	if err != nil {
		return err
	}
	p.p.SendAsync(ctx, out, func(_ context.Context, r []*golang.SendReceipt, err error) { done(sentV5(r, err)) })
	return nil
}

func (p *v5Producer) oneway(context.Context, *message) error  { return lacks("one-way send") }
func (p *v5Producer) batch(context.Context, []*message) error { return lacks("batches") }
func (p *v5Producer) close() error                            { return p.p.GracefulStop() }

func (p *v5Producer) request(context.Context, *message, time.Duration) (string, error) {
	return "", lacks("request and reply")
}

func (p *v5Producer) reply(context.Context, *message, string) error {
	return lacks("request and reply")
}

type v5Bank struct{ v5Producer }

func (l *v5) bank(at place, topic string, asked func(*message) verdict) (bank, error) {
	p, err := startV5(at, golang.WithTopics(topic), golang.WithTransactionChecker(&golang.TransactionChecker{
		Check: func(m *golang.MessageView) golang.TransactionResolution {
			switch asked(incomingV5(m)) {
			case commit:
				return golang.COMMIT
			case rollback:
				return golang.ROLLBACK
			}
			return golang.UNKNOWN
		},
	}))
	if err != nil {
		return nil, err
	}
	return &v5Bank{*p}, nil
}

func (b *v5Bank) send(ctx context.Context, m *message, v verdict) (receipt, error) {
	out, err := outgoingV5(m)
	if err != nil {
		return receipt{}, err
	}
	t := b.p.BeginTransaction()
	r, err := sentV5(b.p.SendWithTransaction(ctx, out, t))
	if err != nil {
		return r, err
	}
	switch v {
	case commit:
		err = t.Commit()
	case rollback:
		err = t.RollBack()
	}
	return r, err
}

func expressionV5(s subscription) map[string]*golang.FilterExpression {
	f := golang.SUB_ALL
	switch {
	case s.sql != "":
		f = golang.NewFilterExpressionWithType(s.sql, golang.SQL92)
	case s.tags != "":
		f = golang.NewFilterExpression(s.tags)
	}
	return map[string]*golang.FilterExpression{s.topic: f}
}

type v5Push struct{ c golang.PushConsumer }

func (p v5Push) close() error { return p.c.GracefulStop() }

func (l *v5) push(at place, s subscription, take func(*message) bool) (closer, error) {
	if s.broadcast {
		return nil, lacks("broadcast")
	}
	c, err := golang.NewPushConsumer(configV5(at, s.group),
		golang.WithPushSubscriptionExpressions(expressionV5(s)), golang.WithPushAwaitDuration(5*time.Second),
		golang.WithPushMessageListener(&golang.FuncMessageListener{Consume: func(m *golang.MessageView) golang.ConsumerResult {
			if take(incomingV5(m)) {
				return golang.SUCCESS
			}
			return golang.FAILURE
		}}))
	if err != nil {
		return nil, err
	}
	return v5Push{c}, c.Start()
}

type v5Simple struct{ c golang.SimpleConsumer }

// simpleWait is how long a receive waits for a first message.
const simpleWait = 3 * time.Second

func (l *v5) simple(at place, s subscription) (simple, error) {
	c, err := golang.NewSimpleConsumer(configV5(at, s.group),
		golang.WithSimpleSubscriptionExpressions(expressionV5(s)), golang.WithSimpleAwaitDuration(simpleWait))
	if err != nil {
		return nil, err
	}
	return v5Simple{c}, c.Start()
}

func (c v5Simple) receive(ctx context.Context, most int, invisible time.Duration) ([]*message, error) {
	ms, err := c.c.Receive(ctx, int32(most), invisible)
	var none *golang.ErrRpcStatus
	if errors.As(err, &none) && none.Code == int32(protocol.Code_MESSAGE_NOT_FOUND) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []*message
	for _, m := range ms {
		out = append(out, incomingV5(m))
	}
	return out, nil
}

func (c v5Simple) ack(ctx context.Context, m *message) error {
	return c.c.Ack(ctx, m.from.(*golang.MessageView))
}

func (c v5Simple) postpone(m *message, invisible time.Duration) error {
	return c.c.ChangeInvisibleDuration(m.from.(*golang.MessageView), invisible)
}

func (c v5Simple) close() error { return c.c.GracefulStop() }

func (l *v5) puller(place, string, string) (puller, error) { return nil, lacks("pull consumer") }
