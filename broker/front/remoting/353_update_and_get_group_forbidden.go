package remoting

import (
	"fmt"

	"varve/broker"
	wire "varve/internal/remoting"
)

// 353 UPDATE_AND_GET_GROUP_FORBIDDEN: may a group read a topic?
//
// Versions: 5.0 on.
//
// Behaviours: with readable the answer is set first, durably; pulls of a group
// that may not read get 16.
func (f *Front) updateAndGetGroupForbidden(_ *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	group, topic, readable := p.Str("group"), p.Str("topic"), p.OptStr("readable")
	if err := p.Err(); err != nil {
		return nil, err
	}
	if readable != "" && readable != "null" {
		if err := f.broker.Forbid(group, topic, readable != "true"); err != nil {
			return nil, err
		}
	}
	g, has := f.broker.Group(group)
	if !has {
		return nil, fmt.Errorf("%w: %q", broker.ErrNoGroup, group)
	}
	return withJSON(struct {
		Group    string `json:"group"`
		Topic    string `json:"topic"`
		Readable bool   `json:"readable"`
	}{group, topic, !g.Forbids(topic)})
}

// forbiddenRead is the bit of a forbidden right to read in RocketMQ's table.
const forbiddenRead = 1 << 2

// forbiddenTable is what groups may not read, as code 201 gives it.
func forbiddenTable(groups []*broker.Group) map[string]map[string]int {
	out := map[string]map[string]int{}
	for _, g := range groups {
		for _, topic := range g.Forbidden {
			if out[g.Name] == nil {
				out[g.Name] = map[string]int{}
			}
			out[g.Name][topic] = forbiddenRead
		}
	}
	return out
}
