package remoting_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"

	"varve/broker"
)

// bank is a producer's own transactions: what it does first, by body, and what
// it says when it is asked.
type bank struct {
	mu     sync.Mutex
	first  map[string]primitive.LocalTransactionState
	answer func(body string) primitive.LocalTransactionState
	asked  map[string]int
}

func (b *bank) ExecuteLocalTransaction(m *primitive.Message) primitive.LocalTransactionState {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, ok := b.first[string(m.Body)]; ok {
		return s
	}
	return primitive.UnknowState
}

func (b *bank) CheckLocalTransaction(m *primitive.MessageExt) primitive.LocalTransactionState {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked[string(m.Body)]++
	return b.answer(string(m.Body))
}

func newBank(t *testing.T, n *node, instance string, b *bank) rocketmq.TransactionProducer {
	t.Helper()
	b.asked = map[string]int{}
	p, err := rocketmq.NewTransactionProducer(b,
		producer.WithNsResolver(primitive.NewPassthroughResolver([]string{n.route})),
		producer.WithGroupName("P-bank"), producer.WithInstanceName(instance), producer.WithRetry(0))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// transactions commits, rolls back, and leaves in doubt; then the producer
// dies, and another one of its group is asked.
func transactions(t *testing.T, n *node) {
	const topic = "payments"
	createTopic(t, n, topic)
	consumed := newGot()
	push(t, n, "G-bank", "c-bank", topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}, consumed)
	first := &bank{
		first: map[string]primitive.LocalTransactionState{
			"commit": primitive.CommitMessageState, "rollback": primitive.RollbackMessageState,
		},
		answer: func(string) primitive.LocalTransactionState { return primitive.UnknowState },
	}
	p := newBank(t, n, "first", first)
	for _, body := range []string{"commit", "rollback", "late-commit", "late-rollback", "never"} {
		r, err := p.SendMessageInTransaction(t.Context(), primitive.NewMessage(topic, []byte(body)).WithTag("t").WithKeys([]string{body}))
		if err != nil || r.Status != primitive.SendOK {
			t.Fatalf("%s: %+v, %v", body, r, err)
		}
	}
	n.until(t, 20*time.Second, "the committed message", func() bool { different, _ := consumed.count(); return different == 1 })
	if list, err := n.broker.Transactions(broker.TransactionQuery{Topic: topic}); err != nil || len(list) != 3 {
		t.Errorf("in doubt: %d, error %v, want 3", len(list), err)
	}
	if err := p.Shutdown(); err != nil {
		t.Error(err)
	}

	second := &bank{answer: func(body string) primitive.LocalTransactionState {
		switch body {
		case "late-commit":
			return primitive.CommitMessageState
		case "late-rollback":
			return primitive.RollbackMessageState
		}
		return primitive.UnknowState
	}}
	q := newBank(t, n, "second", second)
	defer func() { _ = q.Shutdown() }()
	// A transaction producer of this client says that it is there when it has
	// sent, not before.
	if _, err := q.SendMessageInTransaction(t.Context(), primitive.NewMessage(topic, []byte("never either"))); err != nil {
		t.Fatal(err)
	}
	n.until(t, 60*time.Second, "the transactions that the dead producer left", func() bool {
		different, _ := consumed.count()
		return different == 2
	})
	n.until(t, 30*time.Second, "the end of questions", func() bool {
		r, err := n.broker.QueueRange(context.Background(), "TRANS_CHECK_MAX_TIME_TOPIC", 0)
		return err == nil && r.Len() == 2
	})
	if got := fmt.Sprint(consumed.times); got != "map[commit:1 late-commit:1]" {
		t.Errorf("consumed %s", got)
	}
	second.mu.Lock()
	defer second.mu.Unlock()
	if n := second.asked["late-commit"]; n != 1 {
		t.Errorf("asked %d times about the one that it committed, want once", n)
	}
}
