package remoting

import wire "varve/internal/remoting"

// 37 END_TRANSACTION: commit or roll back a half message.
//
// Behaviours: half messages are refused when they are sent (16), so there is
// never one to end, and the answer says so. Clients send it one-way.
func (f *Front) endTransaction(*session, *wire.Command) (*wire.Command, error) {
	return nil, refused(wire.RequestCodeNotSupported, "transactional messages are not supported by this broker")
}
