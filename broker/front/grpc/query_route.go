package grpc

import (
	"context"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"varve/broker"
)

// Permission bits of a topic, as in remoting.
const (
	permWrite = 1 << 1
	permRead  = 1 << 2
)

// QueryRoute tells which queues a topic has, what may be sent to them, and
// where.
//
// Behaviours: an unknown topic is TOPIC_NOT_FOUND, whether or not sends may
// create topics: the call doesn't say whether somebody is to send or to consume.
// The broker is found where the client came by (Config.Advertise).
func (f *Front) QueryRoute(ctx context.Context, req *v2.QueryRouteRequest) (*v2.QueryRouteResponse, error) {
	queues, err := f.queryRoute(ctx, req)
	return &v2.QueryRouteResponse{Status: f.status("QueryRoute", err), MessageQueues: queues}, nil
}

func (f *Front) queryRoute(ctx context.Context, req *v2.QueryRouteRequest) ([]*v2.MessageQueue, error) {
	if _, err := f.admit(ctx, req); err != nil {
		return nil, err
	}
	t, err := f.topic(req.GetTopic())
	if err != nil {
		return nil, err
	}
	leader, types := f.leader(req.GetEndpoints()), acceptedTypes(t)
	out := make([]*v2.MessageQueue, 0, t.Queues())
	for id := range max(1, t.Queues()) {
		out = append(out, &v2.MessageQueue{
			Topic: req.GetTopic(), Id: id, Permission: permission(t, id), Broker: leader, AcceptMessageTypes: types,
		})
	}
	return out, nil
}

// topic finds the topic that a call names.
func (f *Front) topic(r *v2.Resource) (*broker.Topic, error) {
	name, err := topicOf(r)
	if err != nil {
		return nil, err
	}
	t, ok := f.broker.Topic(name)
	if !ok {
		return nil, refused(v2.Code_TOPIC_NOT_FOUND, "topic %q doesn't exist; make it with: varve topic create %s", name, name)
	}
	return t, nil
}

// leader is this broker as it stands in routes.
func (f *Front) leader(asked *v2.Endpoints) *v2.Broker {
	return &v2.Broker{Name: f.broker.Config().Broker, Id: 0, Endpoints: f.endpoints(asked)}
}

// permission is what may be done with one queue of a topic.
func permission(t *broker.Topic, id int32) v2.Permission {
	read := t.Perm&permRead != 0 && id < t.ReadQueues
	write := t.Perm&permWrite != 0 && id < t.WriteQueues
	switch {
	case read && write:
		return v2.Permission_READ_WRITE
	case read:
		return v2.Permission_READ
	case write:
		return v2.Permission_WRITE
	}
	return v2.Permission_NONE
}

// anyType is what a topic takes that doesn't say.
var anyType = []v2.MessageType{
	v2.MessageType_NORMAL, v2.MessageType_FIFO, v2.MessageType_DELAY, v2.MessageType_TRANSACTION,
}

// acceptedTypes are the message types of a topic. One that doesn't say takes
// all, as it does over remoting.
func acceptedTypes(t *broker.Topic) []v2.MessageType {
	if id, ok := v2.MessageType_value[t.MessageType()]; ok {
		return []v2.MessageType{v2.MessageType(id)}
	}
	return anyType
}
