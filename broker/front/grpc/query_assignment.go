package grpc

import (
	"context"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
)

// QueryAssignment tells a push consumer which queues to receive from.
//
// Behaviours: all members of a group receive from the whole broker (queue id
// -1) and the broker divides messages among them; a group that consumes in
// order gets every queue by its id, so that one that waits holds up no other.
// Without a readable queue it is FORBIDDEN.
func (f *Front) QueryAssignment(ctx context.Context, req *v2.QueryAssignmentRequest) (*v2.QueryAssignmentResponse, error) {
	assigned, err := f.queryAssignment(ctx, req)
	return &v2.QueryAssignmentResponse{Status: f.status("QueryAssignment", err), Assignments: assigned}, nil
}

func (f *Front) queryAssignment(ctx context.Context, req *v2.QueryAssignmentRequest) ([]*v2.Assignment, error) {
	if _, err := f.admit(ctx, req); err != nil {
		return nil, err
	}
	group, err := groupOf(req.GetGroup())
	if err != nil {
		return nil, err
	}
	t, err := f.topic(req.GetTopic())
	if err != nil {
		return nil, err
	}
	if t.Perm&permRead == 0 || t.ReadQueues <= 0 {
		return nil, refused(v2.Code_FORBIDDEN, "topic %q has no readable queue", t.Name)
	}
	ids := []int32{-1}
	if f.group(group).Orderly {
		ids = ids[:0]
		for id := range t.ReadQueues {
			ids = append(ids, id)
		}
	}
	leader := f.leader(req.GetEndpoints())
	out := make([]*v2.Assignment, 0, len(ids))
	for _, id := range ids {
		out = append(out, &v2.Assignment{MessageQueue: &v2.MessageQueue{
			Topic: req.GetTopic(), Id: id, Permission: permission(t, max(0, id)), Broker: leader,
		}})
	}
	return out, nil
}
