package grpc_test

import (
	"runtime"
	"testing"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	rpc "google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"varve/broker"
)

// A connection counts for its tenant's bound though its client never says who it
// is, once, until it ends.
func TestConnectionsCountForTheirTenant(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "acme%orders", 1, "")
	n.topic(t, "orders", 1, "")
	if err := n.broker.PutQuota(broker.Quota{Tenant: "acme", Connections: 1}); err != nil {
		t.Fatal(err)
	}
	ctx := as(t, "same id")
	of := &v2.Resource{ResourceNamespace: "acme", Name: "orders"}
	send := func(c v2.MessagingServiceClient) v2.Code {
		m := message("orders", "0", "x")
		m.Topic = of
		r, err := c.SendMessage(ctx, &v2.SendMessageRequest{Messages: []*v2.Message{m}})
		if err != nil {
			t.Fatal(err)
		}
		return r.GetStatus().GetCode()
	}
	conn, err := rpc.NewClient(n.addr, rpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	first, second := v2.NewMessagingServiceClient(conn), n.stub(t, false)
	for range 2 {
		if got := send(first); got != v2.Code_OK {
			t.Errorf("the first: %v", got)
		}
	}
	if got := send(second); got != v2.Code_TOO_MANY_REQUESTS {
		t.Errorf("one too many: %v", got)
	}
	sendOK(t, second, ctx, message("orders", "0", "another tenant's"))
	q := ask("g", "orders")
	q.MessageQueue.Topic, q.Group = of, &v2.Resource{ResourceNamespace: "acme", Name: "g"}
	s, err := second.ReceiveMessage(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	next := answers(func() (*v2.Status, *v2.Message, error) {
		r, err := s.Recv()
		return r.GetStatus(), r.GetMessage(), err
	})
	if is, _ := next.all(t); is.GetCode() != v2.Code_TOO_MANY_REQUESTS {
		t.Errorf("a receive by one too many: %v", is)
	}
	_ = conn.Close()
	for end := time.Now().Add(30 * time.Second); send(second) != v2.Code_OK; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("the place of a connection that ended stays taken")
		}
	}
}
