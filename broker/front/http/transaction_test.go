package http_test

import (
	"strings"
	"testing"
	"time"

	mqhttp "github.com/aliyunmq/mq-http-go-sdk"

	"varve/broker"
)

func TestTransactionsEndAsTheirProducerSays(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 1)
	n.topic(t, "INST%orders", 1)
	for _, instance := range []string{"", "INST"} { // without one the SDK's commit names no group
		p := n.sdk().GetTransProducer(instance, "orders", "producers")
		c := n.sdk().GetConsumer(instance, "orders", "g", "")
		consume(t, c.ConsumeMessage, 1, 0)
		half := func(body string) string {
			t.Helper()
			r := publish(t, p, mqhttp.PublishMessageRequest{MessageBody: body, MessageKey: "k", TransCheckImmunityTime: 60})
			if r.ReceiptHandle == "" {
				t.Fatalf("no handle: %+v", r)
			}
			return r.ReceiptHandle
		}
		back, commit := half("rolled back"), half("committed")
		if got := consume(t, c.ConsumeMessage, 16, 0); len(got) != 0 {
			t.Fatalf("a half message is consumed: %q", got[0].MessageBody)
		}
		for range 2 { // again is as good
			if err := p.Rollback(back); err != nil {
				t.Fatal(err)
			}
			if err := p.Commit(commit); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Commit(back); err == nil || !strings.Contains(err.Error(), "MessageNotExist") {
			t.Errorf("a commit after the rollback: %v", err)
		}
		for _, bad := range []string{"x", "half 1 2 sent", "half a b asked g", "half 7 700000 sent orders"} {
			if err := p.Commit(bad); err == nil {
				t.Errorf("commit of %q is taken", bad)
			}
		}
		got := consumeAll(t, c.ConsumeMessage, 1)
		if got[0].MessageBody != "committed" || got[0].MessageKey != "k" || got[0].TransCheckImmunityTime != 60 || len(got[0].Properties) != 0 {
			t.Errorf("%+v", got[0])
		}
		if more := consume(t, c.ConsumeMessage, 16, 0); len(more) != 0 {
			t.Errorf("%d more messages", len(more))
		}
	}
}

func TestAProducerLooksForItsHalfMessages(t *testing.T) {
	n := startNode(t, nodeOptions{conf: func(c *broker.Config) {
		c.TransactionTimeout, c.TransactionCheckInterval = 100*time.Millisecond, 300*time.Millisecond
	}})
	n.topic(t, "orders", 1)
	n.topic(t, "others", 1)
	p := n.sdk().GetTransProducer("", "orders", "producers")
	sent := publish(t, p, mqhttp.PublishMessageRequest{MessageBody: "in doubt", MessageTag: "t", TransCheckImmunityTime: 1})
	ended := publish(t, p, mqhttp.PublishMessageRequest{MessageBody: "decided", TransCheckImmunityTime: 1})
	if err := p.Commit(ended.ReceiptHandle); err != nil {
		t.Fatal(err)
	}
	other := n.sdk().GetTransProducer("", "others", "producers")
	if got := consume(t, other.ConsumeHalfMessage, 16, 0); len(got) != 0 {
		t.Fatalf("another topic's producer finds %q", got[0].MessageBody)
	}
	asked := consumeAll(t, p.ConsumeHalfMessage, 1)
	got := asked[0]
	now := time.Now().UnixMilli()
	if len(asked) != 1 || got.MessageBody != "in doubt" || got.MessageId != sent.MessageId || got.MessageTag != "t" || got.ConsumedTimes < 1 || got.NextConsumeTime <= now {
		t.Fatalf("asked about %+v", asked)
	}
	waitFor(t, func() bool { return time.Now().UnixMilli() > got.PublishTime+1500 })
	if err := p.Commit(sent.ReceiptHandle); err == nil || !strings.Contains(err.Error(), "MessageNotExist") {
		t.Errorf("the publish's handle after its time: %v", err)
	}
	again := consumeAll(t, p.ConsumeHalfMessage, 1)[0] // nobody has answered
	if again.MessageId != got.MessageId || again.ConsumedTimes <= got.ConsumedTimes {
		t.Errorf("asked again about %+v", again)
	}
	if err := p.Commit(got.ReceiptHandle); err != nil {
		t.Fatal(err)
	}
	bodies := map[string]bool{}
	for _, m := range consumeAll(t, n.sdk().GetConsumer("", "orders", "g", "").ConsumeMessage, 2) {
		bodies[m.MessageBody] = true
	}
	if !bodies["in doubt"] || !bodies["decided"] {
		t.Errorf("consumed %v", bodies)
	}
	if s := n.broker.Stats(); s.TransactionsOpen != 0 {
		t.Errorf("%d transactions are open", s.TransactionsOpen)
	}
}

// A handle names its transaction whatever path it is sent to, so the path's
// topic, for which the caller was admitted, is held against it.
func TestAnothersTransactionIsNotEnded(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 1)
	n.topic(t, "others", 1)
	r := publish(t, n.sdk().GetTransProducer("", "orders", "g"), mqhttp.PublishMessageRequest{MessageBody: "x", TransCheckImmunityTime: 60})
	err := n.sdk().GetTransProducer("", "others", "g").Commit(r.ReceiptHandle)
	if err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("commit over another topic: %v", err)
	}
	if s := n.broker.Stats(); s.TransactionsOpen != 1 || s.TransactionCommits != 0 {
		t.Errorf("%d open, %d committed", s.TransactionsOpen, s.TransactionCommits)
	}
}
