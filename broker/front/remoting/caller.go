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

// stillMay is for a request that may be held for long: who sent it may have lost
// the right to the topic by the time there is something to answer. nil where
// there is nothing to ask.
func (f *Front) stillMay(req *wire.Command, topic string) func() error {
	if !f.cfg.Auth.Enabled() {
		return nil
	}
	c := f.caller(req)
	if c.Super {
		return nil
	}
	return func() error { return f.cfg.Auth.AllowCaller(c, auth.Sub, auth.Topic(topic)) }
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
