package grpc_test

import (
	"context"
	"testing"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	rpc "google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"varve/broker"
)

type telemetry = rpc.BidiStreamingClient[v2.TelemetryCommand, v2.TelemetryCommand]

func settingsOf(s *v2.Settings) *v2.TelemetryCommand {
	return &v2.TelemetryCommand{Command: &v2.TelemetryCommand_Settings{Settings: s}}
}

func consumerSettings(group string, typ v2.ClientType, subs ...*v2.SubscriptionEntry) *v2.Settings {
	return &v2.Settings{ClientType: &typ, PubSub: &v2.Settings_Subscription{Subscription: &v2.Subscription{
		Group: resource(group), Subscriptions: subs,
	}}}
}

func producerSettings(topics ...string) *v2.Settings {
	p := &v2.Publishing{}
	for _, topic := range topics {
		p.Topics = append(p.Topics, resource(topic))
	}
	typ := v2.ClientType_PRODUCER
	return &v2.Settings{ClientType: &typ, PubSub: &v2.Settings_Publishing{Publishing: p}}
}

// introduce opens a client's stream with its settings and gives the answer.
func introduce(t testing.TB, c v2.MessagingServiceClient, ctx context.Context, s *v2.Settings) (telemetry, *v2.Settings) {
	t.Helper()
	stream, err := c.Telemetry(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(settingsOf(s)); err != nil {
		t.Fatal(err)
	}
	r, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return stream, r.GetSettings()
}

func TestSettingsComeBackWithTheBrokersWord(t *testing.T) {
	n := startNode(t, nodeOptions{})
	c := n.stub(t, false)

	_, s := introduce(t, c, as(t, "p"), producerSettings("orders"))
	if b := s.GetBackoffPolicy(); b.GetMaxAttempts() != 3 || b.GetExponentialBackoff().GetMultiplier() != 2 {
		t.Errorf("a producer's backoff: %v", b)
	}
	if p := s.GetPublishing(); p.GetMaxBodySize() != 4<<20 || !p.GetValidateMessageType() || len(p.GetTopics()) != 1 {
		t.Errorf("publishing: %v", p)
	}

	g := broker.DefaultGroup("fifo")
	g.Orderly, g.RetryMaxTimes = true, 4
	if err := n.broker.PutGroup(g); err != nil {
		t.Fatal(err)
	}
	_, s = introduce(t, c, as(t, "c1"), consumerSettings("fifo", v2.ClientType_PUSH_CONSUMER))
	if sub := s.GetSubscription(); !sub.GetFifo() || sub.GetReceiveBatchSize() != 32 || sub.GetLongPollingTimeout().GetSeconds() != 20 {
		t.Errorf("subscription: %v", sub)
	}
	if b := s.GetBackoffPolicy(); b.GetMaxAttempts() != 5 || len(b.GetCustomizedBackoff().GetNext()) != 18 {
		t.Errorf("a consumer's backoff: %v", b)
	}
	if m, err := n.broker.Consumers("fifo"); err != nil || len(m.Members) != 1 || m.Members[0].ClientID != "c1" {
		t.Errorf("members: %v, %v", m, err)
	}

	g.RetryPolicy = broker.DefaultGroup("").RetryPolicy
	g.RetryPolicy.Type = "EXPONENTIAL"
	if err := n.broker.PutGroup(g); err != nil {
		t.Fatal(err)
	}
	_, s = introduce(t, c, as(t, "c2"), consumerSettings("fifo", v2.ClientType_PUSH_CONSUMER))
	if e := s.GetBackoffPolicy().GetExponentialBackoff(); e.GetInitial().GetSeconds() != 5 || e.GetMultiplier() != 2 {
		t.Errorf("exponential backoff: %v", e)
	}
}

func TestSettingsThatAreNoneEndTheStream(t *testing.T) {
	n := startNode(t, nodeOptions{})
	c := n.stub(t, false)
	bad := &v2.SubscriptionEntry{
		Topic: resource("orders"), Expression: &v2.FilterExpression{Type: v2.FilterType_SQL, Expression: "a >"},
	}
	for name, s := range map[string]*v2.Settings{
		"neither":  {},
		"no group": consumerSettings("", v2.ClientType_PUSH_CONSUMER),
		"topic":    producerSettings("a b"),
		"filter":   consumerSettings("g", v2.ClientType_PUSH_CONSUMER, bad),
		"lite":     consumerSettings("g", 5),
		"lite too": consumerSettings("g", 6),
	} {
		t.Run(name, func(t *testing.T) {
			stream, err := c.Telemetry(as(t, "x"))
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Send(settingsOf(s)); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); status.Code(err) != grpccodes.InvalidArgument {
				t.Errorf("got %v, want INVALID_ARGUMENT", err)
			}
		})
	}
}

