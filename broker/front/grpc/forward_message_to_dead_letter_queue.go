package grpc

import (
	"context"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
)

// ForwardMessageToDeadLetterQueue gives a message up after its last try: it is
// copied to the group's dead letter topic and acked.
func (f *Front) ForwardMessageToDeadLetterQueue(ctx context.Context, req *v2.ForwardMessageToDeadLetterQueueRequest) (*v2.ForwardMessageToDeadLetterQueueResponse, error) {
	err := f.deadLetter(ctx, req)
	return &v2.ForwardMessageToDeadLetterQueueResponse{Status: f.status("ForwardMessageToDeadLetterQueue", err)}, nil
}

func (f *Front) deadLetter(ctx context.Context, req *v2.ForwardMessageToDeadLetterQueueRequest) error {
	who, err := f.admit(ctx, req)
	if err != nil {
		return err
	}
	topic, group, err := topicAndGroup(req.GetTopic(), req.GetGroup())
	if err != nil {
		return err
	}
	h, err := f.clients.get(who.id).handle(group, topic, req.GetReceiptHandle())
	if err != nil {
		return err
	}
	return f.broker.DeadLetter(ctx, group, h, int(req.GetMaxDeliveryAttempts()))
}
