package remoting_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"varve/broker"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

func popCmd(code int, topic string, ext ...string) *wire.Command {
	return wire.NewRequest(code, append([]string{
		"consumerGroup", "G", "topic", topic, "queueId", "-1", "maxMsgNums", "32", "invisibleTime", "60000",
		"pollTime", "15000", "bornTime", "0", "initMode", "0", "exp", "*", "expType", "TAG",
	}, ext...)...)
}

// handleOf builds the handles of a pop's messages as Java's client does.
func handlesOf(t *testing.T, r *wire.Command) (topics, infos []string, recs []mq.Record) {
	t.Helper()
	starts, offsets := map[string]string{}, map[string][]string{}
	for one := range strings.SplitSeq(r.Ext.Get("startOffsetInfo"), ";") {
		p := strings.Split(one, " ")
		starts[p[0]+"@"+p[1]] = p[2]
	}
	for one := range strings.SplitSeq(r.Ext.Get("msgOffsetInfo"), ";") {
		p := strings.Split(one, " ")
		offsets[p[0]+"@"+p[1]] = strings.Split(p[2], ",")
	}
	for rec := range mq.Records(r.Body) {
		recs = append(recs, rec)
		if ck, retried := mq.Property(rec.Properties(), mq.PropPopCK); retried {
			topics, infos = append(topics, "%RETRY%G_"+string(rec.Topic())), append(infos, string(ck))
			continue
		}
		key := fmt.Sprintf("0@%d", rec.QueueID())
		if len(offsets[key]) == 0 || offsets[key][0] != fmt.Sprint(rec.QueueOffset()) {
			t.Fatalf("offset %d of queue %d, msgOffsetInfo %q", rec.QueueOffset(), rec.QueueID(), r.Ext.Get("msgOffsetInfo"))
		}
		offsets[key] = offsets[key][1:]
		topics = append(topics, string(rec.Topic()))
		infos = append(infos, strings.Join([]string{
			starts[key], r.Ext.Get("popTime"), r.Ext.Get("invisibleTime"), r.Ext.Get("reviveQid"), "0", "varve-a",
			fmt.Sprint(rec.QueueID()), fmt.Sprint(rec.QueueOffset()),
		}, " "))
	}
	return topics, infos, recs
}

func ackCmd(code int, topic, info string, rec mq.Record, ext ...string) *wire.Command {
	return wire.NewRequest(code, append([]string{
		"consumerGroup", "G", "topic", topic, "queueId", fmt.Sprint(rec.QueueID()), "extraInfo", info, "offset", fmt.Sprint(rec.QueueOffset()),
	}, ext...)...)
}

