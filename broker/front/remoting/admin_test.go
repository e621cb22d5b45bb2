package remoting_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"varve/broker"
	wire "varve/internal/remoting"
)

// want demands that a reply's body contains texts.
func want(t *testing.T, r *wire.Command, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(string(r.Body), text) {
			t.Errorf("body %s lacks %s", r.Body, text)
		}
	}
}

func TestSettingsChangeWhileTheBrokerRuns(t *testing.T) {
	n := startNode(t, nodeOptions{})
	c := n.client(t, wire.JSON)
	call(t, c, wire.Success, withBody(wire.UpdateBrokerConfig, "#by hand\nautoCreateTopicEnable=false\nautoCreateSubscriptionGroup=false\nmaxMessageSize=3\n"))
	want(t, call(t, c, wire.Success, wire.NewRequest(wire.GetBrokerConfig)), "autoCreateTopicEnable=false\n", "maxMessageSize=3\n")
	call(t, c, wire.TopicNotExist, sendCmd(wire.SendMessageV2, "new", 0, "", "x"))
	putTopic(t, n, "orders", 1)
	call(t, c, wire.MessageIllegal, sendCmd(wire.SendMessageV2, "orders", 0, "", "long"))
	call(t, c, wire.SubscriptionGroupNotExist, pullCmd("orders", 0, 0, 0, "*"))

	r := call(t, c, wire.InvalidParameter, withBody(wire.UpdateBrokerConfig, "autoCreateTopicEnable=true\nlistenPort=1\n"))
	if !strings.Contains(r.Remark, "listenPort") || !strings.Contains(r.Remark, "maxMessageSize") {
		t.Errorf("remark %q", r.Remark)
	}
	call(t, c, wire.InvalidParameter, withBody(wire.UpdateBrokerConfig, "maxMessageSize=many\n"))
	call(t, c, wire.InvalidParameter, withBody(wire.UpdateBrokerConfig, "maxMessageSize=0\n"))
	call(t, c, wire.TopicNotExist, sendCmd(wire.SendMessageV2, "new", 0, "", "x")) // a refused change changes nothing

	call(t, c, wire.Success, withBody(wire.UpdateBrokerConfig, "autoCreateTopicEnable=true\n"))
	call(t, c, wire.Success, sendCmd(wire.SendMessageV2, "new", 0, "", "x"))
}

func TestStatistics(t *testing.T) {
	n := startNode(t, nodeOptions{})
	putTopic(t, n, "orders", 1)
	c := n.client(t, wire.Binary)
	view := func(code int, name, key string) *wire.Command {
		t.Helper()
		return call(t, c, code, wire.NewRequest(wire.ViewBrokerStatsData, "statsName", name, "statsKey", key))
	}
	want(t, view(wire.Success, "TOPIC_PUT_NUMS", "orders"), `"statsDay":{"sum":0,`)
	for range 3 {
		call(t, c, wire.Success, sendCmd(wire.SendMessageV2, "orders", 0, "", "12345"))
	}
	call(t, c, wire.Success, pullCmd("orders", 0, 0, 0, "*"))
	want(t, view(wire.Success, "TOPIC_PUT_NUMS", "orders"), `"statsMinute":{"sum":3,`, `"statsDay":{"sum":3,`)
	want(t, view(wire.Success, "TOPIC_PUT_SIZE", "orders"), `"statsMinute":{"sum":15,`)
	want(t, view(wire.Success, "GROUP_GET_NUMS", "orders@G"), `"statsHour":{"sum":3,`, `"avgpt":3}`)
	view(wire.Success, "BROKER_PUT_NUMS", "DefaultCluster")
	for name, key := range map[string]string{
		"TOPIC_PUT_NUMS": "absent", "GROUP_GET_NUMS": "orders", "BROKER_PUT_NUMS": "orders", "NO_SUCH": "orders",
	} {
		view(wire.SystemError, name, key)
	}
	var info struct{ Table map[string]string }
	if err := json.Unmarshal(call(t, c, wire.Success, wire.NewRequest(wire.GetBrokerRuntimeInfo)).Body, &info); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"msgPutTotalTodayMorning", "msgPutTotalYesterdayMorning", "earliestMessageTimeStamp", "commitLogDiskRatio"} {
		if info.Table[name] == "" {
			t.Errorf("runtime info lacks %s", name)
		}
	}
}

