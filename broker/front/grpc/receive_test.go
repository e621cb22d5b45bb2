package grpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	golang "github.com/apache/rocketmq-clients/golang/v5"
	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"varve/broker"
)

// received is one answer to ReceiveMessage.
type received struct {
	status   *v2.Status
	messages []*v2.Message
}

func receive(t testing.TB, c v2.MessagingServiceClient, ctx context.Context, req *v2.ReceiveMessageRequest) (out received) {
	t.Helper()
	s, err := c.ReceiveMessage(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if s := r.GetStatus(); s != nil {
			out.status = s
		}
		if m := r.GetMessage(); m != nil {
			out.messages = append(out.messages, m)
		}
	}
}

func ask(group, topic string) *v2.ReceiveMessageRequest {
	return &v2.ReceiveMessageRequest{
		Group: resource(group), MessageQueue: &v2.MessageQueue{Topic: resource(topic), Id: -1}, BatchSize: 8,
		InvisibleDuration: seconds(30), LongPollingTimeout: seconds(10),
	}
}

func ackOf(group, topic string, handles ...string) *v2.AckMessageRequest {
	r := &v2.AckMessageRequest{Group: resource(group), Topic: resource(topic)}
	for _, h := range handles {
		r.Entries = append(r.Entries, &v2.AckMessageEntry{ReceiptHandle: h})
	}
	return r
}

func handle(m *v2.Message) string { return m.GetSystemProperties().GetReceiptHandle() }

func TestWhatIsReceivedIsToBeAcked(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 1, "")
	c, ctx := n.stub(t, false), as(t, "c1")
	for i := range 3 {
		sendOK(t, c, ctx, message("orders", fmt.Sprint(i), fmt.Sprint("body ", i)))
	}
	r := receive(t, c, ctx, ask("g", "orders"))
	if r.status.GetCode() != v2.Code_OK || len(r.messages) != 3 {
		t.Fatalf("got %v and %d messages", r.status, len(r.messages))
	}
	if sys := r.messages[1].GetSystemProperties(); string(r.messages[1].GetBody()) != "body 1" || sys.GetDeliveryAttempt() != 1 ||
		sys.GetInvisibleDuration().GetSeconds() != 30 || sys.GetBodyDigest().GetType() != v2.DigestType_MD5 {
		t.Errorf("message is %v", r.messages[1])
	}
	acked, err := c.AckMessage(ctx, ackOf("g", "orders", handle(r.messages[0]), handle(r.messages[1])))
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, acked, v2.Code_OK)
	mixed, err := c.AckMessage(ctx, ackOf("g", "orders", handle(r.messages[2]), "nonsense"))
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, mixed, v2.Code_MULTIPLE_RESULTS)
	if e := mixed.GetEntries(); e[0].GetStatus().GetCode() != v2.Code_OK || e[1].GetStatus().GetCode() != v2.Code_INVALID_RECEIPT_HANDLE {
		t.Errorf("results: %v", e)
	}
	quick := ask("g", "orders")
	quick.LongPollingTimeout = seconds(0)
	if r := receive(t, c, ctx, quick); r.status.GetCode() != v2.Code_MESSAGE_NOT_FOUND {
		t.Errorf("all is acked and there is %v with %d messages", r.status, len(r.messages))
	}
}

func TestReceiveRefusesWhatItCantDo(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 1, "")
	c, ctx := n.stub(t, false), as(t, "c1")
	for name, tc := range map[string]struct {
		change func(*v2.ReceiveMessageRequest)
		want   v2.Code
	}{
		"short":    {func(r *v2.ReceiveMessageRequest) { r.InvisibleDuration = seconds(1) }, v2.Code_ILLEGAL_INVISIBLE_TIME},
		"long":     {func(r *v2.ReceiveMessageRequest) { r.InvisibleDuration = seconds(50000) }, v2.Code_ILLEGAL_INVISIBLE_TIME},
		"no group": {func(r *v2.ReceiveMessageRequest) { r.Group.Name = "" }, v2.Code_ILLEGAL_CONSUMER_GROUP},
		"no topic": {func(r *v2.ReceiveMessageRequest) { r.MessageQueue.Topic.Name = "missing" }, v2.Code_TOPIC_NOT_FOUND},
		"filter": {func(r *v2.ReceiveMessageRequest) {
			r.FilterExpression = &v2.FilterExpression{Type: v2.FilterType_SQL, Expression: "a >"}
		}, v2.Code_ILLEGAL_FILTER_EXPRESSION},
	} {
		t.Run(name, func(t *testing.T) {
			req := ask("g", "orders")
			tc.change(req)
			if r := receive(t, c, ctx, req); r.status.GetCode() != tc.want {
				t.Errorf("got %v, want %s", r.status, tc.want)
			}
		})
	}
}

