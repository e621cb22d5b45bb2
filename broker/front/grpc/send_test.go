package grpc_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	golang "github.com/apache/rocketmq-clients/golang/v5"
	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"varve/internal/mq"
)

func producer(t testing.TB, n *node, topics ...string) golang.Producer {
	t.Helper()
	p, err := golang.NewProducer(n.client(t), golang.WithTopics(topics...))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.GracefulStop() })
	return p
}

func TestTheGoClientSendsOverTLSByItself(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 2, "")
	p := producer(t, n, "orders")
	m := &golang.Message{Topic: "orders", Body: []byte("a lamp")}
	m.SetTag("paid")
	m.SetKeys("k1", "k2")
	m.AddProperty("amount", "12.5")
	r, err := p.Send(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	rec := n.only(t, "orders")
	if id := property(rec, mq.PropUniqKey); id != r[0].MessageID || id == "" {
		t.Errorf("stored with id %q, the client was told %q", id, r[0].MessageID)
	}
	for name, want := range map[string]string{"TAGS": "paid", "KEYS": "k1 k2", "amount": "12.5"} {
		if got := property(rec, name); got != want {
			t.Errorf("property %s is %q, want %q", name, got, want)
		}
	}
	if string(rec.Body()) != "a lamp" || rec.SysFlag()&mq.SysCompressed != 0 {
		t.Errorf("body %q, system flag %x", rec.Body(), rec.SysFlag())
	}
	if members, err := n.broker.Producers("orders"); err != nil || len(members) != 1 {
		t.Errorf("producers of the topic: %v, %v", members, err)
	}
}

func property(r mq.Record, name string) string {
	v, _ := mq.Property(r.Properties(), name)
	return string(v)
}

// records are all messages of a topic, queue by queue.
func (n *node) records(t testing.TB, topic string) []mq.Record {
	t.Helper()
	c, ok := n.broker.Topic(topic)
	if !ok {
		t.Fatalf("no topic %s", topic)
	}
	var out []mq.Record
	for id := range c.ReadQueues {
		q := mq.Queue{Broker: n.broker.Config().Broker, Topic: topic, ID: id}
		b, err := n.log.Read(t.Context(), q, 0, mq.Limit{})
		if err != nil {
			continue // nothing there yet
		}
		for r := range mq.Records(b.Body) {
			out = append(out, r)
		}
	}
	return out
}

func (n *node) only(t testing.TB, topic string) mq.Record {
	t.Helper()
	all := n.records(t, topic)
	if len(all) != 1 {
		t.Fatalf("topic %s has %d messages, want 1", topic, len(all))
	}
	return all[0]
}

func TestMessagesOfAGroupKeepToOneQueue(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "ordered", 8, "FIFO")
	p := producer(t, n, "ordered")
	for i := range 40 {
		m := &golang.Message{Topic: "ordered", Body: fmt.Appendf(nil, "%d", i)}
		m.SetMessageGroup(fmt.Sprint("customer-", i%4))
		if _, err := p.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	queues := map[string]map[int32]bool{}
	for _, r := range n.records(t, "ordered") {
		g := property(r, mq.PropShardingKey)
		if queues[g] == nil {
			queues[g] = map[int32]bool{}
		}
		queues[g][r.QueueID()] = true
	}
	if len(queues) != 4 {
		t.Fatalf("groups %v, want 4", queues)
	}
	for g, q := range queues {
		if len(q) != 1 {
			t.Errorf("messages of %s lie in queues %v", g, q)
		}
	}
}

func TestADelayedMessageIsDelivered(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "later", 1, "DELAY")
	p := producer(t, n, "later")
	m := &golang.Message{Topic: "later", Body: []byte("x")}
	due := time.Now().Add(1200 * time.Millisecond)
	m.SetDelayTimestamp(due)
	if _, err := p.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if len(n.records(t, "later")) != 0 {
		t.Fatal("there before it is due")
	}
	c := n.stub(t, false)
	r := pulled(t, c, as(t, "reader"), &v2.PullMessageRequest{
		Group: resource("readers"), MessageQueue: &v2.MessageQueue{Topic: resource("later")}, LongPollingTimeout: seconds(10),
	})
	if r.status.GetCode() != v2.Code_OK || len(r.messages) != 1 {
		t.Fatalf("got %v and %d messages", r.status, len(r.messages))
	}
	sys := r.messages[0].GetSystemProperties()
	if late := time.Since(due); late < -5*time.Millisecond || late > 5*time.Second {
		t.Errorf("came %s after it was due", late)
	}
	if sys.GetMessageType() != v2.MessageType_DELAY || sys.GetDeliveryTimestamp().AsTime().UnixMilli() != due.UnixMilli() {
		t.Errorf("type %s, due %s", sys.GetMessageType(), sys.GetDeliveryTimestamp().AsTime())
	}
}

