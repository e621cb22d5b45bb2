package remoting

import (
	"encoding/json"

	wire "varve/internal/remoting"
)

// 225 UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST: code 200 for several groups.
//
// Versions: 5.2 on.
//
// Behaviours: one after the other; the first that is refused ends it.
func (f *Front) updateAndCreateGroupList(_ *session, req *wire.Command) (*wire.Command, error) {
	var body struct {
		Groups []json.RawMessage `json:"groupConfigList"`
	}
	if err := fromJSON(req, &body); err != nil {
		return nil, err
	}
	for _, raw := range body.Groups {
		if _, err := f.putGroup(raw); err != nil {
			return nil, err
		}
	}
	return ok()
}
