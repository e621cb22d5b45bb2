package history

import (
	"context"
	"testing"
	"time"

	"varve/internal/mq"
	"varve/internal/objstore/mem"
	"varve/internal/remoting"
)

func TestNewerNamespacesGetColdMessagesWithoutThem(t *testing.T) {
	a := openArchive(t, mem.New())
	store(t, a, broker, plain("acme%orders", 0, 10, time.Unix(1000, 0)), 10)
	s, err := NewServer(ServerConfig{Broker: broker}, newNode(t, a, nil))
	if err != nil {
		t.Fatal(err)
	}
	for ns, want := range map[string]string{"": "acme%orders", "acme": "orders"} {
		req := remoting.NewRequest(remoting.LitePullMessage, "consumerGroup", "g", "topic", "acme%orders", "queueId", "0",
			"queueOffset", "0", "maxMsgNums", "5", "sysFlag", "4", "subscription", "*", "expressionType", "TAG")
		req.Namespace = ns
		r, err := s.pull(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for rec := range mq.Records(r.Body) {
			if n++; string(rec.Topic()) != want {
				t.Errorf("namespace %q gets a message of %q, want %q", ns, rec.Topic(), want)
			}
		}
		if n != 5 {
			t.Errorf("namespace %q gets %d messages", ns, n)
		}
	}
}
