package remoting

import (
	"context"

	"varve/broker"
	"varve/internal/auth"
	"varve/internal/mq"
	"varve/internal/refusal"
	wire "varve/internal/remoting"
)

// codes maps the errors of the core to the codes that clients branch on.
var codes = refusal.Codes[int]{
	{broker.ErrNoTopic, wire.TopicNotExist},
	{broker.ErrNoGroup, wire.SubscriptionGroupNotExist},
	{broker.ErrForbidden, wire.NoPermission},
	{auth.ErrDenied, wire.NoPermission},
	{auth.ErrUnknown, wire.NoPermission},
	{broker.ErrIllegalMessage, wire.MessageIllegal},
	{broker.ErrMessageType, wire.MessageIllegal},
	{broker.ErrBadRequest, wire.InvalidParameter},
	{broker.ErrBusy, wire.SystemBusy},
	{broker.ErrOverQuota, wire.FlowControl},
	{broker.ErrDiskFull, wire.ServiceNotAvailable},
	{broker.ErrClosed, wire.ServiceNotAvailable},
	{broker.ErrNoSubscription, wire.SubscriptionNotExist},
	{broker.ErrStaleSubscription, wire.SubscriptionNotLatest},
	{broker.ErrBadFilter, wire.SubscriptionParseFailed},
	{broker.ErrNoOffset, wire.QueryNotFound},
	{broker.ErrBadHandle, wire.IllegalOperation},
	{broker.ErrNoMember, wire.ConsumerNotOnline},
	{broker.ErrNoMessage, wire.SystemError},
	{broker.ErrNoTransaction, wire.SystemError},
	{broker.ErrTransactionEnded, wire.IllegalOperation},
	{broker.ErrTransactionLate, wire.IllegalOperation},
	{mq.ErrNotFound, wire.SystemError},
	{context.DeadlineExceeded, wire.ConsumeMsgTimeout},
}

// refused answers with a code that no error of the core stands for.
func refused(code int, format string, args ...any) error { return refusal.New(code, format, args...) }

func codeOf(err error) int { return codes.Of(err, wire.SystemError) }
