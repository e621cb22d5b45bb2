package grpc

import (
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"google.golang.org/protobuf/types/known/durationpb"

	"varve/broker"
)

// What clients are told to do.
const (
	sendAttempts     = 3
	sendBackoff      = 10 * time.Millisecond
	sendBackoffMax   = time.Second
	sendBackoffTimes = 2
	receiveBatch     = 32
)

// complete gives a client's settings back with the broker's word on them. The
// client's own are not changed.
func (f *Front) complete(s *v2.Settings) *v2.Settings {
	out := &v2.Settings{
		ClientType: s.ClientType, AccessPoint: s.GetAccessPoint(), RequestTimeout: s.GetRequestTimeout(),
		UserAgent: s.GetUserAgent(), Metric: &v2.Metric{},
	}
	if p := s.GetPublishing(); p != nil {
		out.BackoffPolicy = &v2.RetryPolicy{
			MaxAttempts: sendAttempts,
			Strategy: &v2.RetryPolicy_ExponentialBackoff{ExponentialBackoff: &v2.ExponentialBackoff{
				Initial: durationpb.New(sendBackoff), Max: durationpb.New(sendBackoffMax), Multiplier: sendBackoffTimes,
			}},
		}
		out.PubSub = &v2.Settings_Publishing{Publishing: &v2.Publishing{
			Topics: p.GetTopics(), MaxBodySize: int32(f.broker.Live().MaxBodyBytes),
			ValidateMessageType: f.broker.Config().CheckTypes != broker.CheckNone,
		}}
		return out
	}
	sub := s.GetSubscription()
	g := f.group(nameOf(sub.GetGroup()))
	fifo, batch := g.Orderly, int32(receiveBatch)
	out.BackoffPolicy = retryPolicy(g)
	out.PubSub = &v2.Settings_Subscription{Subscription: &v2.Subscription{
		Group: sub.GetGroup(), Subscriptions: sub.GetSubscriptions(), Fifo: &fifo,
		ReceiveBatchSize: &batch, LongPollingTimeout: durationpb.New(maxPolling),
	}}
	return out
}

// group is a group's settings, or those that it would get.
func (f *Front) group(name string) *broker.Group {
	if g, ok := f.broker.Group(name); ok {
		return g
	}
	g := broker.DefaultGroup(name)
	return &g
}

// Delays of a group that has none of its own.
var defaultDelays = []time.Duration{
	time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 3 * time.Minute, 4 * time.Minute, 5 * time.Minute, 6 * time.Minute,
	7 * time.Minute, 8 * time.Minute, 9 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour,
}

// firstRetryDelay is the first of defaultDelays that a retry has.
const firstRetryDelay = 2

// retryDelay is the time from a delivery that failed to the next, after so many
// deliveries before it.
func retryDelay(g *broker.Group, before int32) time.Duration {
	if g.RetryPolicy.Own() {
		return g.RetryPolicy.Delay(before)
	}
	return defaultDelays[min(firstRetryDelay+int(max(before, 0)), len(defaultDelays)-1)]
}

// retryPolicy is a group's in the protocol's form. Attempts count the first
// delivery too, retries don't.
func retryPolicy(g *broker.Group) *v2.RetryPolicy {
	out := &v2.RetryPolicy{MaxAttempts: g.RetryMaxTimes + 1}
	if g.RetryPolicy.Type == broker.RetryExponential {
		p := g.RetryPolicy.Growth()
		e := &v2.ExponentialBackoff{
			Initial:    durationpb.New(time.Duration(p.InitialMillis) * time.Millisecond),
			Max:        durationpb.New(time.Duration(p.MaxMillis) * time.Millisecond),
			Multiplier: float32(p.Multiplier),
		}
		out.Strategy = &v2.RetryPolicy_ExponentialBackoff{ExponentialBackoff: e}
		return out
	}
	next := &v2.CustomizedBackoff{}
	if g.RetryPolicy.Own() {
		for _, ms := range g.RetryPolicy.Customized.NextMillis {
			next.Next = append(next.Next, durationpb.New(time.Duration(ms)*time.Millisecond))
		}
	} else {
		for _, d := range defaultDelays {
			next.Next = append(next.Next, durationpb.New(d))
		}
	}
	out.Strategy = &v2.RetryPolicy_CustomizedBackoff{CustomizedBackoff: next}
	return out
}
