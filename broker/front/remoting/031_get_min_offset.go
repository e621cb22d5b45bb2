package remoting

import wire "varve/internal/remoting"

// 31 GET_MIN_OFFSET: the first offset that can be read, archive included.
//
// Versions: all.
func (f *Front) getMinOffset(s *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	topic, queue := p.Str("topic"), p.Int32("queueId")
	if err := p.Err(); err != nil {
		return nil, err
	}
	r, err := f.broker.QueueRange(s.conn.Context(), topic, queue)
	if err != nil {
		return nil, err
	}
	return withOffset(r.From)
}
