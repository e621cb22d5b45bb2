package grpc

import (
	"context"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"varve/internal/mq"
)

// UpdateOffset notes a group's progress in a queue.
func (f *Front) UpdateOffset(ctx context.Context, req *v2.UpdateOffsetRequest) (*v2.UpdateOffsetResponse, error) {
	return &v2.UpdateOffsetResponse{Status: f.status("UpdateOffset", f.updateOffset(ctx, req))}, nil
}

func (f *Front) updateOffset(ctx context.Context, req *v2.UpdateOffsetRequest) error {
	if _, err := f.admit(ctx, req); err != nil {
		return err
	}
	topic, group, err := topicAndGroup(req.GetMessageQueue().GetTopic(), req.GetGroup())
	if err != nil {
		return err
	}
	if req.GetOffset() < 0 {
		return refused(v2.Code_ILLEGAL_OFFSET, "offset %d is negative", req.GetOffset())
	}
	return f.broker.CommitOffset(group, topic, req.GetMessageQueue().GetId(), req.GetOffset())
}

// GetOffset gives a group's progress in a queue: OFFSET_NOT_FOUND where it has
// none.
func (f *Front) GetOffset(ctx context.Context, req *v2.GetOffsetRequest) (*v2.GetOffsetResponse, error) {
	offset, err := f.getOffset(ctx, req)
	return &v2.GetOffsetResponse{Status: f.status("GetOffset", err), Offset: offset}, nil
}

func (f *Front) getOffset(ctx context.Context, req *v2.GetOffsetRequest) (int64, error) {
	if _, err := f.admit(ctx, req); err != nil {
		return 0, err
	}
	topic, group, err := topicAndGroup(req.GetMessageQueue().GetTopic(), req.GetGroup())
	if err != nil {
		return 0, err
	}
	return f.broker.QueryOffset(ctx, group, topic, req.GetMessageQueue().GetId(), false)
}

// QueryOffset gives the first offset of a queue, its end, or the first message
// stored at or after a time, in the log and the archive as one.
func (f *Front) QueryOffset(ctx context.Context, req *v2.QueryOffsetRequest) (*v2.QueryOffsetResponse, error) {
	offset, err := f.queryOffset(ctx, req)
	return &v2.QueryOffsetResponse{Status: f.status("QueryOffset", err), Offset: offset}, nil
}

func (f *Front) queryOffset(ctx context.Context, req *v2.QueryOffsetRequest) (int64, error) {
	if _, err := f.admit(ctx, req); err != nil {
		return 0, err
	}
	topic, err := topicOf(req.GetMessageQueue().GetTopic())
	if err != nil {
		return 0, err
	}
	id := req.GetMessageQueue().GetId()
	switch req.GetQueryOffsetPolicy() {
	case v2.QueryOffsetPolicy_TIMESTAMP:
		if !req.GetTimestamp().IsValid() {
			return 0, refused(v2.Code_BAD_REQUEST, "an offset is asked for by time, without a time")
		}
		return f.broker.SearchOffset(ctx, topic, id, req.GetTimestamp().AsTime().UnixMilli(), mq.Lower)
	case v2.QueryOffsetPolicy_BEGINNING, v2.QueryOffsetPolicy_END:
		r, err := f.broker.QueueRange(ctx, topic, id)
		if req.GetQueryOffsetPolicy() == v2.QueryOffsetPolicy_BEGINNING {
			return r.From, err
		}
		return r.To, err
	}
	return 0, refused(v2.Code_BAD_REQUEST, "offset policy %s is not known", req.GetQueryOffsetPolicy())
}
