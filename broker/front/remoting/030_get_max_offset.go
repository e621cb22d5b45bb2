package remoting

import wire "varve/internal/remoting"

// 30 GET_MAX_OFFSET: the next offset to be written.
//
// Versions: all.
func (f *Front) getMaxOffset(s *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	topic, queue := p.Str("topic"), p.Int32("queueId")
	if err := p.Err(); err != nil {
		return nil, err
	}
	r, err := f.broker.QueueRange(s.conn.Context(), topic, queue)
	if err != nil {
		return nil, err
	}
	return withOffset(r.To)
}
