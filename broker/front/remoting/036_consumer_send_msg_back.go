package remoting

import (
	"varve/broker"
	"varve/internal/auth"
	wire "varve/internal/remoting"
)

// 36 CONSUMER_SEND_MSG_BACK: have a message delivered again later.
//
// Versions: all; maxReconsumeTimes counts for clients from 3.4.9 on.
//
// Behaviours: offset is the message's physical offset, archived or not.
// delayLevel 0 grows with each retry, a negative one and the last retry lead
// to the dead letter queue.
func (f *Front) consumerSendMsgBack(s *session, req *wire.Command) (*wire.Command, error) {
	const version349 = 121
	p := req.Ext.Parse()
	r := broker.SendBackRequest{
		Group:             p.Str("group"),
		PhysicalOffset:    p.Int("offset"),
		DelayLevel:        p.Int32("delayLevel"),
		OriginTopic:       p.OptStr("originTopic"),
		Unit:              p.OptBool("unitMode"),
		MaxReconsumeTimes: p.OptInt32("maxReconsumeTimes", -1),
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	if req.Version < version349 {
		r.MaxReconsumeTimes = -1
	}
	if c := f.caller(req); !c.Super { // it may be another's message that the client names by its place
		rec, err := f.broker.ViewMessage(s.conn.Context(), r.PhysicalOffset)
		if err != nil {
			return nil, err
		}
		if err := f.mayRead(req, auth.Sub, rec); err != nil {
			return nil, err
		}
	}
	if err := f.broker.SendBack(s.conn.Context(), &r); err != nil {
		return nil, err
	}
	return ok()
}
