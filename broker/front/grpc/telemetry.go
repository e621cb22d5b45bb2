package grpc

import (
	"context"
	"errors"
	"io"
	"log/slog"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	rpc "google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxCommands bounds what waits to be sent over one stream.
const maxCommands = 64

// telemetry is one client's stream of commands.
type telemetry struct {
	out chan *v2.TelemetryCommand
}

var errNotReading = errors.New("the client doesn't read its telemetry")

// send has a command sent, without waiting for it.
func (t *telemetry) send(c *v2.TelemetryCommand) error {
	select {
	case t.out <- c:
		return nil
	default:
		return errNotReading
	}
}

// Telemetry is a client's standing conversation with the broker.
//
// Behaviours: a client sends its settings first, and again every few minutes,
// and gets them back completed; without publishing and subscription in them it
// is INVALID_ARGUMENT. The broker asks over the stream what becomes of
// transactions. A type of client that the broker doesn't know, such as the lite
// consumers of 5.5, is INVALID_ARGUMENT too, with the reason. The newest stream
// of a client is the one that is spoken over.
func (f *Front) Telemetry(stream rpc.BidiStreamingServer[v2.TelemetryCommand, v2.TelemetryCommand]) error {
	ctx := stream.Context()
	t := &telemetry{out: make(chan *v2.TelemetryCommand, maxCommands)}
	in, failed := make(chan *v2.TelemetryCommand), make(chan error, 1)
	go receive(stream, in, failed)
	var attached *client
	defer func() {
		if attached != nil {
			attached.detach(t, f.cfg.Now())
		}
	}()
	for {
		var answer *v2.TelemetryCommand
		select {
		case answer = <-t.out:
		case cmd := <-in:
			if cmd.GetSettings() == nil {
				attached.answered(cmd)
				continue
			}
			c, err := f.takeSettings(ctx, cmd)
			if err != nil {
				return status.Error(streamCode(err), err.Error())
			}
			attached = c
			c.attach(t, f.cfg.Now())
			answer = &v2.TelemetryCommand{
				Status: statusOK, Command: &v2.TelemetryCommand_Settings{Settings: f.complete(c.current())},
			}
		case err := <-failed:
			return err
		case <-f.ended:
			return status.Error(grpccodes.Unavailable, "the broker is shutting down")
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

// receive reads a client's commands until its stream ends, which is no failure,
// or breaks.
func receive(stream rpc.BidiStreamingServer[v2.TelemetryCommand, v2.TelemetryCommand], in chan<- *v2.TelemetryCommand, failed chan<- error) {
	for {
		cmd, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			err = nil
		} else if err == nil {
			select {
			case in <- cmd:
				continue
			case <-stream.Context().Done():
				return
			}
		}
		failed <- err
		return
	}
}

// streamCode is the code that ends a stream for an error: what the client did
// wrong, or what failed here.
func streamCode(err error) grpccodes.Code {
	switch c := codeOf(err); {
	case c >= v2.Code_BAD_REQUEST && c < v2.Code_INTERNAL_ERROR:
		return grpccodes.InvalidArgument
	default:
		return grpccodes.Internal
	}
}

// takeSettings checks a client's settings and registers it by them.
func (f *Front) takeSettings(ctx context.Context, cmd *v2.TelemetryCommand) (*client, error) {
	who, err := f.admit(ctx, cmd)
	if err != nil {
		return nil, err
	}
	s := cmd.GetSettings()
	if err := f.checkSettings(s); err != nil {
		return nil, err
	}
	now := f.cfg.Now()
	c, err := f.clients.getOrMake(who, header(ctx, mdLanguage), now)
	if err != nil {
		return nil, err
	}
	before := c.set(s, now)
	if old := nameOf(before.GetSubscription().GetGroup()); old != "" && old != nameOf(s.GetSubscription().GetGroup()) {
		f.broker.Unregister(c, "", old)
	}
	if err := f.beat(ctx, c); err != nil {
		return nil, err
	}
	f.cfg.Logger.Debug("settings of a client", slog.String("client", c.id), slog.String("type", s.GetClientType().String()))
	return c, nil
}

// Limits of one client's settings.
const (
	maxTopics        = 10_000
	maxSubscriptions = 10_000
)

func (f *Front) checkSettings(s *v2.Settings) error {
	switch {
	case s.GetClientType() > v2.ClientType_PULL_CONSUMER:
		return refused(v2.Code_UNRECOGNIZED_CLIENT_TYPE, "clients of type %s are not supported: there are no lite topics, consume an ordinary one", s.GetClientType())
	case s.GetPublishing() != nil:
		topics := s.GetPublishing().GetTopics()
		if len(topics) > maxTopics {
			return refused(v2.Code_BAD_REQUEST, "settings name %d topics, want at most %d", len(topics), maxTopics)
		}
		for _, t := range topics {
			if _, err := topicOf(t); err != nil {
				return err
			}
		}
		return nil
	case s.GetSubscription() != nil:
		return f.checkSubscription(s.GetSubscription())
	}
	return refused(v2.Code_BAD_REQUEST, "settings have neither publishing nor subscription")
}

func (f *Front) checkSubscription(s *v2.Subscription) error {
	if _, err := groupOf(s.GetGroup()); err != nil {
		return err
	}
	if n := len(s.GetSubscriptions()); n > maxSubscriptions {
		return refused(v2.Code_BAD_REQUEST, "settings have %d subscriptions, want at most %d", n, maxSubscriptions)
	}
	for _, e := range s.GetSubscriptions() {
		if _, err := topicOf(e.GetTopic()); err != nil {
			return err
		}
		if err := f.broker.CheckFilter(expressionType(e.GetExpression()), e.GetExpression().GetExpression()); err != nil {
			return err
		}
	}
	return nil
}
