package grpc

import (
	"context"
	"errors"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"google.golang.org/protobuf/proto"

	"varve/internal/auth"
	"varve/internal/mq"
)

// Names of the metadata of a signed call.
const (
	mdAuthorization = "authorization"
	mdDateTime      = "x-mq-date-time"
)

// authorize checks who makes a call and whether that user may, where access
// control is on. This is the table of what each call needs; a call that is not
// in it needs to be allowed to change the cluster.
func (f *Front) authorize(ctx context.Context, c caller, m proto.Message) error {
	if !f.cfg.Auth.Enabled() {
		return nil
	}
	id, err := f.cfg.Auth.VerifyGRPC(header(ctx, mdAuthorization), header(ctx, mdDateTime))
	if err != nil {
		return refused(v2.Code_UNAUTHORIZED, "%v", err)
	}
	a := asked{f.cfg.Auth, auth.Caller{Identity: id, IP: c.addr.Addr()}, nil}
	switch m := m.(type) {
	case *v2.QueryRouteRequest:
		if m.GetTopic().GetName() != mq.AutoTopic {
			a.topic(auth.Pub|auth.Sub|auth.Get, m.GetTopic())
		}
	case *v2.SendMessageRequest:
		for _, msg := range m.GetMessages() {
			a.topic(auth.Pub, msg.GetTopic())
		}
	case *v2.RecallMessageRequest:
		a.topic(auth.Pub, m.GetTopic())
	case *v2.EndTransactionRequest:
		a.topic(auth.Pub, m.GetTopic())
	case *v2.QueryAssignmentRequest:
		a.both(auth.Sub, m.GetTopic(), m.GetGroup())
	case *v2.ReceiveMessageRequest:
		a.both(auth.Sub, m.GetMessageQueue().GetTopic(), m.GetGroup())
	case *v2.AckMessageRequest:
		a.both(auth.Sub, m.GetTopic(), m.GetGroup())
	case *v2.ChangeInvisibleDurationRequest:
		a.both(auth.Sub, m.GetTopic(), m.GetGroup())
	case *v2.ForwardMessageToDeadLetterQueueRequest:
		a.both(auth.Sub, m.GetTopic(), m.GetGroup())
	case *v2.PullMessageRequest:
		a.both(auth.Sub, m.GetMessageQueue().GetTopic(), m.GetGroup())
	case *v2.UpdateOffsetRequest:
		a.both(auth.Sub|auth.Update, m.GetMessageQueue().GetTopic(), m.GetGroup())
	case *v2.GetOffsetRequest:
		a.both(auth.Sub|auth.Get, m.GetMessageQueue().GetTopic(), m.GetGroup())
	case *v2.QueryOffsetRequest:
		a.topic(auth.Sub|auth.Get, m.GetMessageQueue().GetTopic())
	case *v2.HeartbeatRequest:
		a.groupIfAny(m.GetGroup())
	case *v2.NotifyClientTerminationRequest:
		a.groupIfAny(m.GetGroup())
	case *v2.TelemetryCommand:
		a.telemetry(m)
	default:
		a.need(auth.Update, f.cfg.Auth.Cluster())
	}
	if errors.Is(a.err, auth.ErrDenied) {
		return refused(v2.Code_FORBIDDEN, "%v", a.err)
	}
	return a.err
}

// asked keeps the first thing that a caller may not do.
type asked struct {
	store  *auth.Store
	caller auth.Caller
	err    error
}

func (a *asked) need(do auth.Action, r auth.Resource) {
	if a.err == nil {
		a.err = a.store.AllowCaller(a.caller, do, r)
	}
}

// topic asks for a topic; sending to a group's retry topic is consuming.
func (a *asked) topic(do auth.Action, t *v2.Resource) {
	r := auth.Topic(nameOf(t))
	if r.Kind == auth.KindGroup && do&auth.Pub != 0 {
		do = do&^auth.Pub | auth.Sub
	}
	a.need(do, r)
}

func (a *asked) both(do auth.Action, t, g *v2.Resource) {
	a.topic(do, t)
	a.need(do, auth.Group(nameOf(g)))
}

// groupIfAny asks for the group of a consumer; producers name none.
func (a *asked) groupIfAny(g *v2.Resource) {
	if g.GetName() != "" {
		a.need(auth.Sub, auth.Group(nameOf(g)))
	}
}

// telemetry asks for what a client says that it will use.
func (a *asked) telemetry(m *v2.TelemetryCommand) {
	for _, t := range m.GetSettings().GetPublishing().GetTopics() {
		a.topic(auth.Pub, t)
	}
	s := m.GetSettings().GetSubscription()
	a.groupIfAny(s.GetGroup())
	for _, e := range s.GetSubscriptions() {
		a.topic(auth.Sub, e.GetTopic())
	}
}
