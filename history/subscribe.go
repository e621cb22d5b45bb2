package history

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"varve/internal/mq"
	"varve/internal/remoting"
)

// Bounds of what heartbeats may leave behind.
const (
	maxSubscriptions = 1 << 16
	maxTags          = 1024
)

// subscriptions are what groups subscribe to, as their heartbeats say. They
// are kept in memory only: clients repeat them every 30 s. The one used
// longest ago goes first.
type subscriptions struct {
	custom func(kind, expression string) (mq.Filter, error)
	ask    func(group, topic string) (Subscription, bool) // nil where nobody else knows

	mu  sync.Mutex
	all *lru[subscriber, subscription]
}

type subscriber struct{ group, topic string }

type subscription struct {
	kind, expression string
	version          int64
	filter           mq.Filter
	err              error
}

// Subscription is what a group wants of a topic.
type Subscription struct {
	Kind, Expression string // TAG or SQL92, and the expression
	Version          int64
}

func newSubscriptions(cfg ServerConfig) *subscriptions {
	return &subscriptions{
		custom: cfg.Compile, ask: cfg.Subscription,
		all: newLRU[subscriber, subscription](maxSubscriptions, nil),
	}
}

// filter gives the filter of a group's subscription: that of the newest
// heartbeat here, or of one that only the broker has seen.
func (s *subscriptions) filter(group, topic string, version int64) (mq.Filter, error) {
	k := subscriber{group, topic}
	sub, ok := s.get(k)
	if s.ask != nil && (!ok || sub.version < version) {
		if known, found := s.ask(group, topic); found {
			s.set(k, subscription{kind: known.Kind, expression: known.Expression, version: known.Version})
			sub, ok = s.get(k)
		}
	}
	switch {
	case !ok:
		return nil, &refused{remoting.SubscriptionNotExist, fmt.Sprintf("group %s has not subscribed to %s here yet", group, topic)}
	case sub.version < version:
		return nil, &refused{remoting.SubscriptionNotLatest, fmt.Sprintf("subscription of %s to %s is older than the pull's", group, topic)}
	}
	return sub.filter, sub.err
}

func (s *subscriptions) get(k subscriber) (subscription, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.get(k)
}

func (s *subscriptions) set(k subscriber, sub subscription) {
	old, ok := s.get(k)
	switch {
	case ok && sub.version < old.version:
		return
	case ok && sub.kind == old.kind && sub.expression == old.expression:
		sub.filter, sub.err = old.filter, old.err
	default:
		sub.filter, sub.err = s.compile(sub.kind, sub.expression)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.put(k, sub, 1)
}

func (s *subscriptions) compile(kind, expression string) (f mq.Filter, err error) {
	switch {
	case kind == "" || kind == "TAG":
		f, err = tagFilter(expression)
	case s.custom == nil:
		err = fmt.Errorf("expression type %s is not served here", kind)
	default:
		f, err = s.custom(kind, expression)
	}
	if err != nil {
		return nil, &refused{remoting.SubscriptionParseFailed, err.Error()}
	}
	return f, nil
}

// tags keeps the messages of some tags. Clients look at the tag itself once
// more, so the hash decides.
type tags map[int64]struct{}

// keepsAll says that an expression lets every message through.
func keepsAll(kind, expression string) bool {
	e := strings.TrimSpace(expression)
	return (kind == "" || kind == "TAG") && (e == "" || e == "*")
}

// tagFilter reads "a || b"; nil for "*" and empty, which keep all.
func tagFilter(expression string) (mq.Filter, error) {
	if keepsAll("TAG", expression) {
		return nil, nil
	}
	t := tags{}
	for part := range strings.SplitSeq(expression, "||") {
		if tag := strings.TrimSpace(part); tag != "" {
			t[mq.TagHash(tag)] = struct{}{}
		}
		if len(t) > maxTags {
			return nil, fmt.Errorf("more than %d tags", maxTags)
		}
	}
	if len(t) == 0 {
		return nil, fmt.Errorf("tag expression %q names no tag", expression)
	}
	return t, nil
}

// MatchTag implements mq.Filter.
func (t tags) MatchTag(hash int64) bool {
	_, ok := t[hash]
	return ok
}

// MatchRecord implements mq.Filter.
func (t tags) MatchRecord(mq.Record) bool { return true }

// heartbeatBody is the part of a client's heartbeat that a reader needs.
type heartbeatBody struct {
	Consumers []struct {
		Group         string `json:"groupName"`
		Subscriptions []struct {
			Topic   string `json:"topic"`
			Expr    string `json:"subString"`
			Version int64  `json:"subVersion"`
			Kind    string `json:"expressionType"`
		} `json:"subscriptionDataSet"`
	} `json:"consumerDataSet"`
}

// heartbeat takes the subscriptions. Membership is the broker's business: the
// client beats there too.
func (s *Server) heartbeat(_ context.Context, req *remoting.Command) (*remoting.Command, error) {
	var body heartbeatBody
	if err := json.Unmarshal(req.Body, &body); err != nil {
		return nil, fmt.Errorf("heartbeat: %w", err)
	}
	for _, g := range body.Consumers {
		for _, sub := range g.Subscriptions {
			s.subs.set(subscriber{g.Group, sub.Topic}, subscription{kind: sub.Kind, expression: sub.Expr, version: sub.Version})
		}
	}
	return &remoting.Command{}, nil
}

// unregister needs nothing: other members of the group may still read here.
func (s *Server) unregister(context.Context, *remoting.Command) (*remoting.Command, error) {
	return &remoting.Command{}, nil
}

// checkConfig compiles a client's expression before it starts.
func (s *Server) checkConfig(_ context.Context, req *remoting.Command) (*remoting.Command, error) {
	var body struct {
		Subscription struct {
			Expr string `json:"subString"`
			Kind string `json:"expressionType"`
		} `json:"subscriptionData"`
	}
	if err := json.Unmarshal(req.Body, &body); err != nil {
		return nil, fmt.Errorf("client configuration: %w", err)
	}
	_, err := s.subs.compile(body.Subscription.Kind, body.Subscription.Expr)
	return &remoting.Command{}, err
}
