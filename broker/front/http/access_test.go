package http_test

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
	"time"

	mqhttp "github.com/aliyunmq/mq-http-go-sdk"

	"varve/broker"
	front "varve/broker/front/http"
	"varve/internal/auth"
	"varve/internal/meta"
	"varve/internal/tlsport"
)

// accessUsers are a super user, and one who may publish and consume some.
func accessUsers(t *testing.T) func(*meta.Store) *auth.Store {
	return func(m *meta.Store) *auth.Store {
		s, err := auth.Open(m, auth.Config{On: true, Key: auth.NewKey(), Cluster: "DefaultCluster"})
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range []auth.User{{Name: "root", Password: "root", Type: auth.Super}, {Name: "u", Password: "pw"}} {
			if err := s.CreateUser(auth.Anybody, u); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.PutACL(auth.Anybody, auth.ACL{Subject: "User:u", Policies: []auth.Policy{{Entries: []auth.Entry{
			{Resource: "Topic:mine", Actions: []string{"Pub", "Sub"}, Decision: auth.Allow},
			{Resource: "Topic:INST%mine", Actions: []string{"Sub"}, Decision: auth.Allow},
			{Resource: "Group:g", Actions: []string{"Sub"}, Decision: auth.Allow},
		}}}}); err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func TestSignaturesOfTheSDK(t *testing.T) {
	n := startNode(t, nodeOptions{users: accessUsers(t)})
	for _, name := range []string{"mine", "theirs", "INST%mine"} {
		n.topic(t, name, 1)
	}
	as := func(user, secret string) mqhttp.MQClient {
		return mqhttp.NewAliyunMQClient("http://"+n.addr, user, secret, "a token")
	}
	u := as("u", "pw")
	publish(t, u.GetProducer("", "mine"), mqhttp.PublishMessageRequest{MessageBody: "signed", MessageTag: "a b"})
	c := u.GetConsumer("", "mine", "g", "a b||c")
	got := consumeAll(t, c.ConsumeMessage, 1)
	if err := c.AckMessage([]string{got[0].ReceiptHandle}); err != nil {
		t.Errorf("ack: %v", err)
	}
	half := publish(t, u.GetTransProducer("", "mine", "g"), mqhttp.PublishMessageRequest{MessageBody: "half", TransCheckImmunityTime: 60})
	if err := u.GetTransProducer("", "mine", "g").Commit(half.ReceiptHandle); err != nil {
		t.Errorf("commit: %v", err)
	}
	post := func(cl mqhttp.MQClient, instance, topic string) error {
		_, err := cl.GetProducer(instance, topic).PublishMessage(mqhttp.PublishMessageRequest{MessageBody: "x"})
		return err
	}
	read := func(cl mqhttp.MQClient, topic, group string) error {
		_, err := tryConsume(cl.GetConsumer("", topic, group, "").ConsumeMessage, 1, 0)
		return err
	}
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"wrong secret":     {post(as("u", "px"), "", "mine"), "SignatureDoesNotMatch"},
		"unknown user":     {post(as("v", "pw"), "", "mine"), "SignatureDoesNotMatch"},
		"another's topic":  {post(u, "", "theirs"), "AccessDenied"},
		"read only":        {post(u, "INST", "mine"), "AccessDenied"},
		"another's group":  {read(u, "mine", "h"), "AccessDenied"},
		"reads another's":  {read(u, "theirs", "g"), "AccessDenied"},
		"wrong and reads":  {read(as("u", ""+"x"), "mine", "g"), "SignatureDoesNotMatch"},
		"looks for halves": {lookErr(u, "theirs"), "AccessDenied"},
	} {
		if tc.err == nil || !strings.Contains(tc.err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", name, tc.err, tc.want)
		}
	}
}

func lookErr(c mqhttp.MQClient, topic string) error {
	_, err := tryConsume(c.GetTransProducer("", topic, "g").ConsumeHalfMessage, 1, 0)
	return err
}

func TestUnsignedAndOldRequests(t *testing.T) {
	later := time.Now().Add(time.Hour)
	n := startNode(t, nodeOptions{users: accessUsers(t), front: front.Config{Now: func() time.Time { return later }}})
	n.topic(t, "mine", 1)
	const path = "/topics/mine/messages?consumer=g"
	if a := n.call(t, "GET", path, ""); a.status != 400 || !strings.Contains(a.body, "MissingAuthorizationHeader") {
		t.Errorf("unsigned: %d %s", a.status, a.body)
	}
	_, err := tryConsume(mqhttp.NewAliyunMQClient("http://"+n.addr, "u", "pw", "").GetConsumer("", "mine", "g", "").ConsumeMessage, 1, 0)
	if err == nil || !strings.Contains(err.Error(), "TimeExpired") {
		t.Errorf("a request of an hour ago: %v", err)
	}
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+n.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("u", "pw")
	if a := do(t, http.DefaultClient, r); a.status != 404 || !strings.Contains(a.body, "MessageNotExist") {
		t.Errorf("with a password: %d %s", a.status, a.body)
	}
}

func TestAQuotaThrottles(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 1)
	if err := n.broker.PutQuota(broker.Quota{Tenant: "*", SendMessages: 1}); err != nil {
		t.Fatal(err)
	}
	p := n.sdk().GetProducer("", "orders")
	var err error
	for range 50 {
		if _, err = p.PublishMessage(mqhttp.PublishMessageRequest{MessageBody: "x"}); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "QpsLimitExceeded") {
		t.Errorf("over the quota: %v", err)
	}
}

func TestOnePortTakesTLSAndPlain(t *testing.T) {
	cert, key, err := tlsport.Own(t.TempDir(), []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	conf, err := tlsport.Load(cert, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	any := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // a test's own
	defer any.CloseIdleConnections()
	for _, only := range []bool{false, true} {
		n := startNode(t, nodeOptions{front: front.Config{TLS: conf, TLSOnly: only}})
		n.topic(t, "orders", 1)
		for scheme, want := range map[string]bool{"http": !only, "https": true} {
			r, err := http.NewRequestWithContext(t.Context(), "GET", scheme+"://"+n.addr+"/topics/orders/messages?consumer=g", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := any.Do(r)
			if err == nil {
				resp.Body.Close()
			}
			if want != (err == nil && resp.StatusCode == 404) {
				t.Errorf("TLS only %v, %s: %v", only, scheme, err)
			}
		}
	}
}
