package http_test

import (
	"context"
	"html"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	mqhttp "github.com/aliyunmq/mq-http-go-sdk"

	"varve/broker"
	front "varve/broker/front/http"
	"varve/internal/backlog"
)

func TestBadRequestsSayWhatIsWrong(t *testing.T) {
	n := startNode(t, nodeOptions{conf: func(c *broker.Config) { c.AutoCreateTopics, c.AutoCreateGroups, c.MaxBodyBytes = false, false, 1000 }})
	n.topic(t, "orders", 1)
	n.topic(t, "fifo", 1)
	if err := n.broker.PutTopic(broker.Topic{Name: "fifo", ReadQueues: 1, WriteQueues: 1, Perm: 6, Attributes: map[string]string{"message.type": "FIFO"}}); err != nil {
		t.Fatal(err)
	}
	if err := n.broker.PutGroup(broker.DefaultGroup("g")); err != nil {
		t.Fatal(err)
	}
	const path = "/topics/orders/messages"
	message := func(props string) string {
		return "<Message><MessageBody>x</MessageBody><Properties>" + props + "</Properties></Message>"
	}
	for _, tc := range []struct {
		method, path, body string
		status             int
		code, says         string
	}{
		{"GET", "/", "", 400, "InvalidRequestURL", "want /topics/TOPIC/messages"},
		{"GET", "/topics//messages", "", 400, "InvalidRequestURL", ""},
		{"GET", "/topics/a/b/messages", "", 400, "InvalidRequestURL", ""},
		{"PUT", path, "", 400, "InvalidRequestURL", "PUT"},
		{"GET", path + "?trans=commit", "", 400, "InvalidRequestURL", "GET commit"},
		{"GET", path + "?consumer=%zz", "", 400, "InvalidQueryString", ""},
		{"GET", path + "?consumer=" + strings.Repeat("g", 9000), "", 400, "InvalidQueryString", "9009 bytes"},
		{"GET", path, "", 400, "InvalidArgument", "consumer"},
		{"GET", path + "?consumer=g&ns=a%25b", "", 400, "InvalidArgument", "a%b"},
		{"GET", path + "?consumer=g&numOfMessages=17", "", 400, "InvalidArgument", "1 to 16"},
		{"GET", path + "?consumer=g&numOfMessages=0", "", 400, "InvalidArgument", "numOfMessages"},
		{"GET", path + "?consumer=g&waitseconds=31", "", 400, "InvalidArgument", "0 to 30"},
		{"GET", path + "?consumer=nobody", "", 404, "GroupNotExist", "nobody"},
		{"GET", "/topics/missing/messages?consumer=g", "", 404, "TopicNotExist", "missing"},
		{"GET", path + "?consumer=g", "", 404, "MessageNotExist", ""},
		{"GET", path + "?consumer=g&trans=pop", "", 404, "MessageNotExist", ""},
		{"GET", "/topics/RMQ_SYS_TRANS_HALF_TOPIC/messages?consumer=g", "", 403, "AccessDenied", "broker's own"},
		{"POST", "/topics/missing/messages", message(""), 404, "TopicNotExist", "missing"},
		{"POST", path, "", 400, "MalformedXML", "empty"},
		{"POST", path, "{}", 400, "MalformedXML", ""},
		{"POST", path, "<Message><MessageBody>x</MessageBody>", 400, "MalformedXML", "unexpected EOF"},
		{"POST", path, "<Messages/>", 400, "MalformedXML", "Message"},
		{"POST", path, message("") + "<More/>", 400, "MalformedXML", "two root"},
		{"POST", path, message("") + "more", 400, "MalformedXML", "behind the root"},
		{"POST", path, "<!DOCTYPE x [<!ENTITY e 'boom'>]><Message><MessageBody>&e;</MessageBody></Message>", 400, "MalformedXML", "entity"},
		{"POST", path, "<Message><MessageBody>&#1;</MessageBody></Message>", 400, "MalformedXML", ""},
		{"POST", path, "<Message></Message>", 400, "InvalidArgument", "MessageBody"},
		{"POST", path, "<Message><MessageBody>" + strings.Repeat("x", 1001) + "</MessageBody></Message>", 400, "InvalidArgument", "1 to 1000"},
		{"POST", path, "<Message><MessageBody>x</MessageBody><Junk>" + strings.Repeat("x", 300<<10) + "</Junk></Message>", 400, "InvalidArgument", "over the limit"},
		{"POST", path, "<Message><MessageBody>x</MessageBody><MessageTag>a||b</MessageTag></Message>", 400, "InvalidArgument", "'|'"},
		{"POST", path, message("novalue"), 400, "InvalidArgument", "novalue"},
		{"POST", path, message(":v"), 400, "InvalidArgument", "NAME:VALUE"},
		{"POST", path, message("a:1|a:2"), 400, "InvalidArgument", "twice"},
		{"POST", path, message("UNIQ_KEY:x"), 400, "InvalidArgument", "broker's own"},
		{"POST", path, message("__STARTDELIVERTIME:soon"), 400, "InvalidArgument", "milliseconds"},
		{"POST", path, message("__STARTDELIVERTIME:-1"), 400, "InvalidArgument", "milliseconds"},
		{"POST", path, message("__TransCheckT:0"), 400, "InvalidArgument", "1 to 3600"},
		{"POST", path, message("__TransCheckT:9223372036854775807"), 400, "InvalidArgument", "1 to 3600"},
		{"POST", path, message("p:" + strings.Repeat("x", 40000)), 400, "InvalidArgument", "properties"},
		{"POST", "/topics/fifo/messages", message(""), 400, "InvalidArgument", "takes FIFO"},
		{"DELETE", path, "<ReceiptHandles/>", 400, "InvalidArgument", "consumer"},
		{"DELETE", path + "?consumer=g", "<ReceiptHandles/>", 400, "MissingReceiptHandle", ""},
		{"DELETE", path + "?trans=commit", "", 400, "MalformedXML", ""},
		{"DELETE", path + "?consumer=g", "<ReceiptHandles>" + strings.Repeat("<ReceiptHandle>x</ReceiptHandle>", 17) + "</ReceiptHandles>", 400, "InvalidArgument", "17"},
	} {
		a := n.call(t, tc.method, tc.path, tc.body)
		a.body = html.UnescapeString(a.body)
		what := tc.method + " " + tc.path[:min(len(tc.path), 60)] + " " + tc.body[:min(len(tc.body), 80)]
		if a.status != tc.status || !strings.Contains(a.body, "<Code>"+tc.code+"</Code>") || !strings.Contains(a.body, tc.says) {
			t.Errorf("%s: %d %.300s", what, a.status, a.body)
		}
		id := a.header.Get("x-mq-request-id")
		if len(id) != 24 || !strings.Contains(a.body, "<RequestId>"+id+"</RequestId>") || !strings.Contains(a.body, "<HostId>http://"+n.addr+"</HostId>") {
			t.Errorf("%s: request %q: %.300s", what, id, a.body)
		}
	}
	if s := n.front.Stats(); s.Requests < 40 || s.Refused < 38 || s.Refused > s.Requests-2 {
		t.Errorf("figures %+v: no message is no refusal", s)
	}
}

