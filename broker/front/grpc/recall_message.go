package grpc

import (
	"context"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
)

// RecallMessage takes a delayed message back.
//
// Behaviours: OK says that it will never be delivered, NOT_FOUND that it was
// delivered or recalled before. (MESSAGE_NOT_FOUND is an empty receive's: the
// Python and Node clients take it for success everywhere.) The message's id is
// given either way.
func (f *Front) RecallMessage(ctx context.Context, req *v2.RecallMessageRequest) (*v2.RecallMessageResponse, error) {
	id, err := f.recall(ctx, req)
	return &v2.RecallMessageResponse{Status: f.status("RecallMessage", err), MessageId: id}, nil
}

func (f *Front) recall(ctx context.Context, req *v2.RecallMessageRequest) (id string, err error) {
	if _, err := f.admit(ctx, req); err != nil {
		return "", err
	}
	topic, err := topicOf(req.GetTopic())
	if err != nil {
		return "", err
	}
	id, hit, err := f.broker.Recall(ctx, topic, req.GetRecallHandle())
	if err == nil && !hit {
		err = refused(v2.Code_NOT_FOUND, "message %q does not wait for its time (any more)", id)
	}
	return id, err
}