func TestAChangedInvisibleDurationGivesANewHandle(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 1, "")
	c, ctx := n.stub(t, false), as(t, "c1")
	sendOK(t, c, ctx, message("orders", "1", "x"))
	old := handle(receive(t, c, ctx, ask("g", "orders")).messages[0])
	change := func(h string, sec float64) *v2.ChangeInvisibleDurationResponse {
		t.Helper()
		r, err := c.ChangeInvisibleDuration(ctx, &v2.ChangeInvisibleDurationRequest{
			Group: resource("g"), Topic: resource("orders"), ReceiptHandle: h, InvisibleDuration: seconds(sec),
		})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := change(old, 60)
	wantCode(t, r, v2.Code_OK)
	if r.GetReceiptHandle() == old || r.GetReceiptHandle() == "" {
		t.Errorf("handle is %q after %q", r.GetReceiptHandle(), old)
	}
	wantCode(t, change(old, 60), v2.Code_INVALID_RECEIPT_HANDLE)
	wantCode(t, change(r.GetReceiptHandle(), 1), v2.Code_OK)
	again := receive(t, c, ctx, ask("g", "orders"))
	if len(again.messages) != 1 {
		t.Fatalf("not given out again: %v", again.status)
	}
	m := again.messages[0]
	if m.GetTopic().GetName() != "orders" || m.GetSystemProperties().GetDeliveryAttempt() != 2 || m.GetSystemProperties().GetMessageId() != "1" {
		t.Errorf("message is %v", m)
	}
	if len(m.GetUserProperties()) != 0 {
		t.Errorf("the user never set %v", m.GetUserProperties())
	}
	acked, err := c.AckMessage(ctx, ackOf("g", "orders", handle(m)))
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, acked, v2.Code_OK)
}

func TestAMessageIsForwardedToTheDeadLetters(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 1, "")
	c, ctx := n.stub(t, false), as(t, "c1")
	sendOK(t, c, ctx, message("orders", "1", "given up"))
	r, err := c.ForwardMessageToDeadLetterQueue(ctx, &v2.ForwardMessageToDeadLetterQueueRequest{
		Group: resource("g"), Topic: resource("orders"), MaxDeliveryAttempts: 3,
		ReceiptHandle: handle(receive(t, c, ctx, ask("g", "orders")).messages[0]),
	})
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, r, v2.Code_OK)
	dead := receive(t, c, ctx, ask("undertakers", "%DLQ%g"))
	if len(dead.messages) != 1 || string(dead.messages[0].GetBody()) != "given up" {
		t.Fatalf("dead letters: %v, %d messages", dead.status, len(dead.messages))
	}
}

func TestTheGoSimpleConsumer(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 4, "")
	conf := n.client(t)
	conf.ConsumerGroup = "g"
	sc, err := golang.NewSimpleConsumer(conf, golang.WithSimpleAwaitDuration(5*time.Second),
		golang.WithSimpleSubscriptionExpressions(map[string]*golang.FilterExpression{"orders": golang.NewFilterExpression("paid")}))
	if err != nil {
		t.Fatal(err)
	}
	if err := sc.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sc.GracefulStop() })
	p := producer(t, n, "orders")
	for i := range 20 {
		m := &golang.Message{Topic: "orders", Body: fmt.Appendf(nil, "%d", i)}
		m.SetTag([]string{"paid", "open"}[i%2])
		if _, err := p.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]bool{}
	for len(got) < 10 {
		msgs, err := sc.Receive(t.Context(), 16, 20*time.Second)
		if err != nil {
			t.Fatalf("after %d messages: %v", len(got), err)
		}
		for _, m := range msgs {
			if *m.GetTag() != "paid" || got[string(m.GetBody())] {
				t.Errorf("got %s, tag %s", m.GetBody(), *m.GetTag())
			}
			got[string(m.GetBody())] = true
			if err := sc.Ack(t.Context(), m); err != nil {
				t.Error(err)
			}
		}
	}
}

// pusher starts a push consumer.
func pusher(t *testing.T, n *node, group, topic string, f func(*golang.MessageView) golang.ConsumerResult) {
	t.Helper()
	conf := n.client(t)
	conf.ConsumerGroup = group
	pc, err := golang.NewPushConsumer(conf,
		golang.WithPushSubscriptionExpressions(map[string]*golang.FilterExpression{topic: golang.SUB_ALL}),
		golang.WithPushMessageListener(&golang.FuncMessageListener{Consume: f}))
	if err != nil {
		t.Fatal(err)
	}
	if err := pc.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { go func() { _ = pc.GracefulStop() }() }) // it waits for its last long poll
}

