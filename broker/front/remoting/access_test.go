package remoting_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"

	"varve/internal/auth"
	wire "varve/internal/remoting"
	"varve/internal/tlsport"
)

// allow gives a user what entries say; the user's password is its name.
func (n *node) allow(t *testing.T, user string, entries ...auth.Entry) {
	t.Helper()
	if _, err := n.auth.User(user); err != nil {
		if err := n.auth.CreateUser(auth.Anybody, auth.User{Name: user, Password: user}); err != nil {
			t.Fatal(err)
		}
	}
	if len(entries) == 0 {
		return
	}
	err := n.auth.PutACL(auth.Anybody, auth.ACL{Subject: auth.Subject(user), Policies: []auth.Policy{{Entries: entries}}})
	if err != nil {
		t.Fatal(err)
	}
}

func entry(resource string, actions ...string) auth.Entry {
	return auth.Entry{Resource: resource, Actions: actions, Decision: auth.Allow}
}

// The real Go client with its credentials: sends, is refused, consumes.
func TestGoClientWithCredentials(t *testing.T) {
	if raceDetector {
		t.Skip("rocketmq-client-go v2.1.2 has data races of its own")
	}
	rlog.SetLogLevel("fatal")
	n := startNode(t, nodeOptions{auth: true})
	createTopic(t, n, "paid")
	createTopic(t, n, "secret")
	n.allow(t, "seller", entry("Topic:paid", "Pub"))
	n.allow(t, "reader", entry("Topic:paid", "Sub"), entry("Group:readers", "Sub"))

	start := func(name string, c primitive.Credentials) rocketmq.Producer {
		p, err := rocketmq.NewProducer(
			producer.WithNsResolver(primitive.NewPassthroughResolver([]string{n.route})),
			producer.WithGroupName("P-"+name), producer.WithInstanceName("acl-"+name), producer.WithRetry(0), producer.WithCredentials(c))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Shutdown() })
		return p
	}
	seller := start("seller", primitive.Credentials{AccessKey: "seller", SecretKey: "seller", SecurityToken: "token"})
	send(t, seller, "paid", "a", "m", 0, 20)
	if _, err := seller.SendSync(t.Context(), primitive.NewMessage("secret", []byte("x"))); err == nil {
		t.Error("a send to a topic that the user may not send to is taken")
	}
	wrong := start("wrong", primitive.Credentials{AccessKey: "seller", SecretKey: "guess"})
	if _, err := wrong.SendSync(t.Context(), primitive.NewMessage("paid", []byte("x"))); err == nil {
		t.Error("a send with a wrong secret is taken")
	}
	nobody := newProducer(t, n, "nobody")
	if _, err := nobody.SendSync(t.Context(), primitive.NewMessage("paid", []byte("x"))); err == nil {
		t.Error("an unsigned send is taken")
	}
	g := newGot()
	push(t, n, "readers", "acl-reader", "paid", consumer.MessageSelector{}, g,
		consumer.WithCredentials(primitive.Credentials{AccessKey: "reader", SecretKey: "reader"}))
	n.until(t, 40*time.Second, "20 messages for the reader", func() bool { different, _ := g.count(); return different == 20 })
	if different, all := g.count(); different != all {
		t.Errorf("%d messages %d times", different, all)
	}
	refused := n.auth.Refusals()
	if !slices.ContainsFunc(refused, func(r auth.Refusals) bool { return r.Protocol == "remoting" && r.Unknown > 0 && r.Denied > 0 }) {
		t.Errorf("refusals %+v", refused)
	}
}

