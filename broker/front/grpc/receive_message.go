package grpc

import (
	"context"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	rpc "google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"varve/broker"
)

// Bounds of receiving, as RocketMQ's proxy has them.
const (
	maxPolling       = 20 * time.Second
	leastInvisible   = 10 * time.Second
	mostInvisible    = 12 * time.Hour
	requestTimeout   = 3 * time.Second // of a client that doesn't say
	renewedInvisible = time.Minute     // of messages that are renewed here
)

// ReceiveMessage gives a group's member messages of a topic, to be acked within
// the invisible duration.
//
// Behaviours: first a status, then the messages, then the time of delivery.
// None is MESSAGE_NOT_FOUND, after long_polling_timeout or, without it, shortly
// before the call's deadline. A push consumer (auto_renew) has its messages
// kept invisible for as long as it lives; its goodbye ends the call. The queue that is named counts only
// for a push consumer in order; all others receive from the whole topic.
func (f *Front) ReceiveMessage(req *v2.ReceiveMessageRequest, stream rpc.ServerStreamingServer[v2.ReceiveMessageResponse]) error {
	ctx := stream.Context()
	who, err := f.admit(ctx, req)
	var r broker.PopResult
	var p *broker.PopRequest
	c := f.clients.get(who.id)
	if err == nil {
		if p, err = f.popRequest(ctx, req, c); err == nil {
			here, end := c.present(ctx)
			r, err = f.broker.AwaitPop(here, p)
			end()
		}
	}
	status := f.status("ReceiveMessage", err)
	if err == nil {
		status = statusIs(popCodes[r.Status])
	}
	if r.Free != nil {
		defer r.Free()
	}
	if len(r.Messages) > 0 && req.GetAutoRenew() && !f.remember(c, p, &r) {
		for i := range r.Messages {
			f.broker.GiveBack(p.Group, r.Messages[i].Handle)
		}
		r.Messages, status = nil, statusIs(v2.Code_MESSAGE_NOT_FOUND)
	}
	if err := f.sendReceived(stream, status, req, p, &r); err != nil {
		f.lost(p, &r)
		return err
	}
	return nil
}

var popCodes = [...]v2.Code{
	broker.PopFound: v2.Code_OK,
	broker.PopNone:  v2.Code_MESSAGE_NOT_FOUND,
	broker.PopFull:  v2.Code_TOO_MANY_REQUESTS,
}

// popRequest makes the core's request of a call. c may be nil.
func (f *Front) popRequest(ctx context.Context, req *v2.ReceiveMessageRequest, c *client) (*broker.PopRequest, error) {
	q := req.GetMessageQueue()
	topic, group, err := topicAndGroup(q.GetTopic(), req.GetGroup())
	if err != nil {
		return nil, err
	}
	if err := connectionOf(ctx).use(f.broker, topic); err != nil {
		return nil, err
	}
	settings := c.current()
	p := &broker.PopRequest{
		Group: group, Topic: topic, QueueID: broker.AnyQueue, MaxMessages: min(int(req.GetBatchSize()), broker.MaxPopMessages),
		Expression: req.GetFilterExpression().GetExpression(), ExpressionType: expressionType(req.GetFilterExpression()),
		Ordered: f.group(group).Orderly, AttemptID: req.GetAttemptId(), Backlog: connectionOf(ctx).unread(),
	}
	if c != nil {
		p.Client = c
	}
	if p.Ordered && q.GetId() >= 0 && settings.GetClientType() == v2.ClientType_PUSH_CONSUMER {
		p.QueueID = q.GetId()
	}
	if p.Wait, err = polling(ctx, req, settings); err != nil {
		return nil, err
	}
	if req.GetAutoRenew() {
		p.Invisible = renewedInvisible
		return p, nil
	}
	p.Invisible = req.GetInvisibleDuration().AsDuration()
	switch {
	case p.Invisible < leastInvisible:
		return nil, refused(v2.Code_ILLEGAL_INVISIBLE_TIME, "the invisibleTime is too small: %s, min is %s", p.Invisible, leastInvisible)
	case p.Invisible > mostInvisible:
		return nil, refused(v2.Code_ILLEGAL_INVISIBLE_TIME, "the invisibleTime is too large: %s, max is %s", p.Invisible, mostInvisible)
	}
	return p, nil
}

// polling is how long a call waits for a message.
func polling(ctx context.Context, req *v2.ReceiveMessageRequest, s *v2.Settings) (time.Duration, error) {
	left := maxPolling
	if at, ok := ctx.Deadline(); ok {
		if left = time.Until(at) - answerTime; left <= 0 {
			return 0, refused(v2.Code_ILLEGAL_POLLING_TIME, "the call's deadline leaves no time to wait for a message")
		}
	}
	want := left
	if d := req.GetLongPollingTimeout(); d != nil {
		want = d.AsDuration()
	} else if _, ok := ctx.Deadline(); ok {
		timeout := requestTimeout
		if s.GetRequestTimeout().AsDuration() > 0 {
			timeout = s.GetRequestTimeout().AsDuration()
		}
		want = left - timeout/2
	}
	return max(0, min(want, left, maxPolling)), nil
}

func (f *Front) sendReceived(stream rpc.ServerStreamingServer[v2.ReceiveMessageResponse], status *v2.Status,
	req *v2.ReceiveMessageRequest, p *broker.PopRequest, r *broker.PopResult,
) error {
	if err := stream.Send(&v2.ReceiveMessageResponse{Content: &v2.ReceiveMessageResponse_Status{Status: status}}); err != nil {
		return err
	}
	for i := range r.Messages {
		m := &r.Messages[i]
		o := outgoingOf(m.Record, req.GetMessageQueue().GetTopic(), m.Handle.String())
		o.attempt = m.Deliveries + 1
		o.invisible(p.Invisible)
		if err := stream.Send(&v2.ReceiveMessageResponse{Content: &v2.ReceiveMessageResponse_Message{Message: &o.msg}}); err != nil {
			return err
		}
	}
	return stream.Send(&v2.ReceiveMessageResponse{Content: &v2.ReceiveMessageResponse_DeliveryTimestamp{
		DeliveryTimestamp: timestamppb.New(f.cfg.Now()),
	}})
}

// lost gives to others what a client was to get over a stream that broke.
func (f *Front) lost(p *broker.PopRequest, r *broker.PopResult) {
	if p == nil || p.Ordered {
		return
	}
	c, _ := p.Client.(*client)
	for i := range r.Messages {
		f.broker.GiveBack(p.Group, c.forget(r.Messages[i].Handle))
	}
}
