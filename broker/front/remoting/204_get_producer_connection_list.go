package remoting

import wire "varve/internal/remoting"

// 204 GET_PRODUCER_CONNECTION_LIST: the clients of a producer group.
//
// Versions: all.
//
// Behaviours: 1 where nobody is connected.
func (f *Front) getProducerConnectionList(_ *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	group := p.Str("producerGroup")
	if err := p.Err(); err != nil {
		return nil, err
	}
	ms, err := f.broker.Producers(group)
	if err != nil {
		return nil, refused(wire.SystemError, "the producer group[%s] not exist", group)
	}
	return withJSON(struct {
		Connections []connection `json:"connectionSet"`
	}{connections(ms)})
}
