package remoting

import wire "varve/internal/remoting"

// 200055 POLLING_INFO (3447): how many POPs wait for a queue, or for any.
//
// Versions: 5.0 on.
func (f *Front) pollingInfo(s *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	queue := p.Int32("queueId")
	if err := p.Err(); err != nil {
		return nil, err
	}
	group, topic, err := s.groupAndTopic(req)
	if err != nil {
		return nil, err
	}
	resp := &wire.Command{}
	resp.Ext.SetInt("pollingNum", int64(f.broker.HeldPops(group, topic, queue)))
	return resp, nil
}