// TestPop pops and acks by the codes as they are in JSON headers, and by what is
// left of them in binary ones.
func TestPop(t *testing.T) {
	n := startNode(t, nodeOptions{})
	for _, s := range []wire.Serializer{wire.JSON, wire.Binary} {
		topic := fmt.Sprint("popped", s)
		putTopic(t, n, topic, 2)
		code := func(c int) int {
			if s == wire.Binary {
				return wire.Short(c)
			}
			return c
		}
		c := n.client(t, s)
		for i := range 10 {
			call(t, c, wire.Success, sendCmd(wire.SendMessageV2, topic, i%2, "", fmt.Sprint("body", i)))
		}
		peeked := call(t, c, wire.Success, popCmd(code(wire.PeekMessage), topic))
		if len(peeked.Body) == 0 || peeked.Ext.Get("restNum") != "0" {
			t.Errorf("peeked %d bytes, %s are left", len(peeked.Body), peeked.Ext.Get("restNum"))
		}
		r := call(t, c, wire.Success, popCmd(code(wire.PopMessage), topic))
		topics, infos, recs := handlesOf(t, r)
		if len(recs) != 10 || r.Ext.Get("restNum") != "0" || len(r.Body) != len(peeked.Body) {
			t.Fatalf("%d messages, rest %s", len(recs), r.Ext.Get("restNum"))
		}
		for i := range 6 {
			call(t, c, wire.Success, ackCmd(code(wire.AckMessage), topics[i], infos[i], recs[i]))
			call(t, c, wire.Success, ackCmd(code(wire.AckMessage), topics[i], infos[i], recs[i]))
		}
		call(t, c, wire.NoMessage, ackCmd(code(wire.AckMessage), topics[9], strings.Replace(infos[9], r.Ext.Get("popTime"), "17", 1), recs[9]))
		call(t, c, wire.InvalidParameter, ackCmd(code(wire.AckMessage), topics[9], "1 2 3", recs[9]))
		// The seventh is given back, the last three are acked in a batch.
		back := call(t, c, wire.Success, ackCmd(code(wire.ChangeInvisibleTime), topics[6], infos[6], recs[6], "invisibleTime", "1000"))
		if back.Ext.Get("invisibleTime") != "1000" || back.Ext.Get("popTime") == r.Ext.Get("popTime") {
			t.Errorf("changed to %s at %s", back.Ext.Get("invisibleTime"), back.Ext.Get("popTime"))
		}
		call(t, c, wire.NoMessage, ackCmd(code(wire.ChangeInvisibleTime), topics[6], infos[6], recs[6], "invisibleTime", "1000"))
		var acks []map[string]any
		for i := 7; i < 10; i++ {
			acks = append(acks, map[string]any{
				"c": "G", "t": topic, "r": "0", "so": recs[i].QueueOffset() - 1, "q": recs[i].QueueID(), "rq": 0,
				"pt": json.Number(r.Ext.Get("popTime")), "it": 60000, "b": []byte{2},
			})
		}
		raw, err := json.Marshal(map[string]any{"brokerName": "varve-a", "acks": acks})
		if err != nil {
			t.Fatal(err)
		}
		batch := wire.NewRequest(code(wire.BatchAckMessage))
		batch.Body = raw
		call(t, c, wire.Success, batch)
		if r := call(t, c, wire.Success, popCmd(code(wire.Notification), topic)); r.Ext.Get("hasMsg") != "true" {
			t.Errorf("notification says %s", r.Ext.Get("hasMsg"))
		}
		r = call(t, c, wire.Success, popCmd(code(wire.PopMessage), topic)) // held until the message comes again
		topics, infos, again := handlesOf(t, r)
		if len(again) != 1 || again[0].ReconsumeTimes() != 1 || string(again[0].Body()) != string(recs[6].Body()) {
			t.Fatalf("%d messages came again", len(again))
		}
		call(t, c, wire.Success, ackCmd(code(wire.AckMessage), topics[0], infos[0], again[0]))
		call(t, c, wire.PollingTimeout, popCmd(code(wire.PopMessage), topic, "pollTime", "0"))
		// The copy that came again may be read before its first place is done with.
		n.until(t, 10*time.Second, "nothing is in flight", func() bool { return n.broker.Stats().PopInFlight == 0 })
		call(t, c, wire.RequestCodeNotSupported, wire.NewRequest(code(wire.PopRollback)))
	}
}

// TestPopPolling asks how many wait.
func TestPopPolling(t *testing.T) {
	n := startNode(t, nodeOptions{})
	putTopic(t, n, "polled", 1)
	c, d := n.client(t, wire.JSON), n.client(t, wire.JSON)
	held := make(chan *wire.Command, 1)
	go func() {
		r, err := d.Call(t.Context(), popCmd(wire.PopMessage, "polled"))
		if err != nil {
			t.Error(err)
		}
		held <- r
	}()
	n.until(t, 10*time.Second, "the pop is held", func() bool { // asking stirs the node
		info := wire.NewRequest(wire.PollingInfo, "consumerGroup", "G", "topic", "polled", "queueId", "-1")
		return call(t, c, wire.Success, info).Ext.Get("pollingNum") == "1"
	})
	call(t, c, wire.Success, sendCmd(wire.SendMessageV2, "polled", 0, "", "late"))
	if r := <-held; r == nil || r.Code != wire.Success {
		t.Errorf("held pop got %+v", r)
	}
}

