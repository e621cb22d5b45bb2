package route

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"varve/internal/remoting"
)

type memKV map[string][]byte

func (m memKV) Get(key string, into any) (bool, error) {
	raw, ok := m[key]
	if !ok {
		return false, nil
	}
	return true, json.Unmarshal(raw, into)
}

func (m memKV) Put(key string, v any) (err error) {
	m[key], err = json.Marshal(v)
	return err
}

func (m memKV) Delete(key string) error {
	delete(m, key)
	return nil
}

func (m memKV) Scan(prefix string, fn func(string, []byte) error) error {
	for k, v := range m {
		if strings.HasPrefix(k, prefix) {
			if err := fn(k, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// clock is a time that only a test moves.
type clock struct{ nanos atomic.Int64 }

func (c *clock) now() time.Time { return time.Unix(0, c.nanos.Load()) }

func (c *clock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

// start runs a name server with a leader, a history node and two topics.
func start(t *testing.T) (*Table, *remoting.Client, *clock) {
	t.Helper()
	table, client, c, _ := startTold(t)
	return table, client, c
}

// told is what a name server has done: the codes of the requests it has
// answered, and the connections that it has forgotten.
type told struct {
	codes chan int
	ended chan struct{}
}

// answered waits for the next request of a code.
func (d *told) answered(t *testing.T, code int) {
	t.Helper()
	for limit := time.After(10 * time.Second); ; {
		select {
		case got := <-d.codes:
			if got == code {
				return
			}
		case <-limit:
			t.Fatalf("request %d has not come", code)
		}
	}
}

func startTold(t *testing.T) (*Table, *remoting.Client, *clock, *told) {
	t.Helper()
	c := &clock{}
	c.advance(1_700_000_000 * time.Second)
	d := &told{make(chan int, 100), make(chan struct{}, 100)}
	table := New(Config{KV: memKV{}, Now: c.now})
	table.Join(Member{Cluster: "c", Broker: "a", ID: 0, Addr: "127.0.0.1:10911"}, topicSet{
		"orders": {Name: "orders", ReadQueues: 4, WriteQueues: 8, Perm: 6},
		"TBW102": {Name: "TBW102", ReadQueues: 8, WriteQueues: 8, Perm: 7, SysFlag: 2},
	})
	table.Join(Member{Cluster: "c", Broker: "a", ID: 1000, Addr: "127.0.0.1:10915"}, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- remoting.Serve(ctx, ln, func(c *remoting.Conn, req *remoting.Command) {
			code := req.Code
			table.Serve(c, req)
			d.codes <- code
		}, remoting.Config{OnClose: func(c *remoting.Conn) {
			table.ConnectionEnded(c)
			d.ended <- struct{}{}
		}})
	}()
	client := remoting.NewClient(ln.Addr().String(), remoting.ClientConfig{})
	t.Cleanup(func() {
		_ = client.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return table, client, c, d
}

func ask(t *testing.T, c *remoting.Client, code int, ext ...string) *remoting.Command {
	t.Helper()
	r, err := c.Call(t.Context(), remoting.NewRequest(code, ext...))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRouteInBothJSONForms(t *testing.T) {
	table, c, _ := start(t)
	want := `{"brokerDatas":[{"brokerAddrs":{"0":"127.0.0.1:10911","1000":"127.0.0.1:10915"},"brokerName":"a","cluster":"c","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":8}]}`
	if got := string(ask(t, c, remoting.GetRouteInfoByTopic, "topic", "orders").Body); got != want {
		t.Errorf("new client:\n got %s\nwant %s", got, want)
	}
	old := strings.NewReplacer(`"0":`, `0:`, `"1000":`, `1000:`).Replace(want)
	r, ok := table.Route("orders")
	if got := string(appendRoute(nil, &r, "", false)); !ok || got != old {
		t.Errorf("old client:\n got %s\nwant %s", got, old)
	}
	if r := ask(t, c, remoting.GetRouteInfoByTopic, "topic", "none"); r.Code != remoting.TopicNotExist {
		t.Errorf("unknown topic: code %d", r.Code)
	}
	if r := ask(t, c, remoting.GetRouteInfoByTopic); r.Code != remoting.SystemError || !strings.Contains(r.Remark, "topic") {
		t.Errorf("no topic field: %d %s", r.Code, r.Remark)
	}
}

func TestOrderConfAndKV(t *testing.T) {
	_, c, _ := start(t)
	if r := ask(t, c, remoting.GetKVListByNamespace, "namespace", "ORDER_TOPIC_CONFIG"); r.Code != remoting.QueryNotFound {
		t.Errorf("empty namespace: code %d", r.Code)
	}
	ask(t, c, remoting.PutKVConfig, "namespace", "ORDER_TOPIC_CONFIG", "key", "orders", "value", "a:4")
	if b := string(ask(t, c, remoting.GetRouteInfoByTopic, "topic", "orders").Body); !strings.Contains(b, `"orderTopicConf":"a:4"`) {
		t.Errorf("route %s lacks the order configuration", b)
	}
	if v := ask(t, c, remoting.GetKVConfig, "namespace", "ORDER_TOPIC_CONFIG", "key", "orders").Ext.Get("value"); v != "a:4" {
		t.Errorf("value %q", v)
	}
	if b := string(ask(t, c, remoting.GetKVListByNamespace, "namespace", "ORDER_TOPIC_CONFIG").Body); b != `{"table":{"orders":"a:4"}}` {
		t.Errorf("listing %s", b)
	}
	for _, bad := range [][]string{
		{"namespace", "n", "key", strings.Repeat("k", 300)},
		{"namespace", "n\x00", "key", "k"},
		{"namespace", "n", "key", "k", "value", strings.Repeat("v", 70_000)},
	} {
		if r := ask(t, c, remoting.PutKVConfig, bad...); r.Code != remoting.InvalidParameter {
			t.Errorf("put of %.20q: code %d", bad, r.Code)
		}
	}
	ask(t, c, remoting.DeleteKVConfig, "namespace", "ORDER_TOPIC_CONFIG", "key", "orders")
	if r := ask(t, c, remoting.GetKVConfig, "namespace", "ORDER_TOPIC_CONFIG", "key", "orders"); r.Code != remoting.QueryNotFound {
		t.Errorf("after deletion: code %d", r.Code)
	}
}

func TestRegisterExpireUnregister(t *testing.T) {
	table, c, clk := start(t)
	second := Member{Cluster: "c", Broker: "b", Addr: "127.0.0.1:20911"}
	a := NewAnnouncer(second, topicSet{"orders": {Name: "orders", ReadQueues: 2, WriteQueues: 2, Perm: 6}}, []string{c.Addr()}, remoting.ClientConfig{}, nil)
	peer := a.clients[0]
	t.Cleanup(func() { _ = peer.Close() })
	if err := a.Register(t.Context(), peer); err != nil {
		t.Fatal(err)
	}
	groups := func() int {
		r, _ := table.Route("orders")
		return len(r.Brokers)
	}
	if n := groups(); n != 2 {
		t.Fatalf("%d broker groups, want 2", n)
	}
	if r := ask(t, c, remoting.GetBrokerMemberGroup, "brokerName", "b", "clusterName", "c"); !strings.Contains(string(r.Body), `"brokerAddrs":{"0":"127.0.0.1:20911"}`) {
		t.Errorf("members of b: %s", r.Body)
	}
	if r := ask(t, c, 1005); r.Code != remoting.RequestCodeNotSupported || !strings.Contains(r.Remark, "no controller") {
		t.Errorf("controller request: %d %s", r.Code, r.Remark)
	}
	ask(t, c, remoting.DeleteTopicInNS, "topic", "orders")
	if n := groups(); n != 1 {
		t.Errorf("%d broker groups after the topic's deletion, want the local one", n)
	}
	if err := a.Register(t.Context(), peer); err != nil {
		t.Fatal(err)
	}
	clk.advance(100 * time.Second)
	ask(t, c, remoting.BrokerHeartbeat, "brokerName", "b", "brokerAddr", second.Addr, "clusterName", "c")
	clk.advance(100 * time.Second)
	if table.Expire(); groups() != 2 {
		t.Error("expired in spite of its heartbeat")
	}
	clk.advance(100 * time.Second)
	if table.Expire(); groups() != 1 {
		t.Error("silent member still in the route")
	}
	if err := a.Register(t.Context(), peer); err != nil {
		t.Fatal(err)
	}
	if err := a.unregister(t.Context(), peer); err != nil {
		t.Fatal(err)
	}
	if groups() != 1 {
		t.Error("member still in the route after unregistering")
	}
}

// growing is a source of topics that gains one.
type growing struct{ full atomic.Bool }

func (g *growing) Topic(name string) (Topic, bool) {
	return Topic{Name: name, ReadQueues: 1, WriteQueues: 1, Perm: 6}, g.full.Load()
}

func (g *growing) All() []Topic {
	if !g.full.Load() {
		return nil
	}
	tp, _ := g.Topic("new")
	return []Topic{tp}
}

func TestAnnouncerKeepsRegistered(t *testing.T) {
	table, c, _, server := startTold(t)
	var src growing
	a := NewAnnouncer(Member{Cluster: "c", Broker: "b", Addr: "127.0.0.1:3", Zone: "z", ActingMaster: true}, &src, []string{c.Addr()}, remoting.ClientConfig{}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	server.answered(t, remoting.RegisterBroker)
	if all := table.Brokers(); len(all) != 2 || all[1].Zone != "z" || !all[1].ActingMaster {
		t.Errorf("brokers %+v", all)
	}
	src.full.Store(true)
	a.Kick()
	server.answered(t, remoting.RegisterBroker)
	if _, ok := table.Route("new"); !ok {
		t.Error("new topic not announced")
	}
	cancel()
	if err := <-done; err != nil { // it has said goodbye
		t.Error(err)
	}
	if n := len(table.Brokers()); n != 1 {
		t.Errorf("%d brokers, want 1", n)
	}
}

func TestRegisterInTakenPlace(t *testing.T) {
	_, c, _ := start(t)
	a := NewAnnouncer(Member{Cluster: "c", Broker: "a", Addr: "127.0.0.1:1"}, nil, []string{c.Addr()}, remoting.ClientConfig{}, nil)
	t.Cleanup(func() { _ = a.clients[0].Close() })
	if err := a.Register(t.Context(), a.clients[0]); err == nil {
		t.Error("a stranger took the place of this process's broker")
	}
}

func TestConnectionEndForgetsMember(t *testing.T) {
	table, c, _, server := startTold(t)
	a := NewAnnouncer(Member{Cluster: "c", Broker: "b", Addr: "127.0.0.1:2"}, nil, []string{c.Addr()}, remoting.ClientConfig{}, nil)
	if err := a.Register(t.Context(), a.clients[0]); err != nil {
		t.Fatal(err)
	}
	if n := len(table.Brokers()); n != 2 {
		t.Fatalf("%d brokers, want 2", n)
	}
	_ = a.clients[0].Close()
	<-server.ended
	if n := len(table.Brokers()); n != 1 {
		t.Errorf("%d brokers, want 1: a member outlives its connection", n)
	}
}

func TestLists(t *testing.T) {
	_, c, _ := start(t)
	for code, want := range map[int]string{
		remoting.GetAllTopicListFromNS:     `{"topicList":["TBW102","orders"]}`,
		remoting.GetUnitTopicList:          `{"topicList":[]}`,
		remoting.GetHasUnitSubTopicList:    `{"topicList":["TBW102"]}`,
		remoting.GetHasUnitSubUnunitTopics: `{"topicList":["TBW102"]}`,
		remoting.GetSystemTopicListFromNS:  `{"brokerAddr":"127.0.0.1:10911","topicList":["TBW102","a","c"]}`,
	} {
		if got := string(ask(t, c, code).Body); got != want {
			t.Errorf("code %d: got %s, want %s", code, got, want)
		}
	}
	if got := string(ask(t, c, remoting.GetTopicsByCluster, "cluster", "c").Body); got != `{"topicList":["TBW102","orders"]}` {
		t.Errorf("topics of the cluster: %s", got)
	}
	want := `{"brokerAddrTable":{"a":{"brokerAddrs":{"0":"127.0.0.1:10911","1000":"127.0.0.1:10915"},"brokerName":"a","cluster":"c","enableActingMaster":false}},"clusterAddrTable":{"c":["a"]}}`
	if got := string(ask(t, c, remoting.GetBrokerClusterInfo).Body); got != want {
		t.Errorf("cluster info %s", got)
	}
	if r := ask(t, c, 9999); r.Code != remoting.RequestCodeNotSupported {
		t.Errorf("unknown code: reply %d", r.Code)
	}
}

func TestWipeWritePerm(t *testing.T) {
	table, c, _ := start(t)
	if n := ask(t, c, remoting.WipeWritePermOfBroker, "brokerName", "a").Ext.Get("wipeTopicCount"); n != "2" {
		t.Errorf("wipeTopicCount %s, want 2", n)
	}
	if r, _ := table.Route("orders"); r.Queues[0].Perm != permRead {
		t.Errorf("perm %d, want read only", r.Queues[0].Perm)
	}
	ask(t, c, remoting.AddWritePermOfBroker, "brokerName", "a")
	if r, _ := table.Route("orders"); r.Queues[0].Perm != permRead|permWrite {
		t.Errorf("perm %d, want both", r.Queues[0].Perm)
	}
}
