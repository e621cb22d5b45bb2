package remoting

import (
	"varve/internal/auth"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// 309 CONSUME_MESSAGE_DIRECTLY: have one member of a group consume one message
// now; relayed to it with the message in its stored form.
//
// Versions: all.
//
// Behaviours: msgId is the offset id. Otherwise as code 307.
func (f *Front) consumeMessageDirectly(s *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	id := p.Str("msgId")
	if err := p.Err(); err != nil {
		return nil, err
	}
	_, at, err := mq.ParseOffsetMsgID(id)
	if err != nil {
		return nil, refused(wire.InvalidParameter, "%v", err)
	}
	rec, err := f.broker.ViewMessage(s.conn.Context(), at)
	if err != nil {
		return nil, err
	}
	if err := f.mayRead(req, auth.Sub, rec); err != nil {
		return nil, err
	}
	return f.relay(s, req, rec)
}