func TestQueueIndexAndProgressOfAll(t *testing.T) {
	n := startNode(t, nodeOptions{})
	putTopic(t, n, "orders", 1)
	c := n.client(t, wire.Binary)
	for _, tag := range []string{"a", "b"} {
		call(t, c, wire.Success, sendCmd(wire.SendMessageV2, "orders", 0, "TAGS\x01"+tag+"\x02", "x"))
	}
	m, _ := member(t, n)
	call(t, m, wire.Success, withBody(wire.Heartbeat, `{"clientID":"c1","consumerDataSet":[{"groupName":"G","consumeType":"CONSUME_PASSIVELY",`+
		`"messageModel":"CLUSTERING","subscriptionDataSet":[{"topic":"orders","subString":"a","expressionType":"TAG","tagsSet":["a"],"codeSet":[97],"subVersion":1}]}]}`))
	index := queueCmd(wire.QueryConsumeQueue, "orders", "index", "0", "count", "5", "consumerGroup", "G")
	want(t, call(t, c, wire.Success, index), `"tagsCode":97,"eval":true}`, `"tagsCode":98,"eval":false}`, `"maxQueueIndex":2,"minQueueIndex":0`, `"subString":"a"`)
	want(t, call(t, c, wire.Success, queueCmd(wire.QueryConsumeQueue, "orders", "index", "2", "count", "5", "consumerGroup", "nobody")),
		`"queueData":[]`, "nobody@orders is not online!")

	call(t, c, wire.Success, withBody(wire.UpdateAndCreateGroup, `{"groupName":"H"}`))
	for group, off := range map[string]string{"G": "1", "H": "2"} {
		call(t, c, wire.Success, queueCmd(wire.UpdateConsumerOffset, "orders", "consumerGroup", group, "commitOffset", off))
	}
	want(t, call(t, c, wire.Success, wire.NewRequest(wire.GetAllConsumerOffset)), `"orders@G":{"0":1}`, `"orders@H":{"0":2}`)
	correction := func(ext ...string) *wire.Command {
		return call(t, c, wire.Success, wire.NewRequest(wire.QueryCorrectionOffset, append([]string{"topic", "orders"}, ext...)...))
	}
	want(t, correction(), `{"0":1}`)
	want(t, correction("filterGroups", "G, X"), `{"0":2}`)
	want(t, correction("filterGroups", "G", "compareGroup", "G"), `{"0":9223372036854775807}`)
}

func TestForbiddenGroup(t *testing.T) {
	n := startNode(t, nodeOptions{})
	putTopic(t, n, "orders", 1)
	c := n.client(t, wire.JSON)
	ask := func(code int, ext ...string) *wire.Command {
		t.Helper()
		return call(t, c, code, wire.NewRequest(wire.UpdateAndGetGroupForbidden, append([]string{"group", "G", "topic", "orders"}, ext...)...))
	}
	ask(wire.SubscriptionGroupNotExist, "readable", "false")
	call(t, c, wire.Success, withBody(wire.UpdateAndCreateGroup, `{"groupName":"G"}`))
	want(t, ask(wire.Success), `"readable":true`)
	want(t, ask(wire.Success, "readable", "false"), `"readable":false`)
	call(t, c, wire.NoPermission, pullCmd("orders", 0, 0, 0, "*"))
	call(t, c, wire.Success, withBody(wire.UpdateAndCreateGroup, `{"groupName":"G","retryMaxTimes":3}`)) // keeps it
	want(t, call(t, c, wire.Success, wire.NewRequest(wire.GetAllGroupConfig)), `"forbiddenTable":{"G":{"orders":4}}`)
	want(t, ask(wire.Success, "readable", "true"), `"readable":true`)
	call(t, c, wire.PullNotFound, pullCmd("orders", 0, 0, 0, "*"))
}