func TestAHeartbeatNeedsSettings(t *testing.T) {
	n := startNode(t, nodeOptions{})
	c, ctx := n.stub(t, false), as(t, "c1")
	beat := func() *v2.HeartbeatResponse {
		t.Helper()
		r, err := c.Heartbeat(ctx, &v2.HeartbeatRequest{Group: resource("g")})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	wantCode(t, beat(), v2.Code_UNRECOGNIZED_CLIENT_TYPE)
	introduce(t, c, ctx, consumerSettings("g", v2.ClientType_SIMPLE_CONSUMER))
	wantCode(t, beat(), v2.Code_OK)
	r, err := c.NotifyClientTermination(ctx, &v2.NotifyClientTerminationRequest{Group: resource("g")})
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, r, v2.Code_OK)
	if _, err := n.broker.Consumers("g"); err == nil {
		t.Error("the group still has its member")
	}
	wantCode(t, beat(), v2.Code_UNRECOGNIZED_CLIENT_TYPE)
}

func TestRoutes(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "typed", 2, "FIFO")
	n.topic(t, "any", 1, "")
	if err := n.broker.PutTopic(broker.Topic{Name: "uneven", ReadQueues: 3, WriteQueues: 1, Perm: 6}); err != nil {
		t.Fatal(err)
	}
	c, ctx := n.stub(t, true), as(t, "x")
	route := func(topic string) *v2.QueryRouteResponse {
		t.Helper()
		r, err := c.QueryRoute(ctx, &v2.QueryRouteRequest{Topic: resource(topic), Endpoints: &v2.Endpoints{
			Scheme: v2.AddressScheme_DOMAIN_NAME, Addresses: []*v2.Address{{Host: "forwarded.example", Port: 18081}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	wantCode(t, route("missing"), v2.Code_TOPIC_NOT_FOUND)
	r := route("typed")
	wantCode(t, r, v2.Code_OK)
	if q := r.GetMessageQueues(); len(q) != 2 || q[1].GetId() != 1 || len(q[0].GetAcceptMessageTypes()) != 1 ||
		q[0].GetBroker().GetEndpoints().GetAddresses()[0].GetHost() != "forwarded.example" {
		t.Errorf("route: %v", q)
	}
	if q := route("any").GetMessageQueues(); len(q[0].GetAcceptMessageTypes()) != 4 {
		t.Errorf("a topic that doesn't say takes %v", q[0].GetAcceptMessageTypes())
	}
	q := route("uneven").GetMessageQueues()
	if len(q) != 3 || q[0].GetPermission() != v2.Permission_READ_WRITE || q[2].GetPermission() != v2.Permission_READ {
		t.Errorf("three to read, one to write: %v", q)
	}
}

func TestAssignments(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 3, "")
	if err := n.broker.PutTopic(broker.Topic{Name: "shut", ReadQueues: 1, WriteQueues: 1, Perm: 2}); err != nil {
		t.Fatal(err)
	}
	g := broker.DefaultGroup("fifo")
	g.Orderly = true
	if err := n.broker.PutGroup(g); err != nil {
		t.Fatal(err)
	}
	c, ctx := n.stub(t, false), as(t, "x")
	for _, tc := range []struct {
		group, topic string
		code         v2.Code
		ids          []int32
	}{
		{"any", "orders", v2.Code_OK, []int32{-1}},
		{"fifo", "orders", v2.Code_OK, []int32{0, 1, 2}},
		{"any", "shut", v2.Code_FORBIDDEN, nil},
		{"any", "missing", v2.Code_TOPIC_NOT_FOUND, nil},
	} {
		r, err := c.QueryAssignment(ctx, &v2.QueryAssignmentRequest{Group: resource(tc.group), Topic: resource(tc.topic)})
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, r, tc.code)
		var ids []int32
		for _, a := range r.GetAssignments() {
			ids = append(ids, a.GetMessageQueue().GetId())
		}
		if len(ids) != len(tc.ids) || len(ids) > 0 && (ids[0] != tc.ids[0] || ids[len(ids)-1] != tc.ids[len(ids)-1]) {
			t.Errorf("%s of %s: queues %v, want %v", tc.topic, tc.group, ids, tc.ids)
		}
	}
}
