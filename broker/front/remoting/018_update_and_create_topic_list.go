package remoting

import (
	"strings"

	"varve/broker"
	wire "varve/internal/remoting"
)

// 18 UPDATE_AND_CREATE_TOPIC_LIST: code 17 for several topics.
//
// Versions: 5.2 on.
//
// Behaviours: one after the other; the first that is refused ends it, and the
// answer names it.
func (f *Front) updateAndCreateTopicList(_ *session, req *wire.Command) (*wire.Command, error) {
	var body struct {
		Topics []broker.Topic `json:"topicConfigList"`
	}
	if err := fromJSON(req, &body); err != nil {
		return nil, err
	}
	for _, t := range body.Topics {
		var changes []string
		for name, value := range t.Attributes {
			switch {
			case strings.HasPrefix(name, "-"):
				changes = append(changes, name)
			default:
				changes = append(changes, "+"+strings.TrimPrefix(name, "+")+"="+value)
			}
		}
		if err := f.putTopic(t, strings.Join(changes, ",")); err != nil {
			return nil, err
		}
	}
	return ok()
}