// TestAssignment asks the broker for queues in both modes.
func TestAssignment(t *testing.T) {
	n := startNode(t, nodeOptions{})
	putTopic(t, n, "assigned", 4)
	c, d := n.client(t, wire.JSON), n.client(t, wire.JSON)
	for id, cl := range map[string]*wire.Client{"c1": c, "c2": d} {
		beat := wire.NewRequest(wire.Heartbeat)
		beat.Body = fmt.Appendf(nil, `{"clientID":%q,"consumerDataSet":[{"groupName":"G","consumeType":"CONSUME_PASSIVELY",
			"messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","subscriptionDataSet":[
			{"topic":"assigned","subString":"*","subVersion":1}]}]}`, id)
		call(t, cl, wire.Success, beat)
	}
	ask := func(client, strategy string) (out string) {
		req := wire.NewRequest(wire.QueryAssignment)
		req.Body = fmt.Appendf(nil, `{"topic":"assigned","consumerGroup":"G","clientId":%q,"strategyName":%q,"messageModel":"CLUSTERING"}`, client, strategy)
		var body struct {
			List []struct {
				Queue struct {
					ID int `json:"queueId"`
				} `json:"messageQueue"`
				Mode string `json:"mode"`
			} `json:"messageQueueAssignments"`
		}
		if err := json.Unmarshal(call(t, c, wire.Success, req).Body, &body); err != nil {
			t.Fatal(err)
		}
		if body.List == nil {
			return "unknown"
		}
		for _, a := range body.List {
			out += fmt.Sprintf("%s %d;", a.Mode, a.Queue.ID)
		}
		return out
	}
	want := func(client, strategy, want string) {
		t.Helper()
		if got := ask(client, strategy); got != want {
			t.Errorf("%s by %s: %s, want %s", client, strategy, got, want)
		}
	}
	want("c1", "AVG", "PULL 0;PULL 1;")
	want("c2", "AVG", "PULL 2;PULL 3;")
	want("c2", "AVG_BY_CIRCLE", "PULL 1;PULL 3;")
	want("c2", "MACHINE_ROOM", "unknown")
	want("c3", "AVG", "unknown")
	set := wire.NewRequest(wire.SetMessageRequestMode)
	set.Body = []byte(`{"topic":"assigned","consumerGroup":"G","mode":"POP","popShareQueueNum":-1}`)
	call(t, c, wire.Success, set)
	want("c1", "AVG", "POP -1;")
	want("c2", "AVG", "POP -1;")
	set.Body = []byte(`{"topic":"%RETRY%G","consumerGroup":"G","mode":"POP"}`)
	call(t, c, wire.NoPermission, set)
	set.Body = []byte(`{"topic":"assigned","consumerGroup":"G","mode":"PUSH"}`)
	call(t, c, wire.InvalidParameter, set)
	set.Body = []byte(`{"topic":"assigned","consumerGroup":"not yet","mode":"POP"}`)
	call(t, c, wire.InvalidParameter, set)
	all := call(t, c, wire.Success, wire.NewRequest(wire.GetAllMessageRequestMode))
	if got, want := string(all.Body), `{"messageRequestModeMap":{"assigned":{"G":{"topic":"assigned","consumerGroup":"G","mode":"POP","popShareQueueNum":-1}}}}`; got != want {
		t.Errorf("modes %s", got)
	}
	set.Body = []byte(`{"topic":"assigned","consumerGroup":"G_to_come","mode":"PULL"}`)
	call(t, c, wire.Success, set)
	if _, ok := n.broker.Group("G_to_come"); !ok {
		t.Error("the group whose mode was set before its first client came isn't there")
	}
}

// TestAssign shares queues among more members.
func TestAssign(t *testing.T) {
	var all []mq.Queue
	for id := range int32(5) {
		all = append(all, mq.Queue{Broker: "b", Topic: "t", ID: id})
	}
	members := []string{"a", "b", "c", "d"}
	ids := func(mode broker.RequestMode, client string, all []mq.Queue) (out []int32) {
		qs, known := broker.Assign(mode, "AVG", client, all, members)
		if !known {
			t.Fatal("not known")
		}
		for _, q := range qs {
			out = append(out, q.ID)
		}
		return out
	}
	for _, c := range []struct {
		mode   broker.RequestMode
		client string
		queues int
		want   string
	}{
		{broker.RequestMode{Mode: "PULL"}, "a", 5, "[0 1]"},
		{broker.RequestMode{Mode: "PULL"}, "d", 5, "[4]"},
		{broker.RequestMode{Mode: "PULL"}, "d", 3, "[]"},
		{broker.RequestMode{Mode: "POP"}, "d", 3, "[-1]"},
		{broker.RequestMode{Mode: "POP", ShareQueues: 3}, "a", 5, "[-1]"},
		{broker.RequestMode{Mode: "POP", ShareQueues: 1}, "d", 5, "[4 0 1]"},
		{broker.RequestMode{Mode: "POP", ShareQueues: 1}, "d", 3, "[0]"},
	} {
		if got := fmt.Sprint(ids(c.mode, c.client, all[:c.queues])); got != c.want {
			t.Errorf("%+v of %s among %d queues: %s, want %s", c.mode, c.client, c.queues, got, c.want)
		}
	}
}
