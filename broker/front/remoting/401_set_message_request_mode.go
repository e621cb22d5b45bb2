package remoting

import (
	"varve/broker"
	wire "varve/internal/remoting"
)

// 401 SET_MESSAGE_REQUEST_MODE: whether a group's clients pull from a topic or
// POP from it.
//
// Versions: 5.0 on.
//
// Behaviours: counts for clients that ask the broker for their queues (400). A
// group that isn't there yet is created where a client's heartbeat would create
// it. A retry topic is always pulled: 16.
func (f *Front) setMessageRequestMode(_ *session, req *wire.Command) (*wire.Command, error) {
	mode := broker.RequestMode{Mode: broker.ModePull}
	if err := fromJSON(req, &mode); err != nil {
		return nil, err
	}
	if err := f.broker.SetRequestMode(mode); err != nil {
		return nil, err
	}
	return ok()
}

// 402 GET_ALL_MESSAGE_REQUEST_MODE: what 401 has set, by topic and group.
//
// Versions: 5.0 on.
func (f *Front) getAllMessageRequestMode(_ *session, _ *wire.Command) (*wire.Command, error) {
	out := map[string]map[string]broker.RequestMode{}
	for _, m := range f.broker.RequestModes() {
		if out[m.Topic] == nil {
			out[m.Topic] = map[string]broker.RequestMode{}
		}
		out[m.Topic][m.Group] = *m
	}
	return withJSON(struct {
		Map map[string]map[string]broker.RequestMode `json:"messageRequestModeMap"`
	}{out})
}