func TestTheGoPushConsumerRetriesAndGivesUp(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 2, "")
	g := broker.DefaultGroup("g")
	g.RetryMaxTimes = 2
	g.RetryPolicy.Type = "EXPONENTIAL"
	if err := n.broker.PutGroup(g); err != nil {
		t.Fatal(err)
	}
	type seen struct {
		body    string
		attempt int32
	}
	ch := make(chan seen, 100)
	pusher(t, n, "g", "orders", func(m *golang.MessageView) golang.ConsumerResult {
		ch <- seen{string(m.GetBody()), m.GetDeliveryAttempt()}
		if string(m.GetBody()) == "good" {
			return golang.SUCCESS
		}
		return golang.FAILURE
	})
	c, ctx := n.stub(t, false), as(t, "p")
	sendOK(t, c, ctx, message("orders", "1", "good"), message("orders", "2", "bad"))
	tries := map[string]int32{}
	for len(tries) < 2 || tries["bad"] < 2 {
		select {
		case s := <-ch:
			tries[s.body]++
			if s.attempt != tries[s.body] {
				t.Errorf("%s: attempt %d at the %d. delivery", s.body, s.attempt, tries[s.body])
			}
		case <-ctx.Done():
			t.Fatalf("deliveries: %v", tries)
		}
	}
	if tries["good"] != 1 {
		t.Errorf("good was delivered %d times", tries["good"])
	}
}

func TestAFIFOGroupGetsMessagesInOrder(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "ordered", 2, "FIFO")
	g := broker.DefaultGroup("fifo")
	g.Orderly = true
	if err := n.broker.PutGroup(g); err != nil {
		t.Fatal(err)
	}
	const each = 30
	var mu sync.Mutex
	got := map[string][]string{}
	done := make(chan struct{})
	total := 0
	pusher(t, n, "fifo", "ordered", func(m *golang.MessageView) golang.ConsumerResult {
		mu.Lock()
		defer mu.Unlock()
		got[*m.GetMessageGroup()] = append(got[*m.GetMessageGroup()], string(m.GetBody()))
		if total++; total == 3*each {
			close(done)
		}
		return golang.SUCCESS
	})
	p := producer(t, n, "ordered")
	for i := range each {
		for _, group := range []string{"a", "b", "c"} {
			m := &golang.Message{Topic: "ordered", Body: fmt.Appendf(nil, "%d", i)}
			m.SetMessageGroup(group)
			if _, err := p.Send(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	select {
	case <-done:
	case <-time.After(40 * time.Second):
		mu.Lock()
		t.Fatalf("got %v", got)
	}
	mu.Lock()
	defer mu.Unlock()
	for group, bodies := range got {
		for i, b := range bodies {
			if b != fmt.Sprint(i) {
				t.Fatalf("group %s: %v", group, bodies)
			}
		}
	}
}

// A push consumer's goodbye ends its held receive: what is sent then isn't kept
// for it until its invisible time is over.
func TestAGoodbyeEndsHeldReceives(t *testing.T) {
	for _, ordered := range []bool{false, true} {
		t.Run(fmt.Sprint("ordered ", ordered), func(t *testing.T) {
			n := startNode(t, nodeOptions{})
			n.topic(t, "orders", 1, "")
			g := broker.DefaultGroup("g")
			g.Orderly = ordered
			if err := n.broker.PutGroup(g); err != nil {
				t.Fatal(err)
			}
			c, leaving, staying := n.stub(t, false), as(t, "leaving"), as(t, "staying")
			introduce(t, c, leaving, consumerSettings("g", v2.ClientType_PUSH_CONSUMER))
			introduce(t, c, staying, consumerSettings("g", v2.ClientType_PUSH_CONSUMER))
			push := ask("g", "orders")
			push.AutoRenew, push.MessageQueue.Id, push.InvisibleDuration = true, 0, nil
			var held sync.WaitGroup
			held.Go(func() {
				s, err := c.ReceiveMessage(leaving, push)
				for err == nil {
					_, err = s.Recv()
				}
			})
			defer held.Wait()
			for n.broker.Stats().HeldPops == 0 {
				runtime.Gosched()
			}
			r, err := c.NotifyClientTermination(leaving, &v2.NotifyClientTerminationRequest{Group: resource("g")})
			if err != nil {
				t.Fatal(err)
			}
			wantCode(t, r, v2.Code_OK)
			sendOK(t, c, staying, message("orders", "1", "for who stays"))
			if got := receive(t, c, staying, push); len(got.messages) != 1 {
				t.Errorf("who stays gets %v and %d messages", got.status, len(got.messages))
			}
		})
	}
}
