package remoting

import wire "varve/internal/remoting"

// 300 QUERY_TOPIC_CONSUME_BY_WHO: the groups that consume a topic or have
// progress in it.
//
// Versions: all.
func (f *Front) queryTopicConsumeByWho(_ *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	topic := p.Str("topic")
	if err := p.Err(); err != nil {
		return nil, err
	}
	return withJSON(struct {
		Groups []string `json:"groupList"`
	}{orEmpty(f.broker.GroupsOfTopic(topic))})
}

// orEmpty makes a list that is written as [] where there is none.
func orEmpty(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}
