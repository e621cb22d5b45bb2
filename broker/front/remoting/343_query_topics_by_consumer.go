package remoting

import wire "varve/internal/remoting"

// 343 QUERY_TOPICS_BY_CONSUMER: the topics that a group consumes or has
// progress in.
//
// Versions: all.
func (f *Front) queryTopicsByConsumer(_ *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	group := p.Str("group")
	if err := p.Err(); err != nil {
		return nil, err
	}
	return withJSON(topicList{orEmpty(f.broker.TopicsOfGroup(group))})
}