// signed is a request as a Java client signs it: the values of all ext fields
// in the order of their names, then the body.
func signed(user, secret string, req *wire.Command) *wire.Command {
	req.Ext.Set("AccessKey", user)
	fields := map[string]string{}
	var names []string
	for name, value := range req.Ext.All() {
		fields[name], names = value, append(names, name)
	}
	slices.Sort(names)
	mac := hmac.New(sha1.New, []byte(secret))
	for _, name := range names {
		mac.Write([]byte(fields[name]))
	}
	mac.Write(req.Body)
	req.Ext.Set("Signature", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return req
}

func sendV2(topic, body string) *wire.Command {
	req := wire.NewRequest(wire.SendMessageV2, "a", "P", "b", topic, "c", "TBW102", "d", "4", "e", "0", "f", "0", "g", "1", "h", "0", "i", "", "j", "0", "k", "false")
	req.Body = []byte(body)
	return req
}

// TestAccess asks for each kind of thing with the rights to it and without.
func TestAccess(t *testing.T) {
	n := startNode(t, nodeOptions{auth: true})
	for _, topic := range []string{"mine", "theirs", "%RETRY%g"} {
		createTopic(t, n, topic)
	}
	n.allow(t, "u", entry("Topic:mine", "Pub", "Sub", "Update"), entry("Group:g", "Sub"), entry("Topic:new*", "Create"))
	c := n.client(t, wire.JSON)
	ask := func(user string, req *wire.Command) *wire.Command {
		t.Helper()
		if user != "" {
			req = signed(user, user, req)
		}
		r, err := c.Call(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	g := wire.NewRequest(wire.UpdateAndCreateGroup)
	g.Body = []byte(`{"groupName":"g"}`)
	for _, req := range []*wire.Command{g, sendV2("mine", "x")} {
		if r := ask("admin", req); r.Code != wire.Success {
			t.Fatalf("a super user's request %d: %v", req.Code, r.Err())
		}
	}
	theirs := ask("admin", sendV2("theirs", "x"))
	if theirs.Code != wire.Success {
		t.Fatalf("a super user's send: %v", theirs.Err())
	}
	at := physicalOf(t, theirs.Ext.Get("msgId"))
	withBody := func(code int, v string, ext ...string) *wire.Command {
		req := wire.NewRequest(code, ext...)
		req.Body = []byte(v)
		return req
	}
	pull := func(group, topic string) *wire.Command {
		return wire.NewRequest(wire.PullMessage, "consumerGroup", group, "topic", topic, "queueId", "0", "queueOffset", "0",
			"maxMsgNums", "1", "sysFlag", "4", "commitOffset", "0", "subscription", "*", "subVersion", "0")
	}
	for name, x := range map[string]struct {
		req  *wire.Command
		want int
	}{
		"send":                      {sendV2("mine", "x"), wire.Success},
		"send to another's":         {sendV2("theirs", "x"), wire.NoPermission},
		"send by both names":        {signedTwice("mine", "theirs"), wire.NoPermission},
		"send to the retry topic":   {sendV2("%RETRY%g", "x"), wire.Success},
		"send to another's retries": {sendV2("%RETRY%h", "x"), wire.NoPermission},
		"pull":                      {pull("g", "mine"), wire.Success},
		"pull another's":            {pull("g", "theirs"), wire.NoPermission},
		"pull for another":          {pull("h", "mine"), wire.NoPermission},
		"route":                     {wire.NewRequest(wire.GetMaxOffset, "topic", "mine", "queueId", "0"), wire.Success},
		"max offset of another's":   {wire.NewRequest(wire.GetMaxOffset, "topic", "theirs", "queueId", "0"), wire.NoPermission},
		"view another's message":    {wire.NewRequest(wire.ViewMessageByID, "offset", at), wire.NoPermission},
		"view it as one's own":      {wire.NewRequest(wire.ViewMessageByID, "offset", at, "topic", "mine"), wire.NoPermission},
		"send it back":              {wire.NewRequest(wire.ConsumerSendMsgBack, "offset", at, "group", "g", "delayLevel", "1", "originTopic", "mine"), wire.NoPermission},
		"create":                    {wire.NewRequest(wire.UpdateAndCreateTopic, "topic", "new1", "readQueueNums", "1", "writeQueueNums", "1", "perm", "6"), wire.Success},
		"change one's own":          {wire.NewRequest(wire.UpdateAndCreateTopic, "topic", "mine", "readQueueNums", "4", "writeQueueNums", "4", "perm", "6"), wire.Success},
		"create another's":          {wire.NewRequest(wire.UpdateAndCreateTopic, "topic", "mine2", "readQueueNums", "1", "writeQueueNums", "1", "perm", "6"), wire.NoPermission},
		"delete":                    {wire.NewRequest(wire.DeleteTopicInBroker, "topic", "mine"), wire.NoPermission},
		"all topics":                {wire.NewRequest(wire.GetAllTopicConfig), wire.NoPermission},
		"a code that isn't known":   {wire.NewRequest(4001), wire.NoPermission},
		"heartbeat":                 {withBody(wire.Heartbeat, aclBeat("g", "mine")), wire.Success},
		"heartbeat for another":     {withBody(wire.Heartbeat, aclBeat("h", "mine")), wire.NoPermission},
		"heartbeat of another's":    {withBody(wire.Heartbeat, aclBeat("g", "theirs")), wire.NoPermission},
		"heartbeat in capitals":     {withBody(wire.Heartbeat, strings.Replace(aclBeat("h", "mine"), "groupName", "GROUPNAME", 1)), wire.NoPermission},
		"heartbeat of two spellings": {
			withBody(wire.Heartbeat, strings.Replace(aclBeat("h", "mine"), `"groupName":"h"`, `"groupName":"g","GROUPNAME":"h"`, 1)), wire.InvalidParameter,
		},
		"lock":            {withBody(wire.LockBatchMQ, `{"consumerGroup":"g","clientId":"c","mqSet":[{"topic":"mine","brokerName":"varve-a","queueId":0}]}`), wire.Success},
		"lock another's":  {withBody(wire.LockBatchMQ, `{"consumerGroup":"g","clientId":"c","mqSet":[{"topic":"mine"},{"topic":"theirs"}]}`), wire.NoPermission},
		"users":           {wire.NewRequest(wire.AuthListUsers), wire.NoPermission},
		"raise oneself":   {withBody(wire.AuthUpdateUser, `{"userType":"Super"}`, "username", "u"), wire.NoPermission},
		"broker settings": {wire.NewRequest(wire.GetBrokerConfig), wire.NoPermission},
	} {
		if r := ask("u", x.req); r.Code != x.want {
			t.Errorf("%s: code %d %s, want %d", name, r.Code, r.Remark, x.want)
		}
	}
	if r := ask("", pull("g", "mine")); r.Code != wire.NoPermission || !strings.Contains(r.Remark, "not signed") {
		t.Errorf("unsigned: %v", r.Err())
	}
	tampered := signed("u", "u", sendV2("mine", "x"))
	tampered.Body = []byte("y")
	if r := ask("", tampered); r.Code != wire.NoPermission || !strings.Contains(r.Remark, "doesn't match") {
		t.Errorf("tampered: %v", r.Err())
	}
	// rights of one who may administer, but is no super user
	n.allow(t, "clerk", entry("Cluster:DefaultCluster", "Update", "Get"))
	n.allow(t, "other")
	for name, x := range map[string]struct {
		req  *wire.Command
		want int
	}{
		"make a user":       {withBody(wire.AuthCreateUser, `{"password":"p","userType":"Normal"}`, "username", "new"), wire.Success},
		"make a super user": {withBody(wire.AuthCreateUser, `{"password":"p","userType":"Super"}`, "username", "new2"), wire.NoPermission},
		"without password":  {withBody(wire.AuthCreateUser, `{}`, "username", "new3"), wire.InvalidParameter},
		"without name":      {withBody(wire.AuthCreateUser, `{"password":"p"}`), wire.InvalidParameter},
		"disable admin":     {withBody(wire.AuthUpdateUser, `{"userStatus":"disable"}`, "username", "admin"), wire.NoPermission},
		"delete admin":      {wire.NewRequest(wire.AuthDeleteUser, "username", "admin"), wire.NoPermission},
		"policies":          {withBody(wire.AuthCreateACL, `{"policies":[{"entries":[{"resource":"Topic:a","actions":["Pub"],"decision":"Allow"}]}]}`, "subject", "User:other"), wire.Success},
		"bad policies":      {withBody(wire.AuthCreateACL, `{"policies":[{"entries":[{"resource":"a","actions":["Pub"],"decision":"Allow"}]}]}`, "subject", "User:other"), wire.InvalidParameter},
		"delete nobody":     {wire.NewRequest(wire.AuthDeleteUser, "username", "nobody"), wire.Success},
	} {
		if r := ask("clerk", x.req); r.Code != x.want {
			t.Errorf("%s: code %d %s, want %d", name, r.Code, r.Remark, x.want)
		}
	}
	users := ask("clerk", wire.NewRequest(wire.AuthGetUser, "username", "u"))
	var u auth.User
	if err := json.Unmarshal(users.Body, &u); err != nil || u != (auth.User{Name: "u", Type: auth.Normal, Status: auth.Enabled}) {
		t.Errorf("user %s: %v", users.Body, err)
	}
}

// signedTwice is a send that names one topic by its long name and another by
// its short one: a handler may take either.
func signedTwice(a, b string) *wire.Command {
	req := sendV2(a, "x")
	req.Ext.Set("topic", b)
	return req
}

func aclBeat(group, topic string) string {
	return fmt.Sprintf(`{"clientID":"c","producerDataSet":[],"consumerDataSet":[{"groupName":"%s","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING",`+
		`"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","unitMode":false,"subscriptionDataSet":[{"topic":"%s","subString":"*","subVersion":1,"tagsSet":[],"codeSet":[]}]}]}`, group, topic)
}

// physicalOf is the physical offset in an offset message id.
func physicalOf(t *testing.T, id string) string {
	t.Helper()
	var at int64
	if _, err := fmt.Sscanf(id[len(id)-16:], "%X", &at); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(at)
}

// One port takes TLS and plain clients; an enforcing one takes TLS alone.
func TestTLSOnTheSamePort(t *testing.T) {
	certFile, keyFile, err := tlsport.Own(t.TempDir(), []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	conf, err := tlsport.Load(certFile, keyFile, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, only := range []bool{false, true} {
		t.Run(fmt.Sprintf("only=%v", only), func(t *testing.T) {
			n := startNode(t, nodeOptions{tls: conf, tlsOnly: only})
			over := wire.NewClient(n.addr, wire.ClientConfig{TLS: &tls.Config{InsecureSkipVerify: true}})
			defer over.Close()
			large := strings.Repeat("x", 3<<20)
			for _, body := range []string{"small", large} {
				if r, err := over.Call(t.Context(), sendV2("secured", body)); err != nil || r.Code != wire.Success {
					t.Fatalf("send over TLS: %v, %v", r, err)
				}
			}
			p := wire.NewRequest(wire.PullMessage, "consumerGroup", "g", "topic", "secured", "queueId", "0", "queueOffset", "0",
				"maxMsgNums", "32", "sysFlag", "4", "commitOffset", "0", "subscription", "*", "subVersion", "0")
			if r, err := over.Call(t.Context(), p); err != nil || r.Code != wire.Success || len(r.Body) < len(large) {
				t.Errorf("pull over TLS: %v, %v", r, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			r, err := n.client(t, wire.Binary).Call(ctx, sendV2("secured", "plain"))
			if only {
				if err == nil {
					t.Error("a plain client is served by an enforcing port")
				}
			} else if err != nil || r.Code != wire.Success {
				t.Errorf("plain send: %v, %v", r, err)
			}
		})
	}
}

// Names of a client that sends its namespace beside them are those of the
// namespace, with access control and without.
func TestNewerNamespaces(t *testing.T) {
	for _, on := range []bool{false, true} {
		t.Run(fmt.Sprintf("auth=%v", on), func(t *testing.T) {
			n := startNode(t, nodeOptions{auth: on})
			if on {
				n.allow(t, "admin2", entry("Namespace:acme", "Pub", "Sub", "Get"))
			}
			c := n.client(t, wire.JSON)
			ask := func(req *wire.Command) *wire.Command {
				t.Helper()
				req.Ext.Set("nsd", "true")
				req.Ext.Set("ns", "acme")
				r, err := c.Call(t.Context(), signed("admin2", "admin2", req))
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			if r := ask(sendV2("orders", "x")); r.Code != wire.Success {
				t.Fatal(r.Err())
			}
			if _, ok := n.broker.Topic("acme%orders"); !ok {
				t.Error("the topic has no namespace")
			}
			if _, ok := n.broker.Topic("orders"); ok {
				t.Error("there is a topic orders")
			}
			if r := ask(wire.NewRequest(wire.GetMaxOffset, "topic", "orders", "queueId", "0")); r.Code != wire.Success || r.Ext.Get("offset") != "1" {
				t.Errorf("max offset %s, %v", r.Ext.Get("offset"), r.Err())
			}
			b := wire.NewRequest(wire.Heartbeat)
			b.Body = []byte(aclBeat("g", "orders"))
			if r := ask(b); r.Code != wire.Success {
				t.Fatal(r.Err())
			}
			if _, err := n.broker.SubscriptionOf("acme%g", "acme%orders"); err != nil {
				t.Error(err)
			}
		})
	}
}

// Who may consume a topic in a group may ack what it popped, its retries too,
// also as a Java client with a namespace of the older kind names them.
func TestAcksNeedTheRightsOfThePop(t *testing.T) {
	for _, ns := range []string{"", "acme%"} {
		n := startNode(t, nodeOptions{auth: true})
		createTopic(t, n, ns+"orders")
		createTopic(t, n, ns+"other")
		n.allow(t, "u", entry("Topic:"+ns+"orders", "Pub", "Sub"), entry("Group:"+ns+"G", "Sub"))
		c := n.client(t, wire.JSON)
		as := func(req *wire.Command) *wire.Command {
			req.Ext.Set("consumerGroup", ns+"G")
			return signed("u", "u", req)
		}
		call(t, c, wire.Success, signed("u", "u", sendV2(ns+"orders", "x")))
		call(t, c, wire.Success, as(popCmd(wire.PopMessage, ns+"orders", "invisibleTime", "200")))
		_, infos, recs := handlesOf(t, call(t, c, wire.Success, as(popCmd(wire.PopMessage, ns+"orders"))))
		if len(recs) != 1 {
			t.Fatalf("%d came again", len(recs))
		}
		call(t, c, wire.NoPermission, as(ackCmd(wire.AckMessage, "%RETRY%"+ns+"G_other", infos[0], recs[0])))
		again := call(t, c, wire.Success, as(ackCmd(wire.ChangeInvisibleTime, "%RETRY%"+ns+"G_orders", infos[0], recs[0], "invisibleTime", "60000")))
		w := strings.Fields(infos[0])
		w[1], w[2] = again.Ext.Get("popTime"), "60000"
		call(t, c, wire.Success, as(ackCmd(wire.AckMessage, "%RETRY%"+ns+"G_orders", strings.Join(w, " "), recs[0])))
		if s := n.broker.Stats(); s.PopInFlight != 0 {
			t.Errorf("in flight %d", s.PopInFlight)
		}
	}
}

// A poll that is held when its user loses the right is given nothing any more.
func TestHeldPollsLoseTheirRight(t *testing.T) {
	for name, req := range map[string]*wire.Command{
		"pull": wire.NewRequest(wire.PullMessage, "consumerGroup", "G", "topic", "orders", "queueId", "0", "queueOffset", "0",
			"maxMsgNums", "32", "sysFlag", "6", "commitOffset", "0", "suspendTimeoutMillis", "15000", "subscription", "*", "subVersion", "0"),
		"pop": popCmd(wire.PopMessage, "orders"),
	} {
		n := startNode(t, nodeOptions{auth: true})
		createTopic(t, n, "orders")
		n.allow(t, "reader", entry("Topic:orders", "Sub"), entry("Group:G", "Sub"))
		n.allow(t, "seller", entry("Topic:orders", "Pub"))
		c, answer := n.client(t, wire.JSON), make(chan *wire.Command, 1)
		go func() {
			r, _ := c.Call(t.Context(), signed("reader", "reader", req))
			answer <- r
		}()
		for s := n.broker.Stats(); s.HeldPulls+s.HeldPops == 0; s = n.broker.Stats() { // nothing tells of it
			runtime.Gosched()
		}
		if err := n.auth.DeleteACL(auth.Anybody, auth.Subject("reader"), "", ""); err != nil {
			t.Fatal(err)
		}
		sent := sendV2("orders", "x")
		sent.Ext.Set("e", "0")
		call(t, n.client(t, wire.JSON), wire.Success, signed("seller", "seller", sent))
		if r := <-answer; r == nil || r.Code != wire.NoPermission || len(r.Body) != 0 {
			t.Errorf("%s: answered %+v", name, r)
		}
	}
}
