package remoting

import (
	"errors"

	"varve/broker"
	wire "varve/internal/remoting"
)

// 215 DELETE_TOPIC_IN_BROKER: remove a topic, its messages in the log and all
// progress in it. Its archive stays.
//
// Versions: all.
//
// Behaviours: a topic that isn't there is gone already: tools delete a group's
// retry and dead letter topics whether it has them or not.
func (f *Front) deleteTopicInBroker(s *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	topic := p.Str("topic")
	if err := p.Err(); err != nil {
		return nil, err
	}
	if err := f.broker.DeleteTopic(s.conn.Context(), topic); err != nil && !errors.Is(err, broker.ErrNoTopic) {
		return nil, err
	}
	return ok()
}
