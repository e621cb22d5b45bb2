package remoting

import (
	"varve/internal/auth"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// caller is who a request is from: whom wire.Config.Admit found out, anybody
// where access control is off.
func (f *Front) caller(req *wire.Command) auth.Caller {
	c, known := req.Caller.(auth.Caller)
	if !known && !f.cfg.Auth.Enabled() {
		c.Identity = auth.Anybody
	}
	return c
}

// mayRead holds a request that names a message by its place to the rights in
// the topic that the message turns out to be of.
func (f *Front) mayRead(req *wire.Command, a auth.Action, rec []byte) error {
	c := f.caller(req)
	if c.Super {
		return nil
	}
	return f.cfg.Auth.AllowCaller(c, a, auth.Topic(string(mq.Record(rec).Topic())))
}
