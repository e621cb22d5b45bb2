package grpc_test

import (
	"testing"
	"time"

	golang "github.com/apache/rocketmq-clients/golang/v5"
	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"varve/broker"
)

// transactional starts a producer whose checker answers as told and names what
// it was asked about.
func transactional(t *testing.T, n *node, answer golang.TransactionResolution) (p golang.Producer, asked <-chan *golang.MessageView) {
	t.Helper()
	ch := make(chan *golang.MessageView, 16)
	p, err := golang.NewProducer(n.client(t), golang.WithTopics("orders"), golang.WithTransactionChecker(&golang.TransactionChecker{
		Check: func(m *golang.MessageView) golang.TransactionResolution {
			ch <- m
			return answer
		},
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.GracefulStop() })
	return p, ch
}

// arrival waits for a topic's message at an offset.
func (n *node) arrival(t *testing.T, topic string, offset int64) *v2.Message {
	t.Helper()
	r := pulled(t, n.stub(t, false), as(t, "reader"), &v2.PullMessageRequest{
		Group: resource("readers"), MessageQueue: &v2.MessageQueue{Topic: resource(topic)}, Offset: offset, LongPollingTimeout: seconds(20),
	})
	if len(r.messages) == 0 {
		t.Fatalf("%s has nothing at %d: %v", topic, offset, r.status)
	}
	return r.messages[0]
}

func TestTheGoClientsTransactions(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 1, "TRANSACTION")
	p, _ := transactional(t, n, golang.UNKNOWN)
	for _, end := range []string{"rollback", "commit"} {
		tx := p.BeginTransaction()
		if _, err := p.SendWithTransaction(t.Context(), &golang.Message{Topic: "orders", Body: []byte(end)}, tx); err != nil {
			t.Fatal(err)
		}
		if all := n.records(t, "orders"); len(all) != 0 {
			t.Fatalf("%s: %d messages before the end", end, len(all))
		}
		var err error
		if end == "commit" {
			err = tx.Commit()
		} else {
			err = tx.RollBack()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if rec := n.only(t, "orders"); string(rec.Body()) != "commit" {
		t.Errorf("body %q", rec.Body())
	}
}

func TestAProducerIsAskedWhatBecameOfItsTransaction(t *testing.T) {
	n := startNode(t, nodeOptions{conf: func(c *broker.Config) {
		c.TransactionTimeout, c.TransactionCheckInterval = 200*time.Millisecond, 200*time.Millisecond
	}})
	n.topic(t, "orders", 1, "TRANSACTION")
	p, asked := transactional(t, n, golang.COMMIT)
	tx := p.BeginTransaction()
	m := &golang.Message{Topic: "orders", Body: []byte("a lamp")}
	m.SetKeys("k")
	r, err := p.SendWithTransaction(t.Context(), m, tx)
	if err != nil {
		t.Fatal(err)
	}
	got := n.arrival(t, "orders", 0)
	if string(got.GetBody()) != "a lamp" {
		t.Errorf("message is %v", got)
	}
	if q := <-asked; q.GetMessageId() != r[0].MessageID || q.GetTopic() != "orders" || string(q.GetBody()) != "a lamp" {
		t.Errorf("asked about %s of %s", q.GetMessageId(), q.GetTopic())
	}
}

func TestEndsOfTransactionsThatAreNone(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 1, "")
	c, ctx := n.stub(t, false), as(t, "p")
	m := message("orders", "id-1", "x")
	m.SystemProperties.MessageType = v2.MessageType_TRANSACTION
	id := sendOK(t, c, ctx, m)[0].GetTransactionId()
	end := func(id string, r v2.TransactionResolution) *v2.EndTransactionResponse {
		t.Helper()
		a, err := c.EndTransaction(ctx, &v2.EndTransactionRequest{Topic: resource("orders"), MessageId: "id-1", TransactionId: id, Resolution: r})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, bad := range []string{"", "x", "1", "1-", "-1-2", "7-700000"} {
		wantCode(t, end(bad, v2.TransactionResolution_COMMIT), v2.Code_INVALID_TRANSACTION_ID)
	}
	wantCode(t, end(id, v2.TransactionResolution_TRANSACTION_RESOLUTION_UNSPECIFIED), v2.Code_OK)
	wantCode(t, end(id, v2.TransactionResolution_COMMIT), v2.Code_OK)
	wantCode(t, end(id, v2.TransactionResolution_COMMIT), v2.Code_OK)
	wantCode(t, end(id, v2.TransactionResolution_ROLLBACK), v2.Code_PRECONDITION_FAILED)
	n.only(t, "orders")
}

func TestRecall(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "later", 1, "")
	c, ctx := n.stub(t, false), as(t, "p")
	m := message("later", "id-1", "x")
	m.SystemProperties.DeliveryTimestamp = timestamppb.New(time.Now().AddDate(2, 0, 0))
	handle := sendOK(t, c, ctx, m)[0].GetRecallHandle()
	recall := func(topic, handle string) *v2.RecallMessageResponse {
		t.Helper()
		r, err := c.RecallMessage(ctx, &v2.RecallMessageRequest{Topic: resource(topic), RecallHandle: handle})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	wantCode(t, recall("later", "nonsense"), v2.Code_BAD_REQUEST)
	wantCode(t, recall("missing", handle), v2.Code_TOPIC_NOT_FOUND)
	r := recall("later", handle)
	wantCode(t, r, v2.Code_OK)
	if r.GetMessageId() != "id-1" {
		t.Errorf("recalled %q", r.GetMessageId())
	}
	wantCode(t, recall("later", handle), v2.Code_NOT_FOUND)
}
