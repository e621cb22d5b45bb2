package remoting_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"varve/broker"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// call sends a request and demands a code.
func call(t *testing.T, c *wire.Client, want int, req *wire.Command) *wire.Command {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := c.Call(ctx, req)
	if err != nil {
		t.Fatalf("request %d: %v", req.Code, err)
	}
	if r.Code != want {
		t.Fatalf("request %d: code %d (%s), want %d", req.Code, r.Code, r.Remark, want)
	}
	return r
}

// sendCmd is a send with short names, or with long ones for code 10.
func sendCmd(code int, topic string, queue int, props, body string) *wire.Command {
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}
	if code == wire.SendMessage {
		names = []string{
			"producerGroup", "topic", "defaultTopic", "defaultTopicQueueNums", "queueId", "sysFlag",
			"bornTimestamp", "flag", "properties", "reconsumeTimes",
		}
	}
	values := []string{"P", topic, "TBW102", "4", fmt.Sprint(queue), "0", "1700000000000", "77", props, "0"}
	req := wire.NewRequest(code)
	for i, name := range names {
		req.Ext.Set(name, values[i])
	}
	req.Body = []byte(body)
	return req
}

func pullCmd(topic string, queue int, at int64, suspendMillis int, expr string) *wire.Command {
	flag := "4"
	if suspendMillis > 0 {
		flag = "6"
	}
	return wire.NewRequest(wire.PullMessage, "consumerGroup", "G", "topic", topic, "queueId", fmt.Sprint(queue),
		"queueOffset", fmt.Sprint(at), "maxMsgNums", "32", "sysFlag", flag, "commitOffset", "0",
		"suspendTimeoutMillis", fmt.Sprint(suspendMillis), "subscription", expr, "subVersion", "0")
}

func putTopic(t testing.TB, n *node, name string, queues int32) {
	t.Helper()
	if err := n.broker.PutTopic(broker.Topic{Name: name, ReadQueues: queues, WriteQueues: queues, Perm: 6}); err != nil {
		t.Fatal(err)
	}
}

// TestSendInEveryForm sends by every code, header form and serializer, and
// reads each message back by its offset and by its id.
func TestSendInEveryForm(t *testing.T) {
	n := startNode(t, nodeOptions{})
	putTopic(t, n, "orders", 1)
	props := "UNIQ_KEY\x01AC1100010A2318B4AAC24D8C5F350000\x02TAGS\x01a\x02x\x01\"é😀\\\x02"
	at := int64(0)
	for _, s := range []wire.Serializer{wire.JSON, wire.Binary} {
		c := n.client(t, s)
		for _, code := range []int{wire.SendMessage, wire.SendMessageV2} {
			r := call(t, c, wire.Success, sendCmd(code, "orders", 0, props, fmt.Sprint("body", at)))
			if off := r.Ext.Get("queueOffset"); off != fmt.Sprint(at) {
				t.Errorf("queueOffset %s, want %d", off, at)
			}
			if r.Ext.Get("transactionId") != "AC1100010A2318B4AAC24D8C5F350000" || r.Ext.Get("MSG_REGION") == "" {
				t.Errorf("reply %+v", r)
			}
			pulled := call(t, c, wire.Success, pullCmd("orders", 0, at, 0, "*"))
			checkMessage(t, pulled.Body, at, props)
			if next := pulled.Ext.Get("nextBeginOffset"); next != fmt.Sprint(at+1) {
				t.Errorf("nextBeginOffset %s", next)
			}
			host, phys, err := mq.ParseOffsetMsgID(r.Ext.Get("msgId"))
			if err != nil || host.String() != n.addr {
				t.Fatalf("msgId of %s: %v", host, err)
			}
			viewed := call(t, c, wire.Success, wire.NewRequest(wire.ViewMessageByID, "offset", strconv.FormatInt(phys, 10)))
			checkMessage(t, viewed.Body, at, props)
			at++
		}
	}
}

