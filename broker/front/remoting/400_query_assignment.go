package remoting

import (
	"cmp"
	"context"
	"slices"

	"varve/broker"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// assignment is MessageQueueAssignment in JSON.
type assignment struct {
	Queue messageQueue `json:"messageQueue"`
	Mode  string       `json:"mode"`
}

// 400 QUERY_ASSIGNMENT: which queues of a topic a member of a group is to
// consume, and how.
//
// Versions: 5.0 on; clients with clientRebalance=false, and proxies.
//
// Behaviours: the queues are those of the route, in all broker groups, shared by
// strategy AVG or AVG_BY_CIRCLE. In POP mode a member gets queue -1 of each
// broker group, or with a popShareQueueNum its own queues and those of as many
// members after it. Where nothing can be said (an unknown strategy, a group
// without members) the list is null, and the client keeps what it has.
func (f *Front) queryAssignment(s *session, req *wire.Command) (*wire.Command, error) {
	var body struct {
		Topic    string `json:"topic"`
		Group    string `json:"consumerGroup"`
		ClientID string `json:"clientId"`
		Strategy string `json:"strategyName"`
		Model    string `json:"messageModel"`
	}
	if err := fromJSON(req, &body); err != nil {
		return nil, err
	}
	if body.Topic == "" || body.Group == "" {
		return nil, refused(wire.InvalidParameter, "query of an assignment without topic or group")
	}
	all, err := f.queuesOf(s.conn.Context(), body.Topic)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b mq.Queue) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Broker, b.Broker), cmp.Compare(a.ID, b.ID))
	})
	mode := f.broker.RequestModeOf(body.Topic, body.Group)
	queues, known := all, len(all) > 0
	if known && body.Model != "BROADCASTING" {
		ids, err := f.broker.ConsumerIDs(body.Group)
		known = err == nil
		if known {
			queues, known = broker.Assign(mode, body.Strategy, body.ClientID, all, ids)
		}
	}
	var list []assignment
	if known {
		list = []assignment{}
		for _, q := range queues {
			list = append(list, assignment{queueFor(req, q), mode.Mode})
		}
	}
	return withJSON(struct {
		List []assignment `json:"messageQueueAssignments"`
	}{list})
}

// queuesOf gives a topic's queues to read: of all broker groups where the route
// is at hand, and of this one where it isn't.
func (f *Front) queuesOf(ctx context.Context, topic string) ([]mq.Queue, error) {
	if f.cfg.Queues != nil {
		return f.cfg.Queues(ctx, topic)
	}
	t, has := f.broker.Topic(topic)
	if !has || !t.Readable() {
		return nil, nil
	}
	var out []mq.Queue
	for id := range t.ReadQueues {
		out = append(out, mq.Queue{Broker: f.broker.Config().Broker, Topic: topic, ID: id})
	}
	return out, nil
}
