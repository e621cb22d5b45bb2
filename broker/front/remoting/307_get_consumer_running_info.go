package remoting

import (
	"context"
	"time"

	wire "varve/internal/remoting"
)

// relayTimeout bounds a request that is relayed to a client.
const relayTimeout = 10 * time.Second

// 307 GET_CONSUMER_RUNNING_INFO: relayed to the member of the group that the
// request names.
//
// Versions: all.
//
// Behaviours: the client's answer as it is; 206 where the client isn't
// connected, 207 where it doesn't answer within 10 s.
func (f *Front) getConsumerRunningInfo(s *session, req *wire.Command) (*wire.Command, error) {
	return f.relay(s, req, nil)
}

// relay sends the request's fields, and a body, to the client that it names.
func (f *Front) relay(s *session, req *wire.Command, body []byte) (*wire.Command, error) {
	p := req.Ext.Parse()
	group, client := p.Str("consumerGroup"), p.Str("clientId")
	if err := p.Err(); err != nil {
		return nil, err
	}
	c, err := f.broker.FindConsumer(group, client)
	if err != nil {
		return nil, err
	}
	target, isRemoting := c.(*session)
	if !isRemoting {
		return f.askOther(s.conn.Context(), c, req, body)
	}
	out := wire.NewRequest(req.Code)
	for name, value := range req.Ext.All() {
		if name == "consumerGroup" || name == "topic" {
			value = target.called(value)
		}
		out.Ext.Set(name, value)
	}
	out.Body = target.seen(body)
	ctx, cancel := context.WithTimeout(s.conn.Context(), relayTimeout)
	defer cancel()
	reply, err := target.conn.Call(ctx, out)
	if err != nil {
		return nil, err
	}
	return &wire.Command{Code: reply.Code, Remark: reply.Remark, Body: reply.Body}, nil
}
