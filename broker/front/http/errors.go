package http

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"

	"varve/broker"
	"varve/internal/mq"
	"varve/internal/refusal"
)

// code is an error of the protocol, with the status that it comes with.
type code struct {
	name   string
	status int
}

// Codes that SDKs and their users know.
var (
	accessDenied         = code{"AccessDenied", http.StatusForbidden}
	badSignature         = code{"SignatureDoesNotMatch", http.StatusForbidden}
	missingAuthorization = code{"MissingAuthorizationHeader", http.StatusBadRequest}
	missingDate          = code{"MissingDateHeader", http.StatusBadRequest}
	invalidDate          = code{"InvalidDateHeader", http.StatusBadRequest}
	expired              = code{"TimeExpired", http.StatusRequestTimeout}
	invalidURL           = code{"InvalidRequestURL", http.StatusBadRequest}
	invalidQuery         = code{"InvalidQueryString", http.StatusBadRequest}
	invalidArgument      = code{"InvalidArgument", http.StatusBadRequest}
	malformedXML         = code{"MalformedXML", http.StatusBadRequest}
	missingHandle        = code{"MissingReceiptHandle", http.StatusBadRequest}
	badHandle            = code{"ReceiptHandleError", http.StatusBadRequest}
	topicNotExist        = code{"TopicNotExist", http.StatusNotFound}
	groupNotExist        = code{"GroupNotExist", http.StatusNotFound}
	messageNotExist      = code{"MessageNotExist", http.StatusNotFound}
	throttled            = code{"QpsLimitExceeded", http.StatusBadRequest}
	internalError        = code{"InternalError", http.StatusInternalServerError}
	unavailable          = code{"InternalServerError", http.StatusServiceUnavailable}
)

// codes maps the errors of the core.
var codes = refusal.Codes[code]{
	{broker.ErrNoTopic, topicNotExist},
	{broker.ErrNoGroup, groupNotExist},
	{broker.ErrForbidden, accessDenied},
	{broker.ErrIllegalMessage, invalidArgument},
	{broker.ErrMessageType, invalidArgument},
	{broker.ErrBadRequest, invalidArgument},
	{broker.ErrBadFilter, invalidArgument},
	{broker.ErrBusy, throttled},
	{broker.ErrOverQuota, throttled},
	{broker.ErrHandleExpired, messageNotExist},
	{broker.ErrNoTransaction, messageNotExist},
	{broker.ErrTransactionEnded, messageNotExist},
	{broker.ErrTransactionLate, messageNotExist},
	{broker.ErrNoMessage, messageNotExist},
	{mq.ErrNotFound, messageNotExist},
	{broker.ErrDiskFull, unavailable},
	{broker.ErrClosed, unavailable},
	{context.Canceled, unavailable},
	{context.DeadlineExceeded, unavailable},
}

// refused answers with a code that no error of the core stands for.
func refused(c code, format string, args ...any) error { return refusal.New(c, format, args...) }

func codeOf(err error) code { return codes.Of(err, internalError) }

// errNoMessages says that there is nothing to consume, which is the normal
// answer of an empty topic.
var errNoMessages = refused(messageNotExist, "there is no message")

func (f *Front) answerError(c *call, err error) {
	is := codeOf(err)
	if err != errNoMessages {
		f.refused.Add(1)
	}
	f.logInternal(c, err)
	x := newXML("Error")
	x.text("Code", is.name)
	x.text("Message", err.Error())
	x.text("RequestId", c.id)
	x.text("HostId", c.host())
	_ = c.answer(is.status, x.end("Error"))
}

// logInternal notes an error that no client is to blame for.
func (f *Front) logInternal(c *call, err error) {
	if codeOf(err) == internalError {
		f.cfg.Logger.Warn("request failed", slog.String("request", c.r.Method), slog.String("topic", c.topic),
			slog.String("request_id", c.id), slog.Any("err", err))
	}
}

// host is the server's name as the client knows it.
func (c *call) host() string {
	if c.r.TLS != nil {
		return "https://" + c.r.Host
	}
	return "http://" + c.r.Host
}

// newRequestID names one request: 24 hexadecimal digits, as SDKs' users are
// used to.
func newRequestID() string {
	var b [12]byte
	binary.BigEndian.PutUint64(b[:8], rand.Uint64())
	binary.BigEndian.PutUint32(b[8:], rand.Uint32())
	return strings.ToUpper(hex.EncodeToString(b[:]))
}
