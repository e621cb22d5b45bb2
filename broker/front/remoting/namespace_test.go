package remoting_test

import (
	"strings"
	"testing"
	"time"

	"varve/broker"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// within has a request come from a client of a namespace of the newer kind.
func within(ns string, req *wire.Command) *wire.Command {
	req.Ext.Set("nsd", "true")
	req.Ext.Set("ns", ns)
	return req
}

// What a client of a newer namespace gets names nothing by its namespace, so that
// it finds its subscriptions and its retries.
func TestNewerNamespacesInWhatClientsGet(t *testing.T) {
	n := startNode(t, nodeOptions{})
	c := n.client(t, wire.JSON)
	ask := func(want int, req *wire.Command) *wire.Command {
		t.Helper()
		return call(t, c, want, within("acme", req))
	}
	names := func(r *wire.Command) (out []string) {
		for rec := range mq.Records(r.Body) {
			retried, _ := mq.Property(rec.Properties(), mq.PropRetryTopic)
			out = append(out, strings.TrimSpace(string(rec.Topic())+" "+string(retried)))
		}
		return out
	}
	want := func(what string, r *wire.Command, topics string) {
		t.Helper()
		if got := strings.Join(names(r), ","); got != topics {
			t.Errorf("%s gives %s, want %s", what, got, topics)
		}
	}
	sent := ask(wire.Success, sendV2("orders", "x"))
	beat := wire.NewRequest(wire.Heartbeat)
	beat.Body = []byte(aclBeat("G", "orders"))
	ask(wire.Success, beat)
	pull := func(topic string) *wire.Command {
		return wire.NewRequest(wire.PullMessage, "consumerGroup", "G", "topic", topic, "queueId", "0", "queueOffset", "0",
			"maxMsgNums", "32", "sysFlag", "4", "commitOffset", "0", "suspendTimeoutMillis", "0", "subscription", "*", "subVersion", "0")
	}
	want("a pull", ask(wire.Success, pull("orders")), "orders")
	want("a pull without namespace", call(t, n.client(t, wire.JSON), wire.Success, pull("acme%orders")), "acme%orders")
	physical := physicalOf(t, sent.Ext.Get("msgId"))
	want("a view", ask(wire.Success, wire.NewRequest(wire.ViewMessageByID, "offset", physical)), "orders")
	want("a query", ask(wire.Success, wire.NewRequest(wire.QueryMessage, "topic", "orders", "key", sent.Ext.Get("transactionId"), "maxNum", "1",
		"beginTimestamp", "0", "endTimestamp", "99999999999999", "_UNIQUE_KEY_QUERY", "true")), "orders")

	// A pop, its retry, and the ack of that.
	want("a peek", ask(wire.Success, popCmd(wire.PeekMessage, "orders")), "orders")
	first := ask(wire.Success, popCmd(wire.PopMessage, "orders", "invisibleTime", "200"))
	want("a pop", first, "orders")
	again := ask(wire.Success, popCmd(wire.PopMessage, "orders"))
	want("its retry", again, "orders orders")
	topics, infos, recs := handlesOf(t, again)
	if len(topics) != 1 || topics[0] != "%RETRY%G_orders" {
		t.Fatalf("the retry is acked in %v", topics)
	}
	ask(wire.Success, ackCmd(wire.AckMessage, topics[0], infos[0], recs[0]))
	if off, err := n.broker.QueryOffset(t.Context(), "acme%G", "%RETRY%acme%G_acme%orders", 0, false); err != nil || off != 1 {
		t.Errorf("the group has acked to %d, %v", off, err)
	}

	// A retry of a consumer that pulls.
	ask(wire.Success, wire.NewRequest(wire.ConsumerSendMsgBack, "group", "G", "offset", physical, "delayLevel", "1", "unitMode", "false"))
	n.until(t, 10*time.Second, "the retry", func() bool {
		r, err := n.broker.QueueRange(t.Context(), "%RETRY%acme%G", 0)
		return err == nil && r.Len() == 1
	})
	want("a pull of retries", ask(wire.Success, pull("%RETRY%G")), "%RETRY%G orders")
}

// What is relayed to such a client names what it knows.
func TestNewerNamespacesInWhatClientsAreAsked(t *testing.T) {
	n := startNode(t, nodeOptions{})
	live := n.broker.Live()
	live.ResetByClients = true
	if err := n.broker.SetLive(live); err != nil {
		t.Fatal(err)
	}
	asked := make(chan *wire.Command, 100)
	c := wire.NewClient(n.addr, wire.ClientConfig{Serializer: wire.JSON, Handler: func(conn *wire.Conn, req *wire.Command) {
		asked <- req.Clone()
		conn.Reply(req.From(), &wire.Command{Body: []byte(`{}`)})
	}})
	t.Cleanup(func() { _ = c.Close() })
	sent := call(t, c, wire.Success, within("acme", sendV2("orders", "x")))
	beat := wire.NewRequest(wire.Heartbeat)
	beat.Body = []byte(aclBeat("G", "orders"))
	call(t, c, wire.Success, within("acme", beat))
	tool := n.client(t, wire.JSON)
	for _, req := range []*wire.Command{
		wire.NewRequest(wire.GetConsumerRunningInfo, "consumerGroup", "acme%G", "clientId", "c"),
		wire.NewRequest(wire.ConsumeMessageDirectly, "consumerGroup", "acme%G", "clientId", "c", "msgId", sent.Ext.Get("msgId")),
		wire.NewRequest(wire.InvokeBrokerToResetOffset, "topic", "acme%orders", "group", "acme%G", "timestamp", "0", "isForce", "true"),
		wire.NewRequest(223, "topic", "acme%orders", "group", "acme%G"),
	} {
		call(t, tool, wire.Success, req)
	}
	codes := map[int]bool{}
	for len(codes) < 5 { // with 40 at the beat
		req := <-asked
		codes[req.Code] = true
		for _, name := range []string{"consumerGroup", "group", "topic"} {
			if v, has := req.Ext.Lookup(name); has && v != "G" && v != "orders" {
				t.Errorf("request %d: %s is %q", req.Code, name, v)
			}
		}
		if strings.Contains(string(req.Body), "acme") {
			t.Errorf("request %d has the body %q", req.Code, req.Body)
		}
	}
}

// Producer groups of one name in two namespaces are two, and each producer is
// asked about its own transactions by the names that it knows.
func TestNewerNamespacesOfProducers(t *testing.T) {
	n := startNode(t, nodeOptions{conf: func(c *broker.Config) {
		c.TransactionTimeout, c.TransactionCheckInterval = 50*time.Millisecond, 50*time.Millisecond
	}})
	type question struct{ asked, topic, half, group string }
	ch := make(chan question, 100)
	clients := map[string]*wire.Client{}
	for _, ns := range []string{"acme", "other"} {
		c := wire.NewClient(n.addr, wire.ClientConfig{Serializer: wire.JSON, Handler: func(_ *wire.Conn, req *wire.Command) {
			rec := mq.Record(req.Body)
			group, _ := mq.Property(rec.Properties(), mq.PropProducerGroup)
			ch <- question{ns, req.Ext.Get("topic"), string(rec.Topic()), string(group)}
		}})
		t.Cleanup(func() { _ = c.Close() })
		clients[ns] = c
		beat := wire.NewRequest(wire.Heartbeat)
		beat.Body = []byte(`{"clientID":"` + ns + `","producerDataSet":[{"groupName":"P"}],"consumerDataSet":[]}`)
		call(t, c, wire.Success, within(ns, beat))
	}
	half := sendV2("orders", "x")
	half.Ext.Set("i", "TRAN_MSG\x01true\x02PGROUP\x01P\x02")
	sent := call(t, clients["acme"], wire.Success, within("acme", half))
	for range 10 {
		if q := <-ch; q != (question{"acme", "orders", "orders", "P"}) {
			t.Fatalf("asked %+v", q)
		}
	}
	call(t, clients["acme"], wire.Success, within("acme", wire.NewRequest(wire.EndTransaction, "topic", "orders", "producerGroup", "P",
		"tranStateTableOffset", sent.Ext.Get("queueOffset"), "commitLogOffset", physicalOf(t, sent.Ext.Get("msgId")),
		"commitOrRollback", "8", "fromTransactionCheck", "true")))
	if r, err := n.broker.QueueRange(t.Context(), "acme%orders", 0); err != nil || r.Len() != 1 {
		t.Errorf("committed %v, %v", r, err)
	}
}

// Queues that such a client is assigned, or holds, are the ones that it knows.
func TestNewerNamespacesInQueues(t *testing.T) {
	n := startNode(t, nodeOptions{})
	c := n.client(t, wire.JSON)
	call(t, c, wire.Success, within("acme", sendV2("orders", "x")))
	beat := wire.NewRequest(wire.Heartbeat)
	beat.Body = []byte(aclBeat("G", "orders"))
	call(t, c, wire.Success, within("acme", beat))
	for code, body := range map[int]string{
		400:              `{"topic":"orders","consumerGroup":"G","clientId":"c","strategyName":"AVG","messageModel":"CLUSTERING"}`,
		wire.LockBatchMQ: `{"consumerGroup":"G","clientId":"c","mqSet":[{"topic":"orders","brokerName":"varve-a","queueId":0}]}`,
	} {
		req := wire.NewRequest(code)
		req.Body = []byte(body)
		r := call(t, c, wire.Success, within("acme", req))
		if got := string(r.Body); !strings.Contains(got, `"topic":"orders"`) || strings.Contains(got, "acme") {
			t.Errorf("request %d is answered %s", code, got)
		}
	}
	if held := n.broker.LockQueues("acme%G", "another", []mq.Queue{{Broker: "varve-a", Topic: "acme%orders", ID: 0}}); len(held) != 0 {
		t.Error("the lock is not the namespace's")
	}
}

// A Java client with a namespace of the older kind acks messages that it popped
// under their topic without it, in its group with it.
func TestOlderNamespacesOfWhatIsPopped(t *testing.T) {
	n := startNode(t, nodeOptions{})
	c := n.client(t, wire.JSON)
	for range 3 {
		call(t, c, wire.Success, sendV2("acme%orders", "x"))
	}
	pop := func(more ...string) ([]string, []string, []mq.Record) {
		req := popCmd(wire.PopMessage, "acme%orders", more...)
		req.Ext.Set("consumerGroup", "acme%G")
		return handlesOf(t, call(t, c, wire.Success, req))
	}
	as := func(req *wire.Command) *wire.Command {
		req.Ext.Set("consumerGroup", "acme%G")
		return req
	}
	_, infos, recs := pop("invisibleTime", "300")
	if len(recs) != 3 {
		t.Fatalf("popped %d", len(recs))
	}
	call(t, c, wire.Success, as(ackCmd(wire.AckMessage, "orders", infos[0], recs[0])))
	batch := wire.NewRequest(wire.BatchAckMessage)
	w := strings.Fields(infos[1])
	batch.Body = []byte(`{"brokerName":"varve-a","acks":[{"c":"acme%G","t":"orders","r":"0","so":` + w[7] + `,"q":0,"rq":0,"pt":` + w[1] + `,"it":` + w[2] + `,"b":[1]}]}`)
	call(t, c, wire.Success, batch)
	_, infos, recs = pop()
	if len(recs) != 1 {
		t.Fatalf("%d came again", len(recs))
	}
	call(t, c, wire.Success, as(ackCmd(wire.AckMessage, "%RETRY%acme%G_orders", infos[0], recs[0])))
	if s := n.broker.Stats(); s.PopInFlight != 0 || s.PopRetries != 1 {
		t.Errorf("in flight %d, retries %d", s.PopInFlight, s.PopRetries)
	}
}
