package remoting

import (
	"varve/internal/auth"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// 323 RESUME_CHECK_HALF_MESSAGE: have the producers asked again about a half
// message that was given up.
//
// Behaviours: msgId is an offset id, of the message in
// TRANS_CHECK_MAX_TIME_TOPIC or of the half itself. Upstream stores the half
// anew, as often as it is told to; here the one half is opened again, and once.
func (f *Front) resumeCheckHalfMessage(s *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	id := p.Str("msgId")
	if err := p.Err(); err != nil {
		return nil, err
	}
	_, physical, err := mq.ParseOffsetMsgID(id)
	if err != nil {
		return nil, refused(wire.SystemError, "msgId %q: %v", id, err)
	}
	h, err := f.broker.FindTransaction(s.conn.Context(), physical)
	if err != nil {
		return nil, err
	}
	if err := f.mayRead(req, auth.Update, h.Record); err != nil {
		return nil, err
	}
	if err := f.broker.RestoreTransaction(s.conn.Context(), h.Physical); err != nil {
		return nil, err
	}
	return ok()
}
