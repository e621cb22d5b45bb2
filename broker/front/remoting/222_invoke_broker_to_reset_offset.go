package remoting

import (
	"varve/broker"
	wire "varve/internal/remoting"
)

// 222 INVOKE_BROKER_TO_RESET_OFFSET: set a group's progress in a topic to a
// time or, for one queue, to an offset.
//
// Versions: all; queueId and offset came with 5.0.
//
// Behaviours: done in the broker: the next pull of each queue gets 21 with the
// new offset once, and commits until then are dropped, so it takes effect with
// clients of every language. timestamp -1 is the end. The body's map has
// MessageQueue objects for keys.
func (f *Front) invokeBrokerToResetOffset(s *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	r := broker.ResetRequest{
		Topic:      p.Str("topic"),
		Group:      p.Str("group"),
		QueueID:    p.OptInt32("queueId", broker.AnyQueue),
		Offset:     p.OptInt("offset", -1),
		TimeMillis: p.Int("timestamp"),
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	table, err := f.broker.ResetOffset(s.conn.Context(), &r)
	if err != nil {
		return nil, err
	}
	body, err := withQueueMap(nil, "offsetTable", queueMap[int64](table), "")
	if err != nil {
		return nil, err
	}
	return &wire.Command{Body: body}, nil
}
