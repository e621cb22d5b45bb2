package remoting

import (
	"varve/broker"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// 200052 PEEK_MESSAGE (3444): what a POP would give next, without giving it.
//
// Versions: 5.0 on.
//
// Behaviours: 0 with messages, 19 where there is none. They come again with the
// next POP.
func (f *Front) peekMessage(s *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	r := &broker.PopRequest{QueueID: p.Int32("queueId"), MaxMessages: int(p.Int32("maxMsgNums")), FromMin: true, Client: s}
	if err := p.Err(); err != nil {
		return nil, err
	}
	var err error
	if r.Group, r.Topic, err = s.groupAndTopic(req); err != nil {
		return nil, err
	}
	if err := f.broker.Use(s, r.Topic); err != nil {
		return nil, err
	}
	body, count, rest, err := f.broker.Peek(s.conn.Context(), r)
	if err != nil {
		return nil, err
	}
	resp := &wire.Command{Body: mq.WithoutTenant(body, req.Namespace)}
	if count == 0 {
		resp.Code = wire.PullNotFound
	}
	resp.Ext.SetInt("popTime", 0)
	resp.Ext.SetInt("invisibleTime", 0)
	resp.Ext.SetInt("reviveQid", -1)
	resp.Ext.SetInt("restNum", rest)
	return resp, nil
}