func checkMessage(t *testing.T, raw []byte, at int64, props string) {
	t.Helper()
	rec, rest, err := mq.NextRecord(raw)
	if err != nil || len(rest) > 0 {
		t.Fatalf("record: %v, %d bytes more", err, len(rest))
	}
	m, err := rec.Decode()
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Body) != fmt.Sprint("body", at) || m.Flag != 77 || m.BornTimeMillis != 1700000000000 || m.QueueOffset != at {
		t.Errorf("message %+v", m)
	}
	for name, value := range mq.Properties([]byte(props)) {
		if m.Property(name) != value {
			t.Errorf("property %s is %q, want %q", name, m.Property(name), value)
		}
	}
}

func TestBuiltInTopicsHaveARouteAndAreStoredByASend(t *testing.T) {
	n := startNode(t, nodeOptions{conf: func(c *broker.Config) { c.AutoCreateTopics = false }})
	names := wire.NewClient(n.route, wire.ClientConfig{})
	t.Cleanup(func() { _ = names.Close() })
	conf := n.broker.Config()
	for _, topic := range []string{conf.Cluster, conf.Broker, conf.Cluster + "_REPLY_TOPIC"} {
		r := call(t, names, wire.Success, wire.NewRequest(wire.GetRouteInfoByTopic, "topic", topic))
		want(t, r, n.addr)
		if _, stored := n.broker.Topic(topic); stored {
			t.Errorf("%s is stored before anybody sent to it", topic)
		}
	}
	reply := conf.Cluster + "_REPLY_TOPIC"
	call(t, n.client(t, wire.Binary), wire.Success, sendCmd(wire.SendMessageV2, reply, 0, "", "x"))
	if c, stored := n.broker.Topic(reply); !stored || c.WriteQueues != 1 {
		t.Errorf("after a send: %+v", c)
	}
}

func TestBatchOneWayAndRefusals(t *testing.T) {
	n := startNode(t, nodeOptions{conf: func(c *broker.Config) { c.AutoCreateTopics = false }})
	putTopic(t, n, "orders", 2)
	c := n.client(t, wire.Binary)

	batch := sendCmd(wire.SendBatchMessage, "orders", 1, "", "")
	for i := range 3 {
		batch.Body = appendBatched(batch.Body, fmt.Sprint("b", i), "TAGS\x01a\x02")
	}
	r := call(t, c, wire.Success, batch)
	if ids := strings.Split(r.Ext.Get("msgId"), ","); len(ids) != 3 || r.Ext.Get("queueOffset") != "0" {
		t.Errorf("batch: %v, offset %s", ids, r.Ext.Get("queueOffset"))
	}
	if err := c.OneWay(t.Context(), sendCmd(wire.SendMessageV2, "orders", 1, "", "silent")); err != nil {
		t.Fatal(err)
	}
	if r := call(t, c, wire.Success, sendCmd(wire.SendMessageV2, "orders", 1, "", "last")); r.Ext.Get("queueOffset") != "4" {
		t.Errorf("after a batch of 3 and a one-way send: offset %s", r.Ext.Get("queueOffset"))
	}

	batch.Body = batch.Body[:len(batch.Body)-1]
	call(t, c, wire.MessageIllegal, batch)
	call(t, c, wire.TopicNotExist, sendCmd(wire.SendMessageV2, "unknown", 0, "", "x"))
	call(t, c, wire.InvalidParameter, sendCmd(wire.SendMessageV2, "orders", 2, "", "x"))
	call(t, c, wire.NoPermission, sendCmd(wire.SendMessageV2, mq.ScheduleTopic, 0, "", "x"))
	call(t, c, wire.MessageIllegal, sendCmd(wire.SendMessageV2, "orders", 0, "", strings.Repeat("x", mq.MaxBodyLen+1)))
	call(t, c, wire.SystemError, wire.NewRequest(wire.SendMessageV2, "b", "orders"))
	bad := sendCmd(wire.SendMessageV2, "orders", 0, "", "x")
	bad.Ext.Set("h", "many")
	if r := call(t, c, wire.SystemError, bad); !strings.Contains(r.Remark, "<h>") {
		t.Errorf("remark %q doesn't name the field", r.Remark)
	}
	call(t, c, wire.RequestCodeNotSupported, wire.NewRequest(9999))
	call(t, c, wire.RequestCodeNotSupported, wire.NewRequest(-1))
	call(t, c, wire.SystemError, wire.NewRequest(wire.EndTransaction))
	call(t, c, wire.Success, sendCmd(wire.SendMessageV2, "orders", 1, "", "still here"))
}

