package grpc

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"varve/broker"
	"varve/internal/mq"
)

// EndTransaction commits a half message or rolls it back.
//
// Behaviours: the transaction's id says where its half message lies, so any
// producer of the topic can end it, after a restart of either side too. The
// same end again is a success, another one is PRECONDITION_FAILED. A resolution
// that is neither changes nothing: the producer is asked again later.
func (f *Front) EndTransaction(ctx context.Context, req *v2.EndTransactionRequest) (*v2.EndTransactionResponse, error) {
	return &v2.EndTransactionResponse{Status: f.status("EndTransaction", f.endTransaction(ctx, req))}, nil
}

var resolutions = map[v2.TransactionResolution]broker.Resolution{
	v2.TransactionResolution_COMMIT:   broker.TransactionCommit,
	v2.TransactionResolution_ROLLBACK: broker.TransactionRollback,
}

func (f *Front) endTransaction(ctx context.Context, req *v2.EndTransactionRequest) error {
	if _, err := f.admit(ctx, req); err != nil {
		return err
	}
	topic, err := topicOf(req.GetTopic())
	if err != nil {
		return err
	}
	offset, physical, err := parseTransactionID(req.GetTransactionId())
	if err != nil {
		return err
	}
	return f.broker.EndTransaction(ctx, broker.EndTransaction{
		Group: topic, Topic: topic, HalfOffset: offset, HalfPhysical: physical,
		MsgID: req.GetMessageId(), TransactionID: req.GetTransactionId(),
		Resolution: resolutions[req.GetResolution()], // unknown where it is neither
		FromCheck:  req.GetSource() == v2.TransactionSource_SOURCE_SERVER_CHECK,
		Allow: func(half string) error {
			if half != topic { // the call was admitted for topic
				return fmt.Errorf("%w: the half message is of topic %q, not of %q", broker.ErrForbidden, half, topic)
			}
			return nil
		},
	})
}

// transactionID names a half message: its offset and its position in the log.
func transactionID(offset, physical int64) string { return fmt.Sprintf("%d-%d", offset, physical) }

func parseTransactionID(id string) (offset, physical int64, err error) {
	first, second, ok := strings.Cut(id, "-")
	a, err1 := strconv.ParseUint(first, 10, 63)
	b, err2 := strconv.ParseUint(second, 10, 63)
	if !ok || err1 != nil || err2 != nil {
		return 0, 0, refused(v2.Code_INVALID_TRANSACTION_ID, "%q is no transaction id of this broker", id)
	}
	return int64(a), int64(b), nil
}

var _ broker.TransactionChecker = (*client)(nil)

// CheckTransaction asks a producer over its telemetry stream what became of a
// transaction; it answers with EndTransaction.
func (c *client) CheckTransaction(_ context.Context, h *broker.HalfMessage) error {
	c.mu.Lock()
	stream := c.stream
	c.mu.Unlock()
	if stream == nil {
		return fmt.Errorf("client %q has no telemetry stream", c.id)
	}
	o := outgoingOf(bytes.Clone(h.Record), resourceOf(h.Topic), "")
	return stream.send(&v2.TelemetryCommand{
		Status: statusOK,
		Command: &v2.TelemetryCommand_RecoverOrphanedTransactionCommand{
			RecoverOrphanedTransactionCommand: &v2.RecoverOrphanedTransactionCommand{
				Message: &o.msg, TransactionId: transactionID(h.Offset, h.Physical),
			},
		},
	})
}

// resourceOf is the reverse of nameOf.
func resourceOf(name string) *v2.Resource {
	tenant, local := mq.SplitTenant(name)
	if local == name {
		return &v2.Resource{Name: name}
	}
	return &v2.Resource{ResourceNamespace: tenant, Name: local}
}
