package history

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"varve/internal/mq"
	"varve/internal/objstore/mem"
	"varve/internal/remoting"
)

// served is a server of 100 archived messages, 60 of which are below the hot
// start.
type served struct {
	node   *Node
	client *remoting.Client
	leader atomic.Int32 // requests that reached the broker
}

const heartbeat = `{"clientID":"c","consumerDataSet":[{"groupName":"g","subscriptionDataSet":[
	{"topic":"t","subString":"*","subVersion":5,"expressionType":"TAG"},
	{"topic":"tagged","subString":"t1 || nope","subVersion":5,"expressionType":"TAG"},
	{"topic":"sql","subString":"a > 1","subVersion":5,"expressionType":"SQL92"}]}]}`

func newServed(t *testing.T, hot func(context.Context, mq.Queue) (mq.Range, error)) *served {
	t.Helper()
	a := openArchive(t, mem.New())
	for _, topic := range []string{"t", "tagged", "sql"} {
		store(t, a, broker, plain(topic, 0, 100, time.Unix(1000, 0)), 30)
	}
	s := &served{node: newNode(t, a, nil)}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- remoting.Serve(ctx, ln, func(c *remoting.Conn, req *remoting.Command) {
			s.leader.Add(1)
			resp := &remoting.Command{}
			resp.Ext.SetInt("offset", 4711)
			c.Reply(req.From(), resp)
		}, remoting.Config{})
	}()
	s.client = remoting.NewClient(serve(t, ServerConfig{
		Broker: broker, Hot: hot,
		Subscription: func(group, topic string) (Subscription, bool) {
			return Subscription{Kind: "TAG", Expression: "t1", Version: 3}, group == "quiet"
		},
		Leader: func(b string) string {
			if b == broker {
				return ln.Addr().String()
			}
			return ""
		},
	}, s.node), remoting.ClientConfig{})
	t.Cleanup(func() { s.client.Close(); cancel(); <-done })
	return s
}

func (s *served) pull(t *testing.T, topic string, at string, more ...string) *remoting.Command {
	t.Helper()
	return call(t, s.client, remoting.PullMessage, "", append([]string{
		"consumerGroup", "g", "topic", topic, "queueId", "0", "queueOffset", at, "maxMsgNums", "32",
		"sysFlag", "2", "commitOffset", "0", "suspendTimeoutMillis", "15000", "subVersion", "0",
	}, more...)...)
}

// expect checks a pull's reply: code, where to go on, at which broker id, and
// how many messages.
func expect(t *testing.T, what string, r *remoting.Command, code int, next, suggest string, count int) {
	t.Helper()
	n := 0
	for range mq.Records(r.Body) {
		n++
	}
	if r.Code != code || r.Ext.Get("nextBeginOffset") != next || r.Ext.Get("suggestWhichBrokerId") != suggest || n != count {
		t.Errorf("%s: code %d (%s), next %s, suggest %s, %d messages; want %d, %s, %s, %d", what, r.Code, r.Remark,
			r.Ext.Get("nextBeginOffset"), r.Ext.Get("suggestWhichBrokerId"), n, code, next, suggest, count)
	}
}

