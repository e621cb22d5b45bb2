package remoting

import (
	wire "varve/internal/remoting"
)

// 370 RECALL_MESSAGE: take a delayed message back.
//
// Versions: 5.3.2 and later.
//
// Behaviours: success says that the message was still held back and will never
// be delivered. A message that was delivered or recalled before, or that never
// was, is 604, as a bad handle is; the real broker answers success whenever the
// handle's time lies ahead.
func (f *Front) recallMessage(s *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	topic, handle := p.Str("topic"), p.Str("recallHandle")
	if err := p.Err(); err != nil {
		return nil, err
	}
	id, hit, err := f.broker.Recall(s.conn.Context(), topic, handle)
	if err != nil {
		return nil, err
	}
	if !hit {
		return nil, refused(wire.IllegalOperation,
			"recall failed, message %q of topic %q is not held back: it was delivered or recalled before, or never sent", id, topic)
	}
	resp := &wire.Command{}
	resp.Ext.Set("msgId", id)
	resp.Ext.Set("MSG_REGION", f.region)
	return resp, nil
}
