package remoting

import (
	"context"
	"errors"

	"varve/broker"
	"varve/internal/auth"
	wire "varve/internal/remoting"
)

// 39 CHECK_TRANSACTION_STATE: ask a producer what became of its transaction.
// One-way, to one client of the producer group; it answers with code 37 and
// fromTransactionCheck.
//
// Behaviours: the body is the half message under its real topic and queue, with
// the half's own offsets. The client finds its producer by the property PGROUP.
// Only one who may publish to the topic is shown the message.
func (s *session) CheckTransaction(_ context.Context, h *broker.HalfMessage) error {
	if c := s.beater.Load(); s.front.cfg.Auth.Enabled() && (c == nil || !c.Super) {
		if c == nil {
			return errors.New("client sent no heartbeat")
		}
		if err := s.front.cfg.Auth.AllowCaller(*c, auth.Pub, auth.Topic(h.Topic)); err != nil {
			return err
		}
	}
	req := wire.NewRequest(wire.CheckTransactionState,
		"topic", s.called(h.Topic), "msgId", h.MsgID, "transactionId", h.MsgID, "offsetMsgId", h.OffsetMsgID,
		"bname", s.front.broker.Config().Broker)
	req.Ext.SetInt("tranStateTableOffset", h.Offset)
	req.Ext.SetInt("commitLogOffset", h.Physical)
	req.Body = s.seen(h.Record)
	return s.conn.Push(req)
}

var _ broker.TransactionChecker = (*session)(nil)