func appendBatched(dst []byte, body, props string) []byte {
	n := 4 + 4 + 4 + 4 + 4 + len(body) + 2 + len(props)
	dst = append(dst, byte(n>>24), byte(n>>16), byte(n>>8), byte(n), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	dst = append(dst, 0, 0, 0, byte(len(body)))
	dst = append(dst, body...)
	dst = append(dst, byte(len(props)>>8), byte(len(props)))
	return append(dst, props...)
}

func TestPullOutcomes(t *testing.T) {
	n := startNode(t, nodeOptions{})
	putTopic(t, n, "orders", 1)
	c := n.client(t, wire.JSON)
	call(t, c, wire.PullNotFound, pullCmd("orders", 0, 0, 0, "*"))
	for range 3 {
		call(t, c, wire.Success, sendCmd(wire.SendMessageV2, "orders", 0, "TAGS\x01a\x02", "x"))
	}
	if r := call(t, c, wire.PullRetryImmediately, pullCmd("orders", 0, 0, 0, "b")); r.Ext.Get("nextBeginOffset") != "3" || r.Ext.Get("suggestWhichBrokerId") != "0" {
		t.Errorf("no match: %+v", r)
	}
	if r := call(t, c, wire.PullOffsetMoved, pullCmd("orders", 0, 99, 0, "*")); r.Ext.Get("nextBeginOffset") != "3" {
		t.Errorf("beyond the end: %+v", r)
	}
	call(t, c, wire.PullNotFound, pullCmd("orders", 0, 3, 20, "*"))
	call(t, c, wire.SubscriptionParseFailed, sqlPull("orders", "price >"))
	call(t, c, wire.TopicNotExist, pullCmd("unknown", 0, 0, 0, "*"))
	call(t, c, wire.InvalidParameter, pullCmd("orders", 1, 0, 0, "*"))
	noHeartbeat := pullCmd("orders", 0, 0, 0, "*")
	noHeartbeat.Ext.Set("sysFlag", "0")
	call(t, c, wire.SubscriptionNotExist, noHeartbeat)
}

// A held pull is answered by the send that it waits for.
func TestHeldPullIsWoken(t *testing.T) {
	n := startNode(t, nodeOptions{conn: wire.Config{MaxWorkers: 1}}) // so that a pull begins when the one before is held
	putTopic(t, n, "orders", 1)
	c := n.client(t, wire.JSON)
	peer, err := net.Dial("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	held, next := pullCmd("orders", 0, 0, 30_000, "*"), pullCmd("orders", 0, 0, 0, "*")
	held.Opaque, next.Opaque = 1, 2
	if _, err := peer.Write(wire.AppendFrame(wire.AppendFrame(nil, held), next)); err != nil {
		t.Fatal(err)
	}
	if r := readReply(t, peer); r.Opaque != 2 || r.Code != wire.PullNotFound {
		t.Fatalf("reply %d to %d, want %d to 2", r.Code, r.Opaque, wire.PullNotFound)
	}
	if got := n.broker.Stats().HeldPulls; got != 1 {
		t.Errorf("%d held pulls, want 1", got)
	}
	call(t, c, wire.Success, sendCmd(wire.SendMessageV2, "orders", 0, "", "wakes"))
	if r := readReply(t, peer); r.Opaque != 1 || r.Code != wire.Success || len(r.Body) == 0 {
		t.Errorf("reply %d to %d with %d bytes", r.Code, r.Opaque, len(r.Body))
	}
}

func readReply(t *testing.T, c net.Conn) *wire.Command {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var head [4]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(c, frame); err != nil {
		t.Fatal(err)
	}
	r := new(wire.Command)
	if err := wire.DecodeFrame(frame, r); err != nil {
		t.Fatal(err)
	}
	return r
}

func sqlPull(topic, expr string) *wire.Command {
	req := pullCmd(topic, 0, 0, 0, expr)
	req.Ext.Set("expressionType", "SQL92")
	return req
}

func queueCmd(code int, topic string, ext ...string) *wire.Command {
	return wire.NewRequest(code, append([]string{"topic", topic, "queueId", "0"}, ext...)...)
}

func TestOffsets(t *testing.T) {
	n := startNode(t, nodeOptions{})
	putTopic(t, n, "orders", 1)
	c := n.client(t, wire.Binary)
	offset := func(code, want int, ext ...string) string {
		t.Helper()
		return call(t, c, want, queueCmd(code, "orders", ext...)).Ext.Get("offset")
	}
	if ts := call(t, c, wire.Success, queueCmd(wire.GetEarliestMsgStoreTime, "orders")).Ext.Get("timestamp"); ts != "-1" {
		t.Errorf("earliest of an empty queue: %s", ts)
	}
	for range 5 {
		call(t, c, wire.Success, sendCmd(wire.SendMessageV2, "orders", 0, "", "x"))
	}
	if a, b := offset(wire.GetMinOffset, wire.Success), offset(wire.GetMaxOffset, wire.Success); a != "0" || b != "5" {
		t.Errorf("range %s to %s", a, b)
	}
	if off := offset(wire.SearchOffsetByTimestamp, wire.Success, "timestamp", "1"); off != "0" {
		t.Errorf("offset at the beginning of time: %s", off)
	}
	if off := offset(wire.SearchOffsetByTimestamp, wire.Success, "timestamp", "1", "boundaryType", "UPPER"); off != "0" {
		t.Errorf("last offset before the first: %s", off)
	}
	if off := offset(wire.SearchOffsetByTimestamp, wire.Success, "timestamp", "9999999999999"); off != "5" {
		t.Errorf("offset at the end of time: %s", off)
	}
	if ts := call(t, c, wire.Success, queueCmd(wire.GetEarliestMsgStoreTime, "orders")).Ext.Get("timestamp"); len(ts) != 13 {
		t.Errorf("earliest store time %s", ts)
	}
	group := []string{"consumerGroup", "G"}
	if off := offset(wire.QueryConsumerOffset, wire.Success, group...); off != "0" {
		t.Errorf("new group in a new queue: %s", off)
	}
	offset(wire.QueryConsumerOffset, wire.QueryNotFound, append(group, "setZeroIfNotFound", "false")...)
	offset(wire.UpdateConsumerOffset, wire.SubscriptionGroupNotExist, append(group, "commitOffset", "3")...)
	call(t, c, wire.Success, withBody(wire.UpdateAndCreateGroup, `{"groupName":"G"}`))
	offset(wire.UpdateConsumerOffset, wire.Success, append(group, "commitOffset", "3")...)
	if off := offset(wire.QueryConsumerOffset, wire.Success, group...); off != "3" {
		t.Errorf("progress %s, want 3", off)
	}
	stats := call(t, c, wire.Success, wire.NewRequest(wire.GetConsumeStats, "consumerGroup", "G", "topic", "orders"))
	want := `{"offsetTable":{{"brokerName":"varve-a","queueId":0,"topic":"orders"}:{"brokerOffset":5,"consumerOffset":3,`
	if !strings.HasPrefix(string(stats.Body), want) {
		t.Errorf("consume stats %s", stats.Body)
	}
	reset := wire.NewRequest(wire.InvokeBrokerToResetOffset, "topic", "orders", "group", "G", "timestamp", "1", "isForce", "true")
	body := call(t, c, wire.Success, reset).Body
	if want := `{"offsetTable":{{"brokerName":"varve-a","queueId":0,"topic":"orders"}:0}}`; string(body) != want {
		t.Errorf("reset: %s, want %s", body, want)
	}
	offset(wire.UpdateConsumerOffset, wire.Success, append(group, "commitOffset", "4")...) // dropped
	if r := call(t, c, wire.PullOffsetMoved, pullCmd("orders", 0, 3, 0, "*")); r.Ext.Get("nextBeginOffset") != "0" {
		t.Errorf("pull after a reset: %+v", r)
	}
}

func withBody(code int, body string, ext ...string) *wire.Command {
	req := wire.NewRequest(code, ext...)
	req.Body = []byte(body)
	return req
}

// member is a client that notes what the broker pushes to it.
func member(t *testing.T, n *node) (c *wire.Client, told chan string) {
	t.Helper()
	told = make(chan string, 64)
	c = wire.NewClient(n.addr, wire.ClientConfig{Handler: func(c *wire.Conn, req *wire.Command) {
		switch req.Code {
		case wire.NotifyConsumerIDsChanged:
			if !req.IsOneWay() {
				t.Error("code 40 wants an answer")
			}
			told <- req.Ext.Get("consumerGroup")
		default:
			c.Reply(req.From(), &wire.Command{Body: []byte("relayed " + req.Ext.Get("clientId"))})
		}
	}})
	t.Cleanup(func() { _ = c.Close() })
	return c, told
}

func beat(client string) *wire.Command {
	return withBody(wire.Heartbeat, fmt.Sprintf(`{"clientID":%q,"producerDataSet":[{"groupName":"P"}],"consumerDataSet":[{
		"groupName":"G","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_LAST_OFFSET",
		"subscriptionDataSet":[{"topic":"orders","subString":"a || b","tagsSet":["a","b"],"codeSet":[97,"98"],"subVersion":1,"expressionType":"TAG"}]}]}`, client))
}

func TestMembers(t *testing.T) {
	n := startNode(t, nodeOptions{})
	putTopic(t, n, "orders", 1)
	first, told := member(t, n)
	list := wire.NewRequest(wire.GetConsumerListByGroup, "consumerGroup", "G")
	call(t, first, wire.SystemError, list)
	call(t, first, wire.ConsumerNotOnline, wire.NewRequest(wire.GetConsumerConnectionList, "consumerGroup", "G"))
	call(t, first, wire.SystemError, withBody(wire.Heartbeat, `{"clientID":`))
	r := call(t, first, wire.Success, beat("one"))
	if r.Version < 232 || r.Ext.Get("IS_SUPPORT_HEART_BEAT_V2") != "true" {
		t.Errorf("heartbeat's reply: version %d, %+v", r.Version, r.Ext)
	}
	second, _ := member(t, n)
	call(t, second, wire.Success, beat("two"))
	for g := range told {
		if g == "G" {
			break
		}
	}
	if b := call(t, first, wire.Success, list).Body; string(b) != `{"consumerIdList":["one","two"]}` {
		t.Errorf("members %s", b)
	}
	fromHeartbeat := pullCmd("orders", 0, 0, 0, "")
	fromHeartbeat.Ext.Set("sysFlag", "0")
	call(t, first, wire.PullNotFound, fromHeartbeat)
	fromHeartbeat.Ext.Set("subVersion", "2")
	call(t, first, wire.SubscriptionNotLatest, fromHeartbeat)

	conns := call(t, first, wire.Success, wire.NewRequest(wire.GetConsumerConnectionList, "consumerGroup", "G"))
	for _, want := range []string{`"clientId":"one"`, `"clientId":"two"`, `"consumeType":"CONSUME_PASSIVELY"`, `"codeSet":[97,98]`, `"language":"GO"`} {
		if !strings.Contains(string(conns.Body), want) {
			t.Errorf("connections %s lack %s", conns.Body, want)
		}
	}
	if b := call(t, first, wire.Success, wire.NewRequest(wire.GetProducerConnectionList, "producerGroup", "P")).Body; strings.Count(string(b), "clientAddr") != 2 {
		t.Errorf("producers %s", b)
	}
	call(t, first, wire.Success, wire.NewRequest(wire.GetAllProducerInfo))
	relayed := call(t, first, wire.Success, wire.NewRequest(wire.GetConsumerRunningInfo, "consumerGroup", "G", "clientId", "two"))
	if string(relayed.Body) != "relayed two" {
		t.Errorf("running info %q", relayed.Body)
	}
	call(t, first, wire.ConsumerNotOnline, wire.NewRequest(wire.GetConsumerRunningInfo, "consumerGroup", "G", "clientId", "three"))

	lock := func(client string) string {
		return fmt.Sprintf(`{"consumerGroup":"G","clientId":%q,"mqSet":[{"brokerName":"varve-a","queueId":0,"topic":"orders"}]}`, client)
	}
	if b := call(t, first, wire.Success, withBody(wire.LockBatchMQ, lock("one"))).Body; !strings.Contains(string(b), `"queueId":0`) {
		t.Errorf("locked %s", b)
	}
	if b := call(t, second, wire.Success, withBody(wire.LockBatchMQ, lock("two"))).Body; string(b) != `{"lockOKMQSet":[]}` {
		t.Errorf("the other's lock: %s", b)
	}
	call(t, first, wire.Success, withBody(wire.UnlockBatchMQ, lock("one")))
	if b := call(t, second, wire.Success, withBody(wire.LockBatchMQ, lock("two"))).Body; !strings.Contains(string(b), `"queueId":0`) {
		t.Errorf("after unlocking: %s", b)
	}

	call(t, first, wire.Success, wire.NewRequest(wire.UnregisterClient, "clientID", "one", "consumerGroup", "G", "producerGroup", "P"))
	if b := call(t, first, wire.Success, list).Body; string(b) != `{"consumerIdList":["two"]}` {
		t.Errorf("members %s", b)
	}
	call(t, first, wire.Success, beat("one"))
	_ = second.Close()
	for range told { // who is left is told that a lost connection has left
		if b := call(t, first, wire.Success, list).Body; string(b) == `{"consumerIdList":["one"]}` {
			break
		}
	}
}

func TestAdmin(t *testing.T) {
	n := startNode(t, nodeOptions{})
	c := n.client(t, wire.JSON)
	create := wire.NewRequest(wire.UpdateAndCreateTopic, "topic", "made", "defaultTopic", "TBW102", "readQueueNums", "2",
		"writeQueueNums", "2", "perm", "6", "topicFilterType", "SINGLE_TAG", "topicSysFlag", "0", "order", "false", "attributes", "+message.type=FIFO")
	call(t, c, wire.Success, create)
	create.Ext.Set("topic", "no good")
	call(t, c, wire.InvalidParameter, create)
	if b := call(t, c, wire.Success, wire.NewRequest(wire.GetTopicConfig, "topic", "made")).Body; !strings.Contains(string(b), `"message.type":"FIFO"`) {
		t.Errorf("topic %s", b)
	}
	call(t, c, wire.TopicNotExist, wire.NewRequest(wire.GetTopicConfig, "topic", "none"))
	call(t, c, wire.Success, withBody(wire.UpdateAndCreateTopicList, `{"topicConfigList":[{"topicName":"listed","readQueueNums":1,"writeQueueNums":1,"perm":6}]}`))
	if b := call(t, c, wire.Success, wire.NewRequest(wire.GetAllTopicConfig)).Body; !strings.Contains(string(b), `"listed":{`) || !json.Valid(b) {
		t.Errorf("topics %s", b)
	}
	call(t, c, wire.Success, wire.NewRequest(wire.GetSystemTopicListBroker))
	call(t, c, wire.Success, sendCmd(wire.SendMessageV2, "made", 1, "KEYS\x01k1 k2\x02UNIQ_KEY\x01U1\x02", "x"))
	want := `{"offsetTable":{{"brokerName":"varve-a","queueId":0,"topic":"made"}:{"lastUpdateTimestamp":0,"maxOffset":0,"minOffset":0},{"brokerName":"varve-a","queueId":1,"topic":"made"}:{"lastUpdateTimestamp":`
	if b := call(t, c, wire.Success, wire.NewRequest(wire.GetTopicStatsInfo, "topic", "made")).Body; !strings.HasPrefix(string(b), want) {
		t.Errorf("topic stats %s", b)
	}

	query := wire.NewRequest(wire.QueryMessage, "topic", "made", "key", "k2", "maxNum", "10", "beginTimestamp", "0", "endTimestamp", "9999999999999")
	if r := call(t, c, wire.Success, query); len(r.Body) == 0 {
		t.Error("key k2 finds nothing")
	}
	query.Ext.Set("key", "k3")
	call(t, c, wire.QueryNotFound, query)
	query.Ext.Set("key", "U1")
	query.Ext.Set("_UNIQUE_KEY_QUERY", "true")
	query.Ext.Set("beginTimestamp", "9999999999998")
	call(t, c, wire.Success, query)
	call(t, c, wire.SystemError, wire.NewRequest(wire.ViewMessageByID, "offset", "12345678"))

	call(t, c, wire.Success, withBody(wire.CheckClientConfig, `{"clientId":"c","group":"G","subscriptionData":{"topic":"made","expressionType":"SQL92","subString":"a > 5"}}`))
	call(t, c, wire.SubscriptionParseFailed, withBody(wire.CheckClientConfig, `{"subscriptionData":{"expressionType":"SQL92","subString":"a >"}}`))

	call(t, c, wire.Success, withBody(wire.UpdateAndCreateGroup, `{"groupName":"G","retryMaxTimes":3}`))
	call(t, c, wire.Success, withBody(wire.UpdateAndCreateGroupList, `{"groupConfigList":[{"groupName":"H"}]}`))
	if b := call(t, c, wire.Success, wire.NewRequest(wire.GetGroupConfig, "group", "G")).Body; !strings.Contains(string(b), `"retryMaxTimes":3`) || !strings.Contains(string(b), `"consumeEnable":true`) {
		t.Errorf("group %s", b)
	}
	if b := call(t, c, wire.Success, wire.NewRequest(wire.GetAllGroupConfig)).Body; !strings.Contains(string(b), `"H":{`) {
		t.Errorf("groups %s", b)
	}
	call(t, c, wire.Success, wire.NewRequest(wire.UpdateConsumerOffset, "consumerGroup", "G", "topic", "made", "queueId", "1", "commitOffset", "1"))
	call(t, c, wire.Success, wire.NewRequest(wire.CloneGroupOffset, "srcGroup", "G", "destGroup", "H", "topic", "made"))
	if b := call(t, c, wire.Success, wire.NewRequest(wire.QueryTopicConsumeByWho, "topic", "made")).Body; string(b) != `{"groupList":["G","H"]}` {
		t.Errorf("groups of the topic: %s", b)
	}
	if b := call(t, c, wire.Success, wire.NewRequest(wire.QueryTopicsByConsumer, "group", "G")).Body; string(b) != `{"topicList":["made"]}` {
		t.Errorf("topics of the group: %s", b)
	}
	call(t, c, wire.Success, wire.NewRequest(wire.QuerySubscriptionByConsume, "group", "G", "topic", "made"))
	if b := call(t, c, wire.Success, wire.NewRequest(wire.QueryConsumeTimeSpan, "group", "G", "topic", "made")).Body; strings.Count(string(b), "delayTime") != 2 || !json.Valid(b) {
		t.Errorf("time spans %s", b)
	}
	if b := call(t, c, wire.Success, wire.NewRequest(wire.GetBrokerConsumeStats, "isOrder", "false")).Body; !strings.HasPrefix(string(b), `{"consumeStatsList":[{"G":[{"offsetTable":{{`) {
		t.Errorf("broker's consume stats %s", b)
	}
	if b := call(t, c, wire.Success, wire.NewRequest(wire.GetBrokerConfig)).Body; !strings.Contains(string(b), "brokerName=varve-a\n") {
		t.Errorf("configuration %s", b)
	}
	if b := call(t, c, wire.Success, wire.NewRequest(wire.GetBrokerRuntimeInfo)).Body; !strings.Contains(string(b), `"msgPutTotalTodayNow":"1"`) {
		t.Errorf("runtime info %s", b)
	}
	call(t, c, wire.Success, wire.NewRequest(wire.DeleteGroup, "groupName", "H", "cleanOffset", "true"))
	call(t, c, wire.SubscriptionGroupNotExist, wire.NewRequest(wire.GetGroupConfig, "group", "H"))
	call(t, c, wire.Success, wire.NewRequest(wire.DeleteTopicInBroker, "topic", "made"))
	call(t, c, wire.Success, wire.NewRequest(wire.DeleteTopicInBroker, "topic", "made"))
	call(t, c, wire.TopicNotExist, wire.NewRequest(wire.GetTopicStatsInfo, "topic", "made"))
}
