package remoting

import (
	"errors"

	"varve/broker"
	wire "varve/internal/remoting"
)

// 32 GET_EARLIEST_MSG_STORETIME: the store time of a queue's first message.
//
// Versions: all.
//
// Behaviours: -1 for an empty queue.
func (f *Front) getEarliestMsgStoreTime(s *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	topic, queue := p.Str("topic"), p.Int32("queueId")
	if err := p.Err(); err != nil {
		return nil, err
	}
	t, err := f.broker.EarliestTime(s.conn.Context(), topic, queue)
	if errors.Is(err, broker.ErrNoMessage) {
		t, err = -1, nil
	}
	if err != nil {
		return nil, err
	}
	resp := &wire.Command{}
	resp.Ext.SetInt("timestamp", t)
	return resp, nil
}