// SDKs look for the request's id in this spelling, some with regard to case.
func TestTheRequestIDsHeaderIsSpelledInLowerCase(t *testing.T) {
	n := startNode(t, nodeOptions{})
	raw := n.raw(t, "GET /topics/orders/messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if !strings.Contains(raw, "\r\nx-mq-request-id: ") || !strings.Contains(raw, "\r\nContent-Type: text/xml;charset=utf-8\r\n") {
		t.Errorf("answer: %s", raw)
	}
}

// A message that a consumer which is gone would have got is soon another's.
func TestAConsumerThatIsGoneGetsNothing(t *testing.T) {
	n := startNode(t, nodeOptions{front: front.Config{Invisible: time.Hour}})
	n.topic(t, "orders", 1)
	c := n.sdk().GetConsumer("", "orders", "g", "")
	consume(t, c.ConsumeMessage, 1, 0)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+n.addr+"/topics/orders/messages?consumer=g&waitseconds=30", nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(r)
		if err == nil {
			resp.Body.Close()
		}
		ended <- err
	}()
	waitFor(t, func() bool { return n.broker.Stats().HeldPops == 1 })
	cancel()
	if err := <-ended; err == nil {
		t.Fatal("the request was answered")
	}
	waitFor(t, func() bool { return n.front.Stats().Refused == 1 }) // it has noticed
	publish(t, n.sdk().GetProducer("", "orders"), mqhttp.PublishMessageRequest{MessageBody: "x"})
	if got := consumeAll(t, c.ConsumeMessage, 1); got[0].MessageBody != "x" {
		t.Errorf("got %q", got[0].MessageBody)
	}
}

// A listener that fails ends Serve with its error, whatever the context says.
func TestAFailedListenerEndsServe(t *testing.T) {
	n := startNode(t, nodeOptions{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := front.New(n.broker, front.Config{}).Serve(t.Context(), ln); err == nil {
		t.Error("it served a closed listener")
	}
}

// The end of the server answers those that wait.
func TestAWaitEndsWithTheServer(t *testing.T) {
	waited := make(chan error, 1)
	t.Run("server", func(t *testing.T) {
		n := startNode(t, nodeOptions{})
		n.topic(t, "orders", 1)
		go func() {
			_, err := tryConsume(n.sdk().GetConsumer("", "orders", "g", "").ConsumeMessage, 1, 30)
			waited <- err
		}()
		waitFor(t, func() bool { return n.broker.Stats().HeldPops == 1 })
	})
	select {
	case err := <-waited:
		if err == nil {
			t.Error("there was a message")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on waiting")
	}
}

// Where clients have much that they don't read, each further answer is small,
// and what is counted ends with its request.
func TestAnswersAreSmallWhereMuchIsUnread(t *testing.T) {
	unread := backlog.New(1 << 20)
	n := startNode(t, nodeOptions{front: front.Config{Backlog: unread}})
	n.topic(t, "orders", 1)
	p, c := n.sdk().GetProducer("", "orders"), n.sdk().GetConsumer("", "orders", "g", "")
	const size = 100 << 10
	for range 12 {
		publish(t, p, mqhttp.PublishMessageRequest{MessageBody: strings.Repeat("x", size)})
	}
	others := unread.Conn()
	others.Add(2 << 20)
	if got := len(consumeAll(t, c.ConsumeMessage, 1)); got > backlog.Cramped/size+1 {
		t.Errorf("got %d messages at once while much is unread", got)
	}
	others.Done(2 << 20)
	if got := len(consumeAll(t, c.ConsumeMessage, 1)); got < 8 {
		t.Errorf("got %d messages at once when all is read", got)
	}
	if got := unread.Bytes(); got != 0 {
		t.Errorf("%d bytes are unread, and every answer was", got)
	}
}
