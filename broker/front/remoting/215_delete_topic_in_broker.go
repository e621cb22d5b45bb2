package remoting

import wire "varve/internal/remoting"

// 215 DELETE_TOPIC_IN_BROKER: remove a topic, its messages in the log and all
// progress in it. Its archive stays.
//
// Versions: all.
func (f *Front) deleteTopicInBroker(s *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	topic := p.Str("topic")
	if err := p.Err(); err != nil {
		return nil, err
	}
	if err := f.broker.DeleteTopic(s.conn.Context(), topic); err != nil {
		return nil, err
	}
	return ok()
}
