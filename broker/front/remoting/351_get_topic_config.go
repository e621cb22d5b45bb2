package remoting

import (
	"fmt"

	"varve/broker"
	wire "varve/internal/remoting"
)

// 351 GET_TOPIC_CONFIG: one topic's settings.
//
// Versions: 4.9 on.
func (f *Front) getTopicConfig(_ *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	name := p.Str("topic")
	if err := p.Err(); err != nil {
		return nil, err
	}
	t, has := f.broker.Topic(name)
	if !has {
		return nil, fmt.Errorf("%w: %q", broker.ErrNoTopic, name)
	}
	return withJSON(t)
}