func TestConsumerStatusIsAskedOfTheMembers(t *testing.T) {
	n := startNode(t, nodeOptions{})
	putTopic(t, n, "orders", 1)
	c := n.client(t, wire.JSON)
	ask := wire.NewRequest(wire.InvokeBrokerToGetStatus, "topic", "orders", "group", "G")
	call(t, c, wire.SystemError, ask)
	m := wire.NewClient(n.addr, wire.ClientConfig{Handler: func(c *wire.Conn, req *wire.Command) {
		if req.Code == wire.GetConsumerStatus {
			c.Reply(req.From(), &wire.Command{Body: []byte(`{"messageQueueTable":{{"brokerName":"varve-a","queueId":0,"topic":"orders"}:7}}`)})
		}
	}})
	defer m.Close()
	call(t, m, wire.Success, withBody(wire.Heartbeat, `{"clientID":"c1","consumerDataSet":[{"groupName":"G","subscriptionDataSet":[]}]}`))
	want(t, call(t, c, wire.Success, ask), `{"consumerTable":{"c1":{{"brokerName":"varve-a","queueId":0,"topic":"orders"}:7}}`)
}

func TestWhatHasNoMeaningHereIsSaidSo(t *testing.T) {
	n := startNode(t, nodeOptions{})
	c := n.client(t, wire.Binary)
	for code, text := range map[int]string{1002: "never elected", 513: "static topics", 902: "container", 2001: "cold reads", 1_000_000: "not supported"} {
		if r := call(t, c, wire.RequestCodeNotSupported, wire.NewRequest(code)); !strings.Contains(r.Remark, text) {
			t.Errorf("request %d: remark %q lacks %q", code, r.Remark, text)
		}
	}
	for _, code := range []int{wire.CleanExpiredConsumeQueue, wire.CleanUnusedTopic, wire.DeleteExpiredCommitLog} {
		call(t, c, wire.Success, wire.NewRequest(code))
	}
	want(t, call(t, c, wire.Success, wire.NewRequest(wire.GetBrokerHAStatus)), `"master":true`, fmt.Sprintf(`"masterCommitLogMaxOffset":%d`, logEnd(n.broker)))
}

func logEnd(b *broker.Broker) int64 {
	_, end, _ := b.LogRange()
	return end
}

func TestResetByTheClients(t *testing.T) {
	n := startNode(t, nodeOptions{})
	putTopic(t, n, "orders", 1)
	c := n.client(t, wire.JSON)
	call(t, c, wire.Success, sendCmd(wire.SendMessageV2, "orders", 0, "", "x"))
	call(t, c, wire.Success, withBody(wire.UpdateAndCreateGroup, `{"groupName":"G"}`))
	call(t, c, wire.Success, withBody(wire.UpdateBrokerConfig, "useServerSideResetOffset=false\n"))
	reset := wire.NewRequest(wire.InvokeBrokerToResetOffset, "topic", "orders", "group", "G", "timestamp", "-1", "isForce", "true")
	call(t, c, wire.ConsumerNotOnline, reset)
	told := make(chan *wire.Command, 1)
	m := wire.NewClient(n.addr, wire.ClientConfig{Handler: func(_ *wire.Conn, req *wire.Command) {
		if req.Code == wire.ResetConsumerOffset {
			told <- req.Clone()
		}
	}})
	defer m.Close()
	call(t, m, wire.Success, withBody(wire.Heartbeat, `{"clientID":"c1","consumerDataSet":[{"groupName":"G","subscriptionDataSet":[]}]}`))
	const table = `{"offsetTable":{{"brokerName":"varve-a","queueId":0,"topic":"orders"}:1}}`
	want(t, call(t, c, wire.Success, reset), table)
	if r := <-told; string(r.Body) != table || !r.IsOneWay() || r.Ext.Get("group") != "G" {
		t.Errorf("the member was told %s by %+v", r.Body, r)
	}
	if r := call(t, c, wire.PullNotFound, pullCmd("orders", 0, 1, 0, "*")); r.Ext.Get("nextBeginOffset") != "1" { // nothing was reset here
		t.Errorf("pull after it: %+v", r)
	}
}