func TestPullOverTheWire(t *testing.T) {
	hot := func(_ context.Context, q mq.Queue) (mq.Range, error) {
		if q.Broker != broker {
			return mq.Range{}, mq.ErrNoQueue
		}
		return mq.Range{From: 60, To: 500}, nil
	}
	s := newServed(t, hot)
	if r := s.pull(t, "t", "0"); r.Code != remoting.SubscriptionNotExist {
		t.Errorf("before a heartbeat: code %d", r.Code)
	}
	expect(t, "known at the broker", s.pull(t, "tagged", "0", "consumerGroup", "quiet"), 0, "64", "0", 32)
	if r := s.pull(t, "tagged", "0", "consumerGroup", "quiet", "subVersion", "4"); r.Code != remoting.SubscriptionNotLatest {
		t.Errorf("newer than at the broker: code %d", r.Code)
	}
	if r := call(t, s.client, remoting.Heartbeat, heartbeat); r.Code != 0 {
		t.Fatalf("heartbeat: %d %s", r.Code, r.Remark)
	}
	expect(t, "cold", s.pull(t, "t", "0"), 0, "32", "1000", 32)
	expect(t, "lite pull", call(t, s.client, remoting.LitePullMessage, "", "consumerGroup", "g", "topic", "t", "queueId", "0",
		"queueOffset", "10", "maxMsgNums", "5", "sysFlag", "4", "subscription", "*", "expressionType", "TAG"), 0, "15", "1000", 5)
	expect(t, "over the hot start", s.pull(t, "t", "40"), 0, "72", "0", 32)
	expect(t, "at the archive's end", s.pull(t, "t", "100"), 20, "100", "0", 0)
	expect(t, "beyond", s.pull(t, "t", "5000"), 20, "5000", "0", 0)
	expect(t, "unknown queue", s.pull(t, "t", "3", "queueId", "9"), 20, "3", "0", 0)
	expect(t, "another broker group", s.pull(t, "t", "3", "bname", "other"), 20, "3", "0", 0)
	expect(t, "tags", s.pull(t, "tagged", "0"), 0, "64", "0", 32)
	if r := s.pull(t, "t", "0"); r.Ext.Get("minOffset") != "0" || r.Ext.Get("maxOffset") != "500" {
		t.Errorf("range %s to %s", r.Ext.Get("minOffset"), r.Ext.Get("maxOffset"))
	}
	if r := s.pull(t, "t", "0", "subVersion", "6"); r.Code != remoting.SubscriptionNotLatest {
		t.Errorf("newer subscription: code %d", r.Code)
	}
	if r := s.pull(t, "sql", "0"); r.Code != remoting.SubscriptionParseFailed {
		t.Errorf("SQL without a compiler: code %d", r.Code)
	}
	for _, bad := range [][]string{{"queueOffset", "x"}, {"queueId", ""}, {"maxMsgNums", "many"}} {
		if r := s.pull(t, "t", "0", bad...); r.Code == 0 || r.Remark == "" {
			t.Errorf("bad field %v: code %d", bad, r.Code)
		}
	}
}

func TestPullWithoutHotGoesToTheArchivesEnd(t *testing.T) {
	s := newServed(t, nil)
	call(t, s.client, remoting.Heartbeat, heartbeat)
	expect(t, "below the end", s.pull(t, "t", "60"), 0, "92", "1000", 32)
	expect(t, "to the end", s.pull(t, "t", "92"), 0, "100", "0", 8)
	expect(t, "no match to the end", s.pull(t, "tagged", "100"), 20, "100", "0", 0)
}