func TestWhatIsNoMessageIsRefusedByItsCode(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 1, "NORMAL")
	c, ctx := n.stub(t, false), as(t, "p")
	with := func(change func(*v2.Message)) *v2.SendMessageRequest {
		m := message("orders", "id", "body")
		change(m)
		return &v2.SendMessageRequest{Messages: []*v2.Message{m}}
	}
	long := strings.Repeat("x", 4<<20+1)
	for name, tc := range map[string]struct {
		req  *v2.SendMessageRequest
		want v2.Code
	}{
		"no message":   {&v2.SendMessageRequest{}, v2.Code_MESSAGE_CORRUPTED},
		"no body":      {with(func(m *v2.Message) { m.Body = nil }), v2.Code_MESSAGE_BODY_EMPTY},
		"long body":    {with(func(m *v2.Message) { m.Body = []byte(long) }), v2.Code_MESSAGE_BODY_TOO_LARGE},
		"no id":        {with(func(m *v2.Message) { m.SystemProperties.MessageId = "" }), v2.Code_ILLEGAL_MESSAGE_ID},
		"bad topic":    {with(func(m *v2.Message) { m.Topic.Name = "a b" }), v2.Code_ILLEGAL_TOPIC},
		"own topic":    {with(func(m *v2.Message) { m.Topic.Name = "SCHEDULE_TOPIC_XXXX" }), v2.Code_ILLEGAL_TOPIC},
		"tag":          {with(func(m *v2.Message) { m.SystemProperties.Tag = new("a||b") }), v2.Code_ILLEGAL_MESSAGE_TAG},
		"key":          {with(func(m *v2.Message) { m.SystemProperties.Keys = []string{"a\x01b"} }), v2.Code_ILLEGAL_MESSAGE_KEY},
		"property":     {with(func(m *v2.Message) { m.UserProperties = map[string]string{"TAGS": "x"} }), v2.Code_ILLEGAL_MESSAGE_PROPERTY_KEY},
		"large":        {with(func(m *v2.Message) { m.UserProperties = map[string]string{"a": long[:20<<10]} }), v2.Code_MESSAGE_PROPERTIES_TOO_LARGE},
		"group":        {with(func(m *v2.Message) { m.SystemProperties.MessageGroup = new(long[:64]) }), v2.Code_ILLEGAL_MESSAGE_GROUP},
		"ordered":      {with(func(m *v2.Message) { m.SystemProperties.MessageGroup = new("g") }), v2.Code_MESSAGE_PROPERTY_CONFLICT_WITH_TYPE},
		"type":         {with(func(m *v2.Message) { m.SystemProperties.DeliveryTimestamp = timestamppb.Now() }), v2.Code_MESSAGE_PROPERTY_CONFLICT_WITH_TYPE},
		"unknown type": {with(func(m *v2.Message) { m.SystemProperties.MessageType = 6 }), v2.Code_UNSUPPORTED},
		"gzip": {with(func(m *v2.Message) {
			m.SystemProperties.BodyEncoding = v2.Encoding_GZIP
		}), v2.Code_MESSAGE_CORRUPTED},
		"two topics": {&v2.SendMessageRequest{Messages: []*v2.Message{message("orders", "1", "a"), message("others", "2", "b")}}, v2.Code_MESSAGE_CORRUPTED},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := c.SendMessage(ctx, tc.req)
			if err != nil {
				t.Fatal(err)
			}
			wantCode(t, r, tc.want)
		})
	}
	if all := n.records(t, "orders"); len(all) != 0 {
		t.Errorf("%d messages were stored", len(all))
	}
	r, err := c.SendMessage(context.Background(), with(func(*v2.Message) {}))
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, r, v2.Code_CLIENT_ID_REQUIRED)
}

func TestSeveralMessagesOfOneCall(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 1, "")
	c, ctx := n.stub(t, true), as(t, "p")
	entries := sendOK(t, c, ctx, message("orders", "1", "a"), message("orders", "2", "b"), message("orders", "3", "c"))
	for i, e := range entries {
		if e.GetOffset() != int64(i) || e.GetMessageId() != fmt.Sprint(i+1) || e.GetStatus().GetCode() != v2.Code_OK {
			t.Errorf("result %d: %v", i, e)
		}
	}
}

func TestAGzippedBodyIsStoredPlain(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 1, "")
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write([]byte(strings.Repeat("lamp ", 1000)))
	_ = w.Close()
	m := message("orders", "1", z.String())
	m.SystemProperties.BodyEncoding = v2.Encoding_GZIP
	sendOK(t, n.stub(t, false), as(t, "p"), m)
	if rec := n.only(t, "orders"); len(rec.Body()) != 5000 || rec.SysFlag() != 0 {
		t.Errorf("body of %d bytes, system flag %x", len(rec.Body()), rec.SysFlag())
	}
}
