package remoting

import (
	"varve/broker"
	wire "varve/internal/remoting"
)

// connection is RocketMQ's Connection in JSON.
type connection struct {
	ClientAddr string `json:"clientAddr"`
	ClientID   string `json:"clientId"`
	Language   string `json:"language"`
	Version    int    `json:"version"`
}

func connections(ms []broker.Member) []connection {
	out := make([]connection, len(ms))
	for i, m := range ms {
		out[i] = connection{m.Client.RemoteAddr().String(), m.ClientID, m.Language, m.Version}
	}
	return out
}

// 203 GET_CONSUMER_CONNECTION_LIST: the members of a consumer group and what
// it subscribes to.
//
// Versions: all.
//
// Behaviours: 206 where nobody is connected.
func (f *Front) getConsumerConnectionList(_ *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	group := p.Str("consumerGroup")
	if err := p.Err(); err != nil {
		return nil, err
	}
	m, err := f.broker.Consumers(group)
	if err != nil {
		return nil, err
	}
	subs := map[string]*broker.Subscription{}
	for _, s := range m.Subscriptions {
		subs[s.Topic] = s
	}
	return withJSON(struct {
		Connections   []connection                    `json:"connectionSet"`
		ConsumeFrom   string                          `json:"consumeFromWhere"`
		ConsumeType   string                          `json:"consumeType"`
		MessageModel  string                          `json:"messageModel"`
		Subscriptions map[string]*broker.Subscription `json:"subscriptionTable"`
	}{connections(m.Members), m.ConsumeFrom, m.ConsumeType, m.MessageModel, subs})
}
