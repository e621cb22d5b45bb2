package grpc_test

import (
	"context"
	"crypto/tls"
	"os"
	"testing"
	"time"

	golang "github.com/apache/rocketmq-clients/golang/v5"
	"github.com/apache/rocketmq-clients/golang/v5/credentials"
	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	rpc "google.golang.org/grpc"
	tlscreds "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"varve/broker"
	"varve/broker/front/fronttest"
	front "varve/broker/front/grpc"
	"varve/hot"
	"varve/internal/auth"
	"varve/internal/meta"
)

// TestMain keeps the client's log out of the home directory.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "rocketmq-client-log")
	if err != nil {
		panic(err)
	}
	_ = os.Setenv("rocketmq.client.logRoot", dir)
	golang.ResetLogger()
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// node is a broker with its gRPC front on a free port.
type node struct {
	broker *broker.Broker
	log    *hot.Store
	front  *front.Front
	addr   string
}

// nodeOptions change what startNode makes.
type nodeOptions struct {
	conf  func(*broker.Config)
	front front.Config
	deps  func(*broker.Deps)
	fs    vfs.FS // in place of the disk
	log   func(*hot.Options)
	users func(*meta.Store) *auth.Store // access control; none where nil
}

// startNode runs a node until the test ends.
func startNode(t testing.TB, o nodeOptions) *node {
	t.Helper()
	ln, addr := fronttest.Listen(t)
	b := fronttest.Open(t, fronttest.Options{Addr: addr, Conf: o.conf, Deps: o.deps, FS: o.fs, Log: o.log})
	cert, err := selfSigned()
	if err != nil {
		t.Fatal(err)
	}
	o.front.Listen = addr
	o.front.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if o.users != nil {
		o.front.Auth = o.users(b.State)
	}
	f, err := front.New(b.Broker, o.front)
	if err != nil {
		t.Fatal(err)
	}
	b.With("front", func(ctx context.Context) error { return f.Serve(ctx, ln) }).Run(t)
	return &node{broker: b.Broker, log: b.Log, front: f, addr: addr.String()}
}

// topic makes a topic of n queues; typ is the type of its messages, "" for all.
func (n *node) topic(t testing.TB, name string, queues int32, typ string) {
	t.Helper()
	c := broker.Topic{Name: name, ReadQueues: queues, WriteQueues: queues, Perm: 6}
	if typ != "" {
		c.Attributes = map[string]string{"message.type": typ}
	}
	if err := n.broker.PutTopic(c); err != nil {
		t.Fatal(err)
	}
}

// client is the settings of the real client, whose own races are not ours to
// find.
func (n *node) client(t testing.TB) *golang.Config {
	t.Helper()
	if raceDetector {
		t.Skip("the Go client has data races of its own")
	}
	return &golang.Config{Endpoint: n.addr, Credentials: &credentials.SessionCredentials{}}
}

// stub is the bare protocol, over TLS or in plaintext.
func (n *node) stub(t testing.TB, withTLS bool) v2.MessagingServiceClient {
	t.Helper()
	creds := insecure.NewCredentials()
	if withTLS {
		creds = tlscreds.NewTLS(&tls.Config{InsecureSkipVerify: true}) //nolint:gosec // as the clients do
	}
	c, err := rpc.NewClient(n.addr, rpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return v2.NewMessagingServiceClient(c)
}

// as is a context of a client's calls.
func as(t testing.TB, id string) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, "x-mq-client-id", id, "x-mq-language", "GO", "x-mq-client-version", "5.1.3")
}

func resource(name string) *v2.Resource { return &v2.Resource{Name: name} }

// message is a message as a client sends it.
func message(topic, id, body string) *v2.Message {
	return &v2.Message{
		Topic: resource(topic), Body: []byte(body),
		SystemProperties: &v2.SystemProperties{MessageId: id, MessageType: v2.MessageType_NORMAL, BornHost: "here"},
	}
}

// sendOK sends messages and gives their results.
func sendOK(t testing.TB, c v2.MessagingServiceClient, ctx context.Context, msgs ...*v2.Message) []*v2.SendResultEntry {
	t.Helper()
	r, err := c.SendMessage(ctx, &v2.SendMessageRequest{Messages: msgs})
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, r, v2.Code_OK)
	return r.GetEntries()
}

func wantCode(t testing.TB, r interface{ GetStatus() *v2.Status }, want v2.Code) {
	t.Helper()
	if s := r.GetStatus(); s.GetCode() != want {
		t.Fatalf("%T: got %s (%s), want %s", r, s.GetCode(), s.GetMessage(), want)
	}
}
