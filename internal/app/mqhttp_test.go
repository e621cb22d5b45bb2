package app

import (
	"fmt"
	"strings"
	"testing"
	"time"

	mqhttp "github.com/aliyunmq/mq-http-go-sdk"

	"varve/broker"
	"varve/internal/admin"
)

// The HTTP SDK's consumer reads what only the archive has, from where its group
// was put, and goes on in the log.
func TestTheHTTPSDKReadsTheArchive(t *testing.T) {
	c := settings(t)
	n, api, _ := run(t, c)
	if _, err := api.CreateTopic(t.Context(), admin.TopicSpec{Name: "orders", Queues: 1}); err != nil {
		t.Fatal(err)
	}
	send(t, api, "orders", 0, 40)
	if err := api.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Trim(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if d, err := api.Topic(t.Context(), "orders"); err != nil || d.Detail[0].HotStart != 40 {
		t.Fatalf("%v: %+v", err, d.Detail)
	}
	send(t, api, "orders", 40, 50)
	if err := n.broker.PutGroup(broker.DefaultGroup("history-readers")); err != nil {
		t.Fatal(err)
	}
	if _, err := n.broker.ResetOffset(t.Context(), &broker.ResetRequest{Group: "history-readers", Topic: "orders", QueueID: 0, Offset: 5}); err != nil {
		t.Fatal(err)
	}
	consumer := mqhttp.NewAliyunMQClient("http://"+n.Addr("mqhttp"), "k", "s", "").GetConsumer("", "orders", "history-readers", "")
	for i, end := 5, time.Now().Add(30*time.Second); i < 50; {
		if time.Now().After(end) {
			t.Fatalf("message %d doesn't come", i)
		}
		answers, failures := make(chan mqhttp.ConsumeMessageResponse, 1), make(chan error, 1)
		consumer.ConsumeMessage(answers, failures, 16, 5)
		select {
		case err := <-failures:
			if !strings.Contains(err.Error(), "MessageNotExist") {
				t.Fatal(err)
			}
		case r := <-answers:
			handles := make([]string, len(r.Messages))
			for j, m := range r.Messages {
				if m.MessageBody != fmt.Sprint("body ", i) || m.MessageKey != fmt.Sprint("k-", i) || m.MessageTag != "t" {
					t.Fatalf("message %d is %+v", i, m)
				}
				handles[j] = m.ReceiptHandle
				i++
			}
			if err := consumer.AckMessage(handles); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s := n.broker.Stats(); s.ColdReads == 0 {
		t.Error("nothing was read from the archive")
	}
}
