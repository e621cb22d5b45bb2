package grpc_test

import (
	"context"
	"strings"
	"testing"
	"time"

	golang "github.com/apache/rocketmq-clients/golang/v5"
	"github.com/apache/rocketmq-clients/golang/v5/credentials"
	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"google.golang.org/grpc/metadata"

	front "varve/broker/front/grpc"
	"varve/internal/auth"
	"varve/internal/meta"
)

// The real Go client with its credentials sends to the topic that its user may
// send to, and to no other; without credentials nothing works.
func TestCredentials(t *testing.T) {
	users := func(m *meta.Store) *auth.Store {
		s, err := auth.Open(m, auth.Config{On: true, Key: auth.NewKey(), Cluster: "DefaultCluster"})
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range []auth.User{{Name: "root", Password: "root", Type: auth.Super}, {Name: "u", Password: "pw"}} {
			if err := s.CreateUser(auth.Anybody, u); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.PutACL(auth.Anybody, auth.ACL{Subject: "User:u", Policies: []auth.Policy{{Entries: []auth.Entry{
			{Resource: "Topic:mine", Actions: []string{"Pub"}, Decision: auth.Allow},
		}}}}); err != nil {
			t.Fatal(err)
		}
		return s
	}
	n := startNode(t, nodeOptions{users: users})
	n.topic(t, "mine", 1, "NORMAL")
	n.topic(t, "theirs", 1, "NORMAL")
	conf := n.client(t)
	conf.Credentials = &credentials.SessionCredentials{AccessKey: "u", AccessSecret: "pw"}
	p, err := golang.NewProducer(conf, golang.WithTopics("mine"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.GracefulStop() }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := p.Send(ctx, &golang.Message{Topic: "mine", Body: []byte("x")}); err != nil {
		t.Errorf("send: %v", err)
	}
	if _, err := p.Send(ctx, &golang.Message{Topic: "theirs", Body: []byte("x")}); err == nil {
		t.Error("a send to another's topic is taken")
	}
	call := metadata.AppendToOutgoingContext(ctx, "x-mq-client-id", "c")
	r, err := n.stub(t, false).QueryRoute(call, &v2.QueryRouteRequest{Topic: &v2.Resource{Name: "mine"}})
	if err != nil || r.GetStatus().GetCode() != v2.Code_UNAUTHORIZED || !strings.Contains(r.GetStatus().GetMessage(), "not signed") {
		t.Errorf("unsigned: %v, %v", r, err)
	}
}

// Where TLS alone is taken, plaintext gets no answer.
func TestTLSOnly(t *testing.T) {
	n := startNode(t, nodeOptions{front: front.Config{TLSOnly: true}})
	n.topic(t, "mine", 1, "")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	call := metadata.AppendToOutgoingContext(ctx, "x-mq-client-id", "c")
	for withTLS, want := range map[bool]bool{true: true, false: false} {
		_, err := n.stub(t, withTLS).QueryRoute(call, &v2.QueryRouteRequest{Topic: &v2.Resource{Name: "mine"}, Endpoints: &v2.Endpoints{}})
		if want != (err == nil) {
			t.Errorf("TLS %v: %v", withTLS, err)
		}
	}
}
