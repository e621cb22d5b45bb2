package remoting

import (
	"fmt"

	"varve/broker"
	wire "varve/internal/remoting"
)

// 352 GET_SUBSCRIPTIONGROUP_CONFIG: one consumer group's settings.
//
// Versions: 4.9 on.
func (f *Front) getGroupConfig(_ *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	name := p.Str("group")
	if err := p.Err(); err != nil {
		return nil, err
	}
	g, has := f.broker.Group(name)
	if !has {
		return nil, fmt.Errorf("%w: %q", broker.ErrNoGroup, name)
	}
	return withJSON(g)
}
