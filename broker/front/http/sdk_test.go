package http_test

import (
	"crypto/md5" //nolint:gosec // the protocol's digest
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	mqhttp "github.com/aliyunmq/mq-http-go-sdk"

	front "varve/broker/front/http"
)

func md5Of(s string) string {
	return fmt.Sprintf("%X", md5.Sum([]byte(s))) //nolint:gosec // the protocol's digest
}

func TestAMessageGoesThroughTheSDKWithAllThatItHas(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "INST%orders", 4)
	p := n.sdk().GetProducer("INST", "orders")
	body := "<lamp name=\"a & b\">\r\n\t灯 😀 ]]></lamp>"
	sent := publish(t, p, mqhttp.PublishMessageRequest{
		MessageBody: body, MessageTag: "paid", MessageKey: "k-1", Properties: map[string]string{"colour": "绿", "n": "1"},
	})
	if sent.MessageId == "" || sent.MessageBodyMD5 != md5Of(body) || sent.ReceiptHandle != "" || sent.RequestId == "" {
		t.Fatalf("answer %+v", sent)
	}
	c := n.sdk().GetConsumer("INST", "orders", "g", "")
	got := consumeAll(t, c.ConsumeMessage, 1)[0]
	now := time.Now().UnixMilli()
	switch {
	case got.MessageBody != body, got.MessageBodyMD5 != sent.MessageBodyMD5, got.MessageId != sent.MessageId:
		t.Errorf("message %+v", got)
	case got.MessageTag != "paid", got.MessageKey != "k-1", len(got.Properties) != 2, got.Properties["colour"] != "绿", got.Properties["n"] != "1":
		t.Errorf("labels %q %q %v", got.MessageTag, got.MessageKey, got.Properties)
	case got.ConsumedTimes != 1, now-got.PublishTime > 60_000, now-got.FirstConsumeTime > 60_000, got.NextConsumeTime-now < 200_000:
		t.Errorf("times %+v", got)
	}
	if err := c.AckMessage([]string{got.ReceiptHandle}); err != nil {
		t.Fatal(err)
	}
	if err := c.AckMessage([]string{got.ReceiptHandle}); err != nil {
		t.Errorf("a second ack: %v", err)
	}
	if more := consume(t, c.ConsumeMessage, 16, 0); len(more) != 0 {
		t.Errorf("%d more messages", len(more))
	}
}

func TestALongPollIsAnsweredByAMessage(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 1)
	c := n.sdk().GetConsumer("", "orders", "g", "")
	consume(t, c.ConsumeMessage, 1, 0) // the group is there
	came := make(chan []mqhttp.ConsumeMessageEntry, 1)
	go func() {
		got, _ := tryConsume(c.ConsumeMessage, 1, 30)
		came <- got
	}()
	waitFor(t, func() bool { return n.broker.Stats().HeldPops == 1 })
	publish(t, n.sdk().GetProducer("", "orders"), mqhttp.PublishMessageRequest{MessageBody: "late"})
	select {
	case got := <-came:
		if len(got) != 1 || got[0].MessageBody != "late" {
			t.Errorf("%+v", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the poll isn't answered")
	}
}

// waitFor looks until something is so.
func waitFor(t testing.TB, so func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never came to be so")
		}
	}
}

func TestTagsFilter(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 2)
	p := n.sdk().GetProducer("", "orders")
	for i := range 12 {
		publish(t, p, mqhttp.PublishMessageRequest{MessageBody: fmt.Sprint(i), MessageTag: []string{"a", "b", "c"}[i%3]})
	}
	got := consumeAll(t, n.sdk().GetConsumer("", "orders", "g", "a||c").ConsumeMessage, 8)
	for _, m := range got {
		if m.MessageTag == "b" {
			t.Errorf("message %s has tag b", m.MessageBody)
		}
	}
	if len(got) != 8 {
		t.Errorf("%d messages, want 8", len(got))
	}
}

