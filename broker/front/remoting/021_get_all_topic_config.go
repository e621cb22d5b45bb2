package remoting

import (
	"varve/broker"
	wire "varve/internal/remoting"
)

// 21 GET_ALL_TOPIC_CONFIG: every topic's settings.
//
// Versions: all.
func (f *Front) getAllTopicConfig(*session, *wire.Command) (*wire.Command, error) {
	table := map[string]*broker.Topic{}
	for _, t := range f.broker.Topics() {
		table[t.Name] = t
	}
	return withJSON(struct {
		DataVersion dataVersion              `json:"dataVersion"`
		Topics      map[string]*broker.Topic `json:"topicConfigTable"`
	}{dataVersion{Counter: f.broker.TopicsVersion()}, table})
}
