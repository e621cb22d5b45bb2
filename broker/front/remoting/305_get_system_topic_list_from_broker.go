package remoting

import (
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// 305 GET_SYSTEM_TOPIC_LIST_FROM_BROKER: the topics that are the broker's own.
//
// Versions: all.
func (f *Front) getSystemTopicList(*session, *wire.Command) (*wire.Command, error) {
	names := []string{}
	for _, t := range f.broker.Topics() {
		if mq.SystemTopic(t.Name) {
			names = append(names, t.Name)
		}
	}
	return withJSON(topicList{names})
}

// topicList is RocketMQ's TopicList in JSON.
type topicList struct {
	Topics []string `json:"topicList"`
}
