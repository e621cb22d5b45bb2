package grpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func seconds(n float64) *durationpb.Duration {
	return durationpb.New(time.Duration(n * float64(time.Second)))
}

// pull is one answer to PullMessage.
type pull struct {
	status   *v2.Status
	messages []*v2.Message
	next     int64
}

func pulled(t testing.TB, c v2.MessagingServiceClient, ctx context.Context, req *v2.PullMessageRequest) (out pull) {
	t.Helper()
	s, err := c.PullMessage(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	out.next = -1
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		switch x := r.GetContent().(type) {
		case *v2.PullMessageResponse_Status:
			out.status = x.Status
		case *v2.PullMessageResponse_Message:
			out.messages = append(out.messages, x.Message)
		case *v2.PullMessageResponse_NextOffset:
			out.next = x.NextOffset
		}
	}
}

func TestPullMessageReadsFromAnOffsetOn(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 1, "")
	c, ctx := n.stub(t, false), as(t, "reader")
	for i := range 10 {
		m := message("orders", fmt.Sprint(i), fmt.Sprint("body ", i))
		m.SystemProperties.Tag = new([]string{"even", "odd"}[i%2])
		m.UserProperties = map[string]string{"n": fmt.Sprint(i)}
		sendOK(t, c, ctx, m)
	}
	req := func(offset int64) *v2.PullMessageRequest {
		return &v2.PullMessageRequest{
			Group: resource("readers"), MessageQueue: &v2.MessageQueue{Topic: resource("orders"), Id: 0},
			Offset: offset, BatchSize: 4,
		}
	}
	r := pulled(t, c, ctx, req(3))
	if r.status.GetCode() != v2.Code_OK || len(r.messages) != 4 || r.next != 7 {
		t.Fatalf("got %v, %d messages, next %d", r.status, len(r.messages), r.next)
	}
	m, sys := r.messages[0], r.messages[0].GetSystemProperties()
	if string(m.GetBody()) != "body 3" || m.GetUserProperties()["n"] != "3" || len(m.GetUserProperties()) != 1 ||
		sys.GetMessageId() != "3" || sys.GetTag() != "odd" || sys.GetQueueOffset() != 3 || sys.GetDeliveryAttempt() != 1 ||
		sys.GetBornHost() != "here" || sys.GetReceiptHandle() != "" || sys.GetMessageType() != v2.MessageType_NORMAL {
		t.Errorf("message is %v", m)
	}

	filtered := req(0)
	filtered.FilterExpression = &v2.FilterExpression{Type: v2.FilterType_SQL, Expression: "n > 7"}
	if r := pulled(t, c, ctx, filtered); len(r.messages) != 2 || r.next != 10 {
		t.Errorf("by SQL: %d messages, next %d", len(r.messages), r.next)
	}
	filtered.FilterExpression = &v2.FilterExpression{Type: v2.FilterType_TAG, Expression: "none"}
	if r := pulled(t, c, ctx, filtered); r.status.GetCode() != v2.Code_MESSAGE_NOT_FOUND || r.next != 10 {
		t.Errorf("nothing matches: %v, next %d", r.status, r.next)
	}
	filtered.FilterExpression = &v2.FilterExpression{Type: v2.FilterType_SQL, Expression: "n >"}
	if r := pulled(t, c, ctx, filtered); r.status.GetCode() != v2.Code_ILLEGAL_FILTER_EXPRESSION {
		t.Errorf("no expression: %v", r.status)
	}
	if r := pulled(t, c, ctx, req(10)); r.status.GetCode() != v2.Code_MESSAGE_NOT_FOUND || r.next != 10 {
		t.Errorf("at the end: %v, next %d", r.status, r.next)
	}
	if r := pulled(t, c, ctx, req(11)); r.status.GetCode() != v2.Code_ILLEGAL_OFFSET || r.next != 10 {
		t.Errorf("beyond the end: %v, next %d", r.status, r.next)
	}
	missing := req(0)
	missing.MessageQueue.Topic.Name = "missing"
	if r := pulled(t, c, ctx, missing); r.status.GetCode() != v2.Code_TOPIC_NOT_FOUND {
		t.Errorf("no topic: %v", r.status)
	}
}

func TestPullMessageWaitsForAMessage(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 1, "")
	c, ctx := n.stub(t, false), as(t, "reader")
	got := make(chan pull, 1)
	go func() {
		got <- pulled(t, c, ctx, &v2.PullMessageRequest{
			Group: resource("readers"), MessageQueue: &v2.MessageQueue{Topic: resource("orders")}, LongPollingTimeout: seconds(20),
			FilterExpression: &v2.FilterExpression{Type: v2.FilterType_TAG, Expression: "wanted"},
		})
	}()
	sendOK(t, c, ctx, message("orders", "1", "not wanted"))
	m := message("orders", "2", "wanted")
	m.SystemProperties.Tag = new("wanted")
	sendOK(t, c, ctx, m)
	if r := <-got; len(r.messages) != 1 || r.next != 2 {
		t.Errorf("got %d messages, next %d", len(r.messages), r.next)
	}
}

func TestOffsets(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 1, "")
	c, ctx := n.stub(t, false), as(t, "reader")
	for i := range 3 {
		sendOK(t, c, ctx, message("orders", fmt.Sprint(i), "x"))
	}
	q := &v2.MessageQueue{Topic: resource("orders")}
	query := func(p v2.QueryOffsetPolicy, at *timestamppb.Timestamp) int64 {
		t.Helper()
		r, err := c.QueryOffset(ctx, &v2.QueryOffsetRequest{MessageQueue: q, QueryOffsetPolicy: p, Timestamp: at})
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, r, v2.Code_OK)
		return r.GetOffset()
	}
	if first, end := query(v2.QueryOffsetPolicy_BEGINNING, nil), query(v2.QueryOffsetPolicy_END, nil); first != 0 || end != 3 {
		t.Errorf("range %d to %d", first, end)
	}
	if at := query(v2.QueryOffsetPolicy_TIMESTAMP, timestamppb.New(time.Now().Add(-time.Hour))); at != 0 {
		t.Errorf("an hour ago: %d", at)
	}
	get := func() *v2.GetOffsetResponse {
		t.Helper()
		r, err := c.GetOffset(ctx, &v2.GetOffsetRequest{Group: resource("readers"), MessageQueue: q})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	wantCode(t, get(), v2.Code_OFFSET_NOT_FOUND)
	pulled(t, c, ctx, &v2.PullMessageRequest{Group: resource("readers"), MessageQueue: q})
	up, err := c.UpdateOffset(ctx, &v2.UpdateOffsetRequest{Group: resource("readers"), MessageQueue: q, Offset: 2})
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, up, v2.Code_OK)
	r := get()
	wantCode(t, r, v2.Code_OK)
	if r.GetOffset() != 2 {
		t.Errorf("progress is %d, want 2", r.GetOffset())
	}
}
