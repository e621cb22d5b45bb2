package remoting

import (
	"varve/broker"
	wire "varve/internal/remoting"
)

// heartbeatBody is HeartbeatData in JSON.
type heartbeatBody struct {
	ClientID    string          `json:"clientID"`
	Producers   []producerEntry `json:"producerDataSet"`
	Consumers   []consumerEntry `json:"consumerDataSet"`
	Fingerprint int32           `json:"heartbeatFingerprint"`
	WithoutSub  bool            `json:"withoutSub"`
}

type producerEntry struct {
	GroupName string `json:"groupName"`
}

type consumerEntry struct {
	GroupName     string         `json:"groupName"`
	ConsumeType   string         `json:"consumeType"`
	MessageModel  string         `json:"messageModel"`
	ConsumeFrom   string         `json:"consumeFromWhere"`
	Subscriptions []subscription `json:"subscriptionDataSet"`
	UnitMode      bool           `json:"unitMode"`
}

func (c *consumerEntry) beat() broker.ConsumerBeat {
	b := broker.ConsumerBeat{
		Group: c.GroupName, ConsumeType: c.ConsumeType, MessageModel: c.MessageModel,
		ConsumeFrom: c.ConsumeFrom, Unit: c.UnitMode,
	}
	for i := range c.Subscriptions {
		b.Subscriptions = append(b.Subscriptions, c.Subscriptions[i].core())
	}
	return b
}

// Limits of one heartbeat.
const (
	maxBeatGroups        = 10_000
	maxBeatSubscriptions = 100_000
)

func (h *heartbeatBody) check() error {
	n := 0
	for i := range h.Consumers {
		n += len(h.Consumers[i].Subscriptions)
	}
	if len(h.Producers)+len(h.Consumers) > maxBeatGroups || n > maxBeatSubscriptions {
		return refused(wire.InvalidParameter, "heartbeat of client %q names %d groups and %d subscriptions, want at most %d and %d",
			h.ClientID, len(h.Producers)+len(h.Consumers), n, maxBeatGroups, maxBeatSubscriptions)
	}
	return nil
}

// 34 HEART_BEAT: a client's groups and their subscriptions, every 30 s.
//
// Versions: JSON body of all; heartbeatFingerprint and withoutSub, with which
// a client leaves out subscriptions that it has sent, came with 5.1 (V2).
//
// Behaviours: creates the groups and their retry topics; a change of a group
// pushes code 40 to its members. IS_SUB_CHANGE asks a V2 client for its
// subscriptions again. The reply's version is what clients judge features by.
func (f *Front) heartbeat(s *session, req *wire.Command) (*wire.Command, error) {
	var body heartbeatBody
	if err := fromJSON(req, &body); err != nil {
		return nil, err
	}
	if err := body.check(); err != nil {
		return nil, err
	}
	hb := broker.Heartbeat{
		ClientID: body.ClientID, Language: req.Language.String(), Version: req.Version,
		Fingerprint: body.Fingerprint, WithoutSub: body.WithoutSub,
	}
	for _, p := range body.Producers {
		hb.Producers = append(hb.Producers, inNamespace(req, p.GroupName))
	}
	for i := range body.Consumers {
		hb.Consumers = append(hb.Consumers, body.Consumers[i].beat())
	}
	caller := f.caller(req)
	s.beater.Store(&caller)
	ns := req.Namespace
	s.namespace.Store(&ns)
	resend, err := f.broker.Heartbeat(s, &hb)
	if err != nil {
		return nil, err
	}
	s.identify(hb.ClientID)
	resp := &wire.Command{}
	resp.Ext.Set("IS_SUPPORT_HEART_BEAT_V2", "true")
	resp.Ext.SetBool("IS_SUB_CHANGE", resend || body.Fingerprint == 0)
	return resp, nil
}
