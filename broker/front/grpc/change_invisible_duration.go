package grpc

import (
	"context"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"google.golang.org/protobuf/encoding/protowire"

	"varve/broker"
)

// ChangeInvisibleDuration has a message come again at another time. Push
// consumers give back so what they failed to consume.
//
// Behaviours: the answer has the handle that is good from here on. With suspend
// the delivery doesn't count as a try.
func (f *Front) ChangeInvisibleDuration(ctx context.Context, req *v2.ChangeInvisibleDurationRequest) (*v2.ChangeInvisibleDurationResponse, error) {
	h, err := f.changeInvisible(ctx, req)
	out := &v2.ChangeInvisibleDurationResponse{Status: f.status("ChangeInvisibleDuration", err)}
	if err == nil {
		out.ReceiptHandle = h.String()
	}
	return out, nil
}

func (f *Front) changeInvisible(ctx context.Context, req *v2.ChangeInvisibleDurationRequest) (broker.Handle, error) {
	who, err := f.admit(ctx, req)
	if err != nil {
		return broker.Handle{}, err
	}
	topic, group, err := topicAndGroup(req.GetTopic(), req.GetGroup())
	if err != nil {
		return broker.Handle{}, err
	}
	d := req.GetInvisibleDuration().AsDuration()
	if d < 0 || d > mostInvisible {
		return broker.Handle{}, refused(v2.Code_ILLEGAL_INVISIBLE_TIME, "the invisibleTime is too large: %s, max is %s", d, mostInvisible)
	}
	h, err := f.clients.get(who.id).handle(group, topic, req.GetReceiptHandle())
	if err != nil {
		return h, err
	}
	return f.broker.ChangeInvisible(ctx, group, h, d, suspends(req))
}

// fieldSuspend is a field that the published stubs don't have yet.
const fieldSuspend = 7

// suspends reads it from what the stubs didn't know.
func suspends(req *v2.ChangeInvisibleDurationRequest) bool {
	for b := []byte(req.ProtoReflect().GetUnknown()); len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		if num == fieldSuspend && typ == protowire.VarintType {
			v, _ := protowire.ConsumeVarint(b)
			return v != 0
		}
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			return false
		}
		b = b[n:]
	}
	return false
}