func TestOtherRequests(t *testing.T) {
	s := newServed(t, nil)
	q := []string{"topic", "t", "queueId", "0"}
	for _, c := range []struct {
		code  int
		ext   []string
		reply int
		field string
		want  string
	}{
		{remoting.GetMinOffset, q, 0, "offset", "0"},
		{remoting.GetMaxOffset, q, 0, "offset", "100"},
		{remoting.SearchOffsetByTimestamp, append([]string{"timestamp", "1005500"}, q...), 0, "offset", "6"},
		{remoting.SearchOffsetByTimestamp, append([]string{"timestamp", "1005500", "boundaryType", "UPPER"}, q...), 0, "offset", "5"},
		{remoting.GetEarliestMsgStoreTime, q, 0, "timestamp", "1000000"},
		{remoting.QueryConsumerOffset, append([]string{"consumerGroup", "g"}, q...), 0, "offset", "4711"},
		{remoting.QueryConsumerOffset, append([]string{"bname", "other"}, q...), remoting.ServiceNotAvailable, "offset", ""},
		{remoting.GetMinOffset, []string{"topic", "none", "queueId", "0"}, remoting.SystemError, "offset", ""},
		{remoting.ViewMessageByID, []string{"offset", "7000"}, 0, "", ""},
		{remoting.ViewMessageByID, []string{"offset", "7001"}, remoting.QueryNotFound, "", ""},
		{remoting.QueryMessage, []string{"topic", "t", "key", "t-0-17", "maxNum", "5", "beginTimestamp", "9999999999999", "endTimestamp", "9999999999999", "_UNIQUE_KEY_QUERY", "true"}, 0, "", ""},
		{remoting.QueryMessage, []string{"topic", "t", "key", "absent", "maxNum", "5"}, remoting.QueryNotFound, "", ""},
		{remoting.UnregisterClient, nil, 0, "", ""},
		{remoting.SendMessage, q, remoting.RequestCodeNotSupported, "", ""},
		{remoting.GetBrokerRuntimeInfo, nil, 0, "", ""},
		{remoting.GetBrokerConfig, nil, 0, "", ""},
		{remoting.DeleteTopicInBroker, []string{"topic", "t"}, 0, "", ""}, // the leader's doing; the archive stays
		{remoting.GetMaxOffset, q, 0, "offset", "100"},
		{remoting.AuthCreateUser, nil, remoting.RequestCodeNotSupported, "", ""},
		{remoting.AuthDeleteACL, nil, remoting.RequestCodeNotSupported, "", ""},
		{remoting.AuthListUsers, nil, 0, "offset", "4711"}, // the leader's answer
	} {
		r := call(t, s.client, c.code, "", c.ext...)
		if r.Code != c.reply || c.field != "" && r.Ext.Get(c.field) != c.want {
			t.Errorf("request %d %v: code %d (%s), %s=%q; want %d, %q", c.code, c.ext, r.Code, r.Remark, c.field, r.Ext.Get(c.field), c.reply, c.want)
		}
	}
	if r := call(t, s.client, remoting.Heartbeat, `{"consumerDataSet":3}`); r.Code == 0 {
		t.Error("a broken heartbeat was taken")
	}
	if n := s.leader.Load(); n != 2 {
		t.Errorf("%d requests reached the broker", n)
	}
	// Where it has the users of its leader, tools that tell both must not fail.
	shared := remoting.NewClient(serve(t, ServerConfig{Broker: broker, SharesUsers: true}, s.node), remoting.ClientConfig{})
	defer shared.Close()
	for _, code := range []int{
		remoting.AuthCreateUser, remoting.AuthUpdateUser, remoting.AuthDeleteUser,
		remoting.AuthCreateACL, remoting.AuthUpdateACL, remoting.AuthDeleteACL,
	} {
		if r := call(t, shared, code, ""); r.Code != 0 {
			t.Errorf("request %d: code %d %s", code, r.Code, r.Remark)
		}
	}
}

// exprFilter is a filter that can be sent.
type exprFilter struct{ mq.Filter }

func (exprFilter) Expression() (string, string) { return "TAG", "t1" }

func TestClientSendsExpressions(t *testing.T) {
	a := openArchive(t, mem.New())
	store(t, a, broker, plain("t", 0, 100, time.Unix(1000, 0)), 100)
	c := NewClient(serve(t, ServerConfig{Broker: "other"}, newNode(t, a, nil)), ClientConfig{})
	defer c.Close()
	q := mq.Queue{Broker: broker, Topic: "t"}
	f, err := tagFilter("t1")
	if err != nil {
		t.Fatal(err)
	}
	for _, filter := range []mq.Filter{f, exprFilter{f}} {
		b, err := c.Read(t.Context(), q, 0, mq.Limit{Messages: 10, Filter: filter})
		if err != nil || b.Count != 10 || b.Next < 19 || b.Next > 20 {
			t.Errorf("%T: %d messages, next %d, %v", filter, b.Count, b.Next, err)
		}
	}
	if _, err := c.Range(t.Context(), mq.Queue{Broker: broker, Topic: "none"}); !errors.Is(err, mq.ErrNoQueue) {
		t.Error(err)
	}
	gone := NewClient("127.0.0.1:1", ClientConfig{})
	defer gone.Close()
	if _, err := gone.Range(t.Context(), q); err == nil || errors.Is(err, mq.ErrNoQueue) {
		t.Errorf("no server: %v", err)
	}
}
