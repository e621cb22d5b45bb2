package grpc

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"varve/broker"
	"varve/internal/mq"
)

// askWithin bounds a question to a client.
const askWithin = 10 * time.Second

// maxAsked bounds the questions to one client that have no answer yet.
const maxAsked = 64

var _ broker.AskedClient = (*client)(nil)

// VerifyMessage has the client consume a message, over its telemetry stream.
func (c *client) VerifyMessage(ctx context.Context, rec mq.Record) (broker.Verdict, error) {
	o := outgoingOf(bytes.Clone(rec), resourceOf(string(rec.Topic())), "")
	answer, err := c.ask(ctx, func(nonce string) *v2.TelemetryCommand {
		return &v2.TelemetryCommand{Command: &v2.TelemetryCommand_VerifyMessageCommand{
			VerifyMessageCommand: &v2.VerifyMessageCommand{Nonce: nonce, Message: &o.msg},
		}}
	})
	if err != nil {
		return 0, err
	}
	switch s := answer.GetStatus(); s.GetCode() {
	case v2.Code_OK:
		return broker.VerdictConsumed, nil
	case v2.Code_FAILED_TO_CONSUME_MESSAGE:
		return broker.VerdictLater, nil
	case v2.Code_MESSAGE_CORRUPTED:
		return broker.VerdictCorrupted, nil
	case v2.Code_VERIFY_FIFO_MESSAGE_UNSUPPORTED:
		return broker.VerdictNone, nil
	default:
		return 0, fmt.Errorf("client %q answers %s: %s", c.id, s.GetCode(), s.GetMessage())
	}
}

// StackTrace asks the client over its telemetry stream what its threads do.
func (c *client) StackTrace(ctx context.Context) (string, error) {
	answer, err := c.ask(ctx, func(nonce string) *v2.TelemetryCommand {
		return &v2.TelemetryCommand{Command: &v2.TelemetryCommand_PrintThreadStackTraceCommand{
			PrintThreadStackTraceCommand: &v2.PrintThreadStackTraceCommand{Nonce: nonce},
		}}
	})
	if err != nil {
		return "", err
	}
	if s := answer.GetStatus(); s.GetCode() != v2.Code_OK {
		return "", fmt.Errorf("client %q answers %s: %s", c.id, s.GetCode(), s.GetMessage())
	}
	return answer.GetThreadStackTrace().GetThreadStackTrace(), nil
}

// ask sends a command and waits for the client's answer to it.
func (c *client) ask(ctx context.Context, command func(nonce string) *v2.TelemetryCommand) (*v2.TelemetryCommand, error) {
	ch := make(chan *v2.TelemetryCommand, 1)
	c.mu.Lock()
	stream := c.stream
	if stream == nil || len(c.asked) >= maxAsked {
		n := len(c.asked)
		c.mu.Unlock()
		return nil, fmt.Errorf("%w: client %q has no telemetry stream, or %d questions wait for it", broker.ErrBusy, c.id, n)
	}
	c.nonces++
	nonce := strconv.FormatUint(c.nonces, 10)
	if c.asked == nil {
		c.asked = map[string]chan<- *v2.TelemetryCommand{}
	}
	c.asked[nonce] = ch
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.asked, nonce)
		c.mu.Unlock()
	}()
	cmd := command(nonce)
	cmd.Status = statusOK
	if err := stream.send(cmd); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	select {
	case answer := <-ch:
		return answer, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("client %q doesn't answer: %w", c.id, ctx.Err())
	}
}

// answered takes what a client says that isn't its settings.
func (c *client) answered(cmd *v2.TelemetryCommand) {
	if c == nil {
		return
	}
	nonce := cmd.GetVerifyMessageResult().GetNonce()
	if nonce == "" {
		nonce = cmd.GetThreadStackTrace().GetNonce()
	}
	c.mu.Lock()
	ch := c.asked[nonce]
	delete(c.asked, nonce)
	c.mu.Unlock()
	if ch != nil {
		ch <- cmd // the one answer that it has room for
	}
}
