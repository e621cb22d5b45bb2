package remoting

import wire "varve/internal/remoting"

// 14 QUERY_CONSUMER_OFFSET: a group's progress in a queue.
//
// Versions: all; setZeroIfNotFound came with 4.9.
//
// Behaviours: 22 where there is none, which starts the client by its
// ConsumeFromWhere; 0 for a new group in a new queue, judged by the hot log
// alone.
func (f *Front) queryConsumerOffset(s *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	group, topic, queue := p.Str("consumerGroup"), p.Str("topic"), p.Int32("queueId")
	zero := p.OptStr("setZeroIfNotFound") != "false"
	if err := p.Err(); err != nil {
		return nil, err
	}
	off, err := f.broker.QueryOffset(s.conn.Context(), group, topic, queue, zero)
	if err != nil {
		return nil, err
	}
	return withOffset(off)
}

func withOffset(off int64) (*wire.Command, error) {
	resp := &wire.Command{}
	resp.Ext.SetInt("offset", off)
	return resp, nil
}
