package remoting

import (
	"errors"

	"varve/broker"
	wire "varve/internal/remoting"
)

// 38 GET_CONSUMER_LIST_BY_GROUP: the client ids of a group, by which members
// divide the queues among themselves.
//
// Versions: all.
//
// Behaviours: sorted, the same for every member; 1 where nobody is known,
// which has the client keep its queues.
func (f *Front) getConsumerListByGroup(_ *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	group := p.Str("consumerGroup")
	if err := p.Err(); err != nil {
		return nil, err
	}
	ids, err := f.broker.ConsumerIDs(group)
	if errors.Is(err, broker.ErrNoMember) {
		return nil, refused(wire.SystemError, "no consumer for this group, %s", group)
	}
	if err != nil {
		return nil, err
	}
	return withJSON(struct {
		IDs []string `json:"consumerIdList"`
	}{ids})
}
