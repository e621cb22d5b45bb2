package remoting

import (
	"errors"

	"varve/broker"
	wire "varve/internal/remoting"
)

// 345 QUERY_SUBSCRIPTION_BY_CONSUMER: what a group wants of a topic.
//
// Versions: all.
//
// Behaviours: subscriptionData is left out where it isn't known.
func (f *Front) querySubscriptionByConsumer(_ *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	group, topic := p.Str("group"), p.Str("topic")
	if err := p.Err(); err != nil {
		return nil, err
	}
	sub, err := f.broker.SubscriptionOf(group, topic)
	if err != nil && !errors.Is(err, broker.ErrNoSubscription) {
		return nil, err
	}
	return withJSON(struct {
		Group        string               `json:"group"`
		Topic        string               `json:"topic"`
		Subscription *broker.Subscription `json:"subscriptionData,omitempty"`
	}{group, topic, sub})
}
