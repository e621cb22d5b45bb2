package grpc

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"varve/broker"
	"varve/internal/mq"
	"varve/internal/refusal"
)

// codes maps the errors of the core to the codes that clients branch on.
var codes = refusal.Codes[v2.Code]{
	{broker.ErrNoTopic, v2.Code_TOPIC_NOT_FOUND},
	{broker.ErrNoGroup, v2.Code_CONSUMER_GROUP_NOT_FOUND},
	{broker.ErrForbidden, v2.Code_FORBIDDEN},
	{broker.ErrIllegalMessage, v2.Code_BAD_REQUEST},
	{broker.ErrMessageType, v2.Code_MESSAGE_PROPERTY_CONFLICT_WITH_TYPE},
	{broker.ErrBadRequest, v2.Code_BAD_REQUEST},
	{broker.ErrBusy, v2.Code_TOO_MANY_REQUESTS},
	{broker.ErrOverQuota, v2.Code_TOO_MANY_REQUESTS},
	{broker.ErrDiskFull, v2.Code_INTERNAL_SERVER_ERROR},
	{broker.ErrClosed, v2.Code_INTERNAL_SERVER_ERROR},
	{broker.ErrBadFilter, v2.Code_ILLEGAL_FILTER_EXPRESSION},
	{broker.ErrNoOffset, v2.Code_OFFSET_NOT_FOUND},
	{broker.ErrNoMessage, v2.Code_MESSAGE_NOT_FOUND},
	{broker.ErrHandleExpired, v2.Code_INVALID_RECEIPT_HANDLE},
	{broker.ErrBadHandle, v2.Code_BAD_REQUEST},
	{broker.ErrNoTransaction, v2.Code_INVALID_TRANSACTION_ID},
	{broker.ErrTransactionEnded, v2.Code_PRECONDITION_FAILED},
	{broker.ErrTransactionLate, v2.Code_PRECONDITION_FAILED},
	{mq.ErrNotFound, v2.Code_MESSAGE_NOT_FOUND},
	{context.DeadlineExceeded, v2.Code_PROXY_TIMEOUT},
}

// expected are errors of the core that have no code of their own and are still
// not worth a line in the log.
var expected = []error{broker.ErrDiskFull, broker.ErrClosed, context.Canceled}

// refused answers with a code that no error of the core stands for.
func refused(code v2.Code, format string, args ...any) error {
	return refusal.New(code, format, args...)
}

func codeOf(err error) v2.Code { return codes.Of(err, v2.Code_INTERNAL_SERVER_ERROR) }

// statusOK is the status of what went well. It is shared: nobody writes to it.
var statusOK = &v2.Status{Code: v2.Code_OK, Message: v2.Code_OK.String()}

func statusIs(code v2.Code) *v2.Status {
	if code == v2.Code_OK {
		return statusOK
	}
	return &v2.Status{Code: code, Message: code.String()}
}

// status answers a call: OK where err is nil. Clients show the code as a number
// only, so the text begins with its name.
func (f *Front) status(call string, err error) *v2.Status {
	if err == nil {
		return statusOK
	}
	code := codeOf(err)
	if code == v2.Code_INTERNAL_SERVER_ERROR && !anyOf(err, expected) {
		f.cfg.Logger.Warn("request failed", slog.String("request", call), slog.Any("err", err))
	}
	return &v2.Status{Code: code, Message: code.String() + ": " + strings.ToValidUTF8(err.Error(), "\uFFFD")}
}

func anyOf(err error, list []error) bool {
	for _, e := range list {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// worst is the status of a call with several results: theirs where they agree.
func worst(codes map[v2.Code]struct{}) *v2.Status {
	if len(codes) > 1 {
		return statusIs(v2.Code_MULTIPLE_RESULTS)
	}
	for c := range codes {
		return statusIs(c)
	}
	return statusOK
}