func TestWhatIsNotAckedComesAgain(t *testing.T) {
	n := startNode(t, nodeOptions{front: front.Config{Invisible: 200 * time.Millisecond}})
	n.topic(t, "orders", 1)
	publish(t, n.sdk().GetProducer("", "orders"), mqhttp.PublishMessageRequest{MessageBody: "again", MessageTag: "t", MessageKey: "k"})
	c := n.sdk().GetConsumer("", "orders", "g", "t")
	first := consumeAll(t, c.ConsumeMessage, 1)[0]
	second := consumeAll(t, c.ConsumeMessage, 1)[0]
	switch {
	case second.MessageBody != "again", second.MessageId != first.MessageId, second.MessageKey != "k", second.MessageTag != "t", len(second.Properties) != 0:
		t.Errorf("the second time: %+v", second)
	case second.ConsumedTimes != 2, second.FirstConsumeTime != first.FirstConsumeTime, second.NextConsumeTime <= first.NextConsumeTime:
		t.Errorf("times: first %+v, then %+v", first, second)
	}
	err := c.AckMessage([]string{first.ReceiptHandle})
	if err == nil || !strings.Contains(err.Error(), "MessageNotExist") || !strings.Contains(err.Error(), first.ReceiptHandle) {
		t.Errorf("ack of a delivery that is over: %v", err)
	}
	err = c.AckMessage([]string{"no handle"})
	if err == nil || !strings.Contains(err.Error(), "ReceiptHandleError") {
		t.Errorf("ack of what is no handle: %v", err)
	}
}

func TestOrderedBatchesComeOneAfterAnother(t *testing.T) {
	n := startNode(t, nodeOptions{front: front.Config{InvisibleOrdered: 300 * time.Millisecond}})
	n.topic(t, "steps", 4)
	p := n.sdk().GetProducer("", "steps")
	for i := range 6 {
		publish(t, p, mqhttp.PublishMessageRequest{MessageBody: fmt.Sprint(i), ShardingKey: "order-7"})
	}
	c := n.sdk().GetConsumer("", "steps", "g", "")
	bodies := func(got []mqhttp.ConsumeMessageEntry) (out []string) {
		for _, m := range got {
			out = append(out, m.MessageBody)
		}
		return out
	}
	got := consume(t, c.ConsumeMessageOrderly, 2, 5)
	if !slices.Equal(bodies(got), []string{"0", "1"}) || got[0].ShardingKey != "order-7" {
		t.Fatalf("first %q, sharding key %q", bodies(got), got[0].ShardingKey)
	}
	if err := c.AckMessage([]string{got[0].ReceiptHandle}); err != nil {
		t.Fatal(err)
	}
	if got = consume(t, c.ConsumeMessageOrderly, 2, 5); len(got) == 0 || got[0].MessageBody != "1" {
		t.Fatalf("while 1 is not acked: %q", bodies(got))
	}
	var order []string
	for len(order) < 5 {
		for _, m := range got {
			order = append(order, m.MessageBody)
			if err := c.AckMessage([]string{m.ReceiptHandle}); err != nil {
				t.Fatal(err)
			}
		}
		got = consume(t, c.ConsumeMessageOrderly, 2, 5)
	}
	if !slices.Equal(order, []string{"1", "2", "3", "4", "5"}) {
		t.Errorf("in order: %q", order)
	}
}

func TestADelayedMessageComesWhenItIsDue(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 1)
	p := n.sdk().GetProducer("", "orders")
	c := n.sdk().GetConsumer("", "orders", "g", "")
	consume(t, c.ConsumeMessage, 1, 0)
	due := time.Now().Add(1500 * time.Millisecond).UnixMilli()
	publish(t, p, mqhttp.PublishMessageRequest{MessageBody: "later", StartDeliverTime: due})
	publish(t, p, mqhttp.PublishMessageRequest{MessageBody: "past", StartDeliverTime: 1})
	if got := consumeAll(t, c.ConsumeMessage, 1); got[0].MessageBody != "past" {
		t.Fatalf("first comes %q", got[0].MessageBody)
	}
	got := consumeAll(t, c.ConsumeMessage, 1)[0]
	if now := time.Now().UnixMilli(); got.MessageBody != "later" || now < due || got.StartDeliverTime != due {
		t.Errorf("%q at %d, due %d, says %d", got.MessageBody, now, due, got.StartDeliverTime)
	}
}
