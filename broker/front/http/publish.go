package http

import (
	"context"
	"crypto/md5" //nolint:gosec // the protocol's digest
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"varve/broker"
)

// publish stores a message.
//
// Behaviours: the answer names the message and the digest of its body as it
// was understood. A transaction's message (property __TransCheckT) is answered
// with a handle too, by which it is committed or rolled back.
func (f *Front) publish(c *call) error {
	m, err := f.messageOf(c)
	if err != nil {
		return err
	}
	receipt, err := f.send(c.r.Context(), &m.req)
	if err != nil {
		return err
	}
	x := newXML("Message")
	x.text("MessageId", receipt.MsgID)
	x.text("MessageBodyMD5", digest(m.req.Message.Body))
	if m.half {
		x.text("ReceiptHandle", halfHandle{Offset: receipt.QueueOffset, Physical: receipt.PhysicalOffset, Group: m.req.Group}.String())
	}
	// The message is stored. A client that doesn't hear so sends it again.
	_ = c.answer(http.StatusCreated, x.end("Message"))
	return nil
}

// send stores one message in the caller's goroutine, where the log lets it.
func (f *Front) send(ctx context.Context, req *broker.SendRequest) (broker.Receipt, error) {
	type answer struct {
		receipt broker.Receipt
		err     error
	}
	ch := make(chan answer, 1)
	f.broker.Enqueue(req, func(r []broker.Receipt, err error) {
		a := answer{err: err}
		switch {
		case err != nil:
		case len(r) != 1:
			a.err = errors.New("a message gave no receipt")
		default:
			a.receipt = r[0]
		}
		ch <- a
	})
	f.broker.Commit()
	select {
	case a := <-ch:
		return a.receipt, a.err
	case <-ctx.Done():
		return broker.Receipt{}, fmt.Errorf("send to %q: %w", req.Message.Topic, ctx.Err())
	}
}

// digest is a body's, as the protocol writes it.
func digest(body []byte) string {
	sum := md5.Sum(body) //nolint:gosec // the protocol's digest
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}
