package remoting

import wire "varve/internal/remoting"

// 35 UNREGISTER_CLIENT: a client leaves a producer group, a consumer group or
// both.
//
// Versions: all.
//
// Behaviours: the members that remain are told by code 40.
func (f *Front) unregisterClient(s *session, req *wire.Command) (*wire.Command, error) {
	f.broker.Unregister(s, inNamespace(req, req.Ext.Get("producerGroup")), req.Ext.Get("consumerGroup"))
	return ok()
}
