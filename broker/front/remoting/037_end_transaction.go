package remoting

import (
	"varve/broker"
	"varve/internal/auth"
	wire "varve/internal/remoting"
)

// 37 END_TRANSACTION: commit or roll back a half message.
//
// Versions: topic since 5.x; bname is the broker's own name. A missing
// fromTransactionCheck is false.
//
// Behaviours: the half is named by its two offsets, and its producer group has
// to be right; msgId and transactionId are not compared, since rocketmq-client-go
// fills in another id when it was asked. commitOrRollback 8 commits, 12 rolls
// back, 0 leaves it in doubt and is never answered, as upstream; so is a
// one-way request, which is what clients send. Answered when the flush policy
// says that the end is stored. The same end again is success, another one 604,
// and so is one that comes after the message's own CHECK_IMMUNITY_TIME_IN_SECONDS.
// The right to publish is asked for in the half's real topic.
func (f *Front) endTransaction(s *session, req *wire.Command) {
	from := req.From()
	p := req.Ext.Parse()
	e := broker.EndTransaction{
		Group:        s.own(inNamespace(req, p.Str("producerGroup"))),
		HalfOffset:   p.Int("tranStateTableOffset"),
		HalfPhysical: p.Int("commitLogOffset"),
		Resolution:   broker.Resolution(p.Int32("commitOrRollback")),
		FromCheck:    p.OptBool("fromTransactionCheck"),
	}
	if err := p.Err(); err != nil {
		f.refuse(s, "END_TRANSACTION", from, err)
		return
	}
	if e.Resolution == broker.TransactionUnknown {
		return
	}
	if c := f.caller(req); !c.Super {
		e.Allow = func(topic string) error { return f.cfg.Auth.AllowCaller(c, auth.Pub, auth.Topic(topic)) }
	}
	s.sends++
	f.broker.EnqueueEnd(&e, func(err error) { // Front.readAll commits
		if err != nil {
			f.refuse(s, "END_TRANSACTION", from, err)
			return
		}
		s.conn.Reply(from, &wire.Command{})
	})
}
