package http_test

import (
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"

	mqhttp "github.com/aliyunmq/mq-http-go-sdk"

	front "varve/broker/front/http"
	"varve/internal/intake"
)

// Bodies that are on their way count in the process's budget of what is being
// read; small messages go past those that wait.
func TestBodiesOnTheirWayAreBounded(t *testing.T) {
	budget := intake.New(256<<10, 0)
	n := startNode(t, nodeOptions{front: front.Config{Intake: budget}})
	n.topic(t, "orders", 1)
	trickle := func() net.Conn {
		c, err := net.Dial("tcp", n.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := fmt.Fprintf(c, "POST /topics/orders/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n<Message><MessageBody>"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(make200k()); err != nil {
			t.Fatal(err)
		}
		return c
	}
	until := func(what string, is func(intake.Stats) bool) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); !is(budget.Stats()); runtime.Gosched() {
			if time.Now().After(end) {
				t.Fatalf("%s: %+v", what, budget.Stats())
			}
		}
	}
	first := trickle()
	until("the first body", func(s intake.Stats) bool { return s.Bytes > 100<<10 })
	second := trickle()
	until("the second body", func(s intake.Stats) bool { return s.Waiting == 1 })
	publish(t, n.sdk().GetProducer("", "orders"), mqhttp.PublishMessageRequest{MessageBody: "small"})
	_, _ = first.Close(), second.Close()
	until("when the first is gone", func(s intake.Stats) bool { return s.Bytes <= 256<<10-(100<<10) })
}

func make200k() []byte {
	b := make([]byte, 200<<10)
	for i := range b {
		b[i] = 'x'
	}
	return b
}
