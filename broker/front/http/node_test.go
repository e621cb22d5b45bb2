package http_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	mqhttp "github.com/aliyunmq/mq-http-go-sdk"

	"varve/broker"
	"varve/broker/front/fronttest"
	front "varve/broker/front/http"
	"varve/hot"
	"varve/internal/auth"
	"varve/internal/meta"
)

// node is a broker with its HTTP front on a free port.
type node struct {
	broker *broker.Broker
	log    *hot.Store
	front  *front.Front
	addr   string
}

// nodeOptions change what startNode makes.
type nodeOptions struct {
	conf  func(*broker.Config)
	front front.Config
	users func(*meta.Store) *auth.Store // access control; none where nil
}

// startNode runs a node until the test ends.
func startNode(t testing.TB, o nodeOptions) *node {
	t.Helper()
	ln, addr := fronttest.Listen(t)
	b := fronttest.Open(t, fronttest.Options{Addr: addr, Conf: o.conf})
	if o.users != nil {
		o.front.Auth = o.users(b.State)
	}
	f := front.New(b.Broker, o.front)
	b.With("front", func(ctx context.Context) error { return f.Serve(ctx, ln) }).Run(t)
	return &node{broker: b.Broker, log: b.Log, front: f, addr: addr.String()}
}

// topic makes a topic of n queues.
func (n *node) topic(t testing.TB, name string, queues int32) {
	t.Helper()
	if err := n.broker.PutTopic(broker.Topic{Name: name, ReadQueues: queues, WriteQueues: queues, Perm: 6}); err != nil {
		t.Fatal(err)
	}
}

// sdk is the real client. It signs whether anybody looks or not.
func (n *node) sdk() mqhttp.MQClient {
	return mqhttp.NewAliyunMQClient("http://"+n.addr, "key", "secret", "")
}

// publish posts one message, which must succeed.
func publish(t testing.TB, p interface {
	PublishMessage(mqhttp.PublishMessageRequest) (mqhttp.PublishMessageResponse, error)
}, m mqhttp.PublishMessageRequest,
) mqhttp.PublishMessageResponse {
	t.Helper()
	r, err := p.PublishMessage(m)
	if err != nil {
		t.Fatalf("publish %q: %v", m.MessageBody, err)
	}
	return r
}

// consumeFunc is one of the SDK's.
type consumeFunc func(chan mqhttp.ConsumeMessageResponse, chan error, int32, int64)

// consume asks once. No message is none.
func consume(t testing.TB, f consumeFunc, n int32, wait int64) []mqhttp.ConsumeMessageEntry {
	t.Helper()
	got, err := tryConsume(f, n, wait)
	if err != nil && !strings.Contains(err.Error(), "MessageNotExist") {
		t.Fatalf("consume: %v", err)
	}
	return got
}

func tryConsume(f consumeFunc, n int32, wait int64) ([]mqhttp.ConsumeMessageEntry, error) {
	answers, failures := make(chan mqhttp.ConsumeMessageResponse, 1), make(chan error, 1)
	f(answers, failures, n, wait)
	select {
	case r := <-answers:
		return r.Messages, nil
	case err := <-failures:
		return nil, err
	}
}

// consumeAll asks until want messages have come.
func consumeAll(t testing.TB, f consumeFunc, want int) []mqhttp.ConsumeMessageEntry {
	t.Helper()
	var all []mqhttp.ConsumeMessageEntry
	for end := time.Now().Add(30 * time.Second); len(all) < want; {
		if time.Now().After(end) {
			t.Fatalf("%d of %d messages have come", len(all), want)
		}
		all = append(all, consume(t, f, 16, 5)...)
	}
	return all
}

// call makes a bare request and gives its answer.
func (n *node) call(t testing.TB, method, path, body string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return do(t, http.DefaultClient, r)
}

// answer is what a bare request gets.
type answer struct {
	status int
	header http.Header
	body   string
}

func do(t testing.TB, c *http.Client, r *http.Request) answer {
	t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(got)}
}

// raw writes bytes to the port and gives all that comes back.
func (n *node) raw(t testing.TB, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}
