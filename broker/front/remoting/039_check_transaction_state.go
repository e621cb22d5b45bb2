package remoting

import (
	"context"

	"varve/broker"
	wire "varve/internal/remoting"
)

// 39 CHECK_TRANSACTION_STATE: ask a producer what became of its transaction.
// One-way, to one client of the producer group; it answers with code 37 and
// fromTransactionCheck.
//
// Behaviours: the body is the half message under its real topic and queue, with
// the half's own offsets. The client finds its producer by the property PGROUP.
func (s *session) CheckTransaction(_ context.Context, h *broker.HalfMessage) error {
	req := wire.NewRequest(wire.CheckTransactionState,
		"topic", h.Topic, "msgId", h.MsgID, "transactionId", h.MsgID, "offsetMsgId", h.OffsetMsgID,
		"bname", s.front.broker.Config().Broker)
	req.Ext.SetInt("tranStateTableOffset", h.Offset)
	req.Ext.SetInt("commitLogOffset", h.Physical)
	req.Body = h.Record
	return s.conn.Push(req)
}

var _ broker.TransactionChecker = (*session)(nil)
