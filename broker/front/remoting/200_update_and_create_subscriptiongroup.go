package remoting

import (
	"encoding/json"

	"varve/broker"
	wire "varve/internal/remoting"
)

// 200 UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: create a consumer group or replace
// its settings.
//
// Versions: all.
//
// Behaviours: settings that the body leaves out take their defaults.
func (f *Front) updateAndCreateGroup(_ *session, req *wire.Command) (*wire.Command, error) {
	return f.putGroup(req.Body)
}

func (f *Front) putGroup(raw []byte) (*wire.Command, error) {
	g := broker.DefaultGroup("")
	if err := json.Unmarshal(raw, &g); err != nil {
		return nil, refused(wire.SystemError, "subscription group: body is not the JSON that it should be: %v", err)
	}
	if err := f.broker.PutGroup(g); err != nil {
		return nil, err
	}
	return ok()
}
