package remoting_test

import (
	"sync"
	"testing"
	"time"

	"varve/broker"
	wire "varve/internal/remoting"
)

// TestAccessToTransactions has a user end, restore and be asked about
// transactions of a topic that isn't its own, by naming one that is.
func TestAccessToTransactions(t *testing.T) {
	n := startNode(t, nodeOptions{auth: true, conf: func(c *broker.Config) {
		c.TransactionTimeout, c.TransactionCheckInterval = 50*time.Millisecond, 50*time.Millisecond
		c.TransactionMaxChecks, c.TransactionMaxAge = 1000, time.Second
	}})
	for _, topic := range []string{"mine", "theirs"} {
		createTopic(t, n, topic)
	}
	n.allow(t, "u", entry("Topic:mine", "Pub", "Sub", "Update"))
	var mu sync.Mutex
	asked := map[string]int{}
	c := wire.NewClient(n.addr, wire.ClientConfig{Serializer: wire.JSON, Handler: func(_ *wire.Conn, req *wire.Command) {
		mu.Lock()
		defer mu.Unlock()
		asked[req.Ext.Get("topic")]++
	}})
	defer c.Close()
	ask := func(user string, req *wire.Command) *wire.Command {
		t.Helper()
		r, err := c.Call(t.Context(), signed(user, user, req))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	half := func(user, topic string) (end func(ext ...string) *wire.Command, id string) {
		t.Helper()
		req := sendV2(topic, "x")
		req.Ext.Set("i", "TRAN_MSG\x01true\x02PGROUP\x01P\x02")
		r := ask(user, req)
		if r.Code != wire.Success {
			t.Fatal(r.Err())
		}
		return func(ext ...string) *wire.Command {
			return wire.NewRequest(wire.EndTransaction, append(ext, "producerGroup", "P", "tranStateTableOffset", r.Ext.Get("queueOffset"),
				"commitLogOffset", physicalOf(t, r.Ext.Get("msgId")), "commitOrRollback", "8", "fromTransactionCheck", "true")...)
		}, r.Ext.Get("msgId")
	}
	theirs, id := half("admin", "theirs")
	mine, _ := half("u", "mine")
	for name, x := range map[string]struct {
		user string
		req  *wire.Command
		want int
	}{
		"end another's":           {"u", theirs("topic", "theirs"), wire.NoPermission},
		"end it as one's own":     {"u", theirs("topic", "mine"), wire.NoPermission},
		"end it without a topic":  {"u", theirs(), wire.NoPermission},
		"end one's own":           {"u", mine(), wire.Success},
		"restore it as one's own": {"u", wire.NewRequest(wire.ResumeCheckHalfMessage, "topic", "mine", "msgId", id), wire.NoPermission},
		"restore one's own":       {"admin", wire.NewRequest(wire.ResumeCheckHalfMessage, "topic", "theirs", "msgId", id), wire.Success},
	} {
		if r := ask(x.user, x.req); r.Code != x.want {
			t.Errorf("%s: code %d %s, want %d", name, r.Code, r.Remark, x.want)
		}
	}
	beat := wire.NewRequest(wire.Heartbeat)
	beat.Body = []byte(`{"clientID":"c","producerDataSet":[{"groupName":"P"}],"consumerDataSet":[]}`)
	if r := ask("u", beat); r.Code != wire.Success {
		t.Fatal(r.Err())
	}
	half("u", "mine")
	n.until(t, 20*time.Second, "both to be given up", func() bool {
		r, err := n.broker.QueueRange(t.Context(), "TRANS_CHECK_MAX_TIME_TOPIC", 0)
		return err == nil && r.Len() == 2
	})
	mu.Lock()
	defer mu.Unlock()
	if asked["mine"] == 0 || asked["theirs"] != 0 {
		t.Errorf("asked %v, want only about one's own", asked)
	}
}
