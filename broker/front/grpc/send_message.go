package grpc

import (
	"context"
	"errors"
	"sync/atomic"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"varve/broker"
)

// maxSendMessages bounds the messages of one call.
const maxSendMessages = 1024

// SendMessage stores messages of one topic.
//
// Behaviours: a call waits while its connection has more than its share of what
// may wait for the log, so that one client doesn't keep others from it. Each message has a result of its own; results that differ make
// MULTIPLE_RESULTS. The queue is the broker's choice, and the same for all
// messages of a message group. The offset of a transaction's message is that of
// its half message. A body in gzip is stored inflated: consumers of every
// protocol, and SQL, can read it.
func (f *Front) SendMessage(ctx context.Context, req *v2.SendMessageRequest) (*v2.SendMessageResponse, error) {
	call, err := f.prepareSend(ctx, req)
	if err != nil {
		return &v2.SendMessageResponse{Status: f.status("SendMessage", err)}, nil
	}
	if err := call.conn.turn(ctx, call.bytes); err != nil {
		return &v2.SendMessageResponse{Status: f.status("SendMessage", err)}, nil
	}
	for i := range call.sends {
		f.broker.Enqueue(&call.sends[i].req, call.sends[i].done)
	}
	f.broker.Commit()
	select {
	case <-call.answered:
	case <-ctx.Done():
		return &v2.SendMessageResponse{Status: f.status("SendMessage", ctx.Err())}, nil
	}
	return f.sent(call), nil
}

// sendCall is one SendMessage on its way through the log.
type sendCall struct {
	sends    []send
	conn     *connection
	bytes    int64 // of the bodies
	left     atomic.Int32
	answered chan struct{}
}

// send is one message of a call.
type send struct {
	call    *sendCall
	req     broker.SendRequest
	msgType v2.MessageType
	entry   v2.SendResultEntry
	err     error
}

func (f *Front) prepareSend(ctx context.Context, req *v2.SendMessageRequest) (*sendCall, error) {
	who, err := f.admit(ctx, req)
	if err != nil {
		return nil, err
	}
	msgs := req.GetMessages()
	switch {
	case len(msgs) == 0:
		return nil, refused(v2.Code_MESSAGE_CORRUPTED, "the call has no message")
	case len(msgs) > maxSendMessages:
		return nil, refused(v2.Code_PAYLOAD_TOO_LARGE, "the call has %d messages, want at most %d", len(msgs), maxSendMessages)
	}
	name, err := topicOf(msgs[0].GetTopic())
	if err != nil {
		return nil, err
	}
	conn := connectionOf(ctx)
	if err := conn.use(f.broker, name); err != nil {
		return nil, err
	}
	t, _ := f.broker.Topic(name) // a missing one is made or refused by the core
	call := &sendCall{sends: make([]send, len(msgs)), conn: conn, answered: make(chan struct{})}
	call.left.Store(int32(len(msgs)))
	for i, m := range msgs {
		if i > 0 && nameOf(m.GetTopic()) != name {
			return nil, refused(v2.Code_MESSAGE_CORRUPTED, "message %d is of topic %q, the first of %q", i, nameOf(m.GetTopic()), name)
		}
		s := &call.sends[i]
		s.call = call
		if err := f.buildSend(s, m, name, t); err != nil {
			return nil, err
		}
		s.req.Message.BornHost = who.addr
		call.bytes += int64(len(s.req.Message.Body))
	}
	return call, nil
}

// done takes the log's answer, in the goroutine that commits.
func (s *send) done(receipts []broker.Receipt, err error) {
	switch {
	case err == nil && len(receipts) != 1:
		err = errors.New("a message gave no receipt")
		fallthrough
	case err != nil:
		s.err = err
	default:
		s.note(&receipts[0])
	}
	if s.call.left.Add(-1) == 0 {
		s.call.conn.answered(s.call.bytes)
		close(s.call.answered)
	}
}

func (s *send) note(r *broker.Receipt) {
	e := &s.entry
	e.Status, e.MessageId, e.Offset, e.RecallHandle = statusOK, r.MsgID, r.QueueOffset, r.RecallHandle
	if s.msgType == v2.MessageType_TRANSACTION {
		e.TransactionId = transactionID(r.QueueOffset, r.PhysicalOffset)
	}
}

// sent is the answer to a call whose messages are all answered.
func (f *Front) sent(call *sendCall) *v2.SendMessageResponse {
	out := &v2.SendMessageResponse{Entries: make([]*v2.SendResultEntry, len(call.sends)), Status: statusOK}
	results := map[v2.Code]struct{}{}
	for i := range call.sends {
		s := &call.sends[i]
		if s.err != nil {
			s.entry.Status = f.status("SendMessage", s.sendError())
		}
		out.Entries[i] = &s.entry
		if len(call.sends) > 1 {
			results[s.entry.Status.Code] = struct{}{}
		}
	}
	if len(call.sends) == 1 {
		out.Status = call.sends[0].entry.Status
	} else {
		out.Status = worst(results)
	}
	return out
}

// sendError gives an error the code that producers of the message's type know.
func (s *send) sendError() error {
	if s.msgType == v2.MessageType_DELAY && errors.Is(s.err, broker.ErrIllegalMessage) {
		return refused(v2.Code_ILLEGAL_DELIVERY_TIME, "%v", s.err)
	}
	return s.err
}
