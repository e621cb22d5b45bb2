package remoting

import wire "varve/internal/remoting"

// 314 CLONE_GROUP_OFFSET: give one group the progress of another.
//
// Versions: all.
//
// Behaviours: without a topic it is all topics.
func (f *Front) cloneGroupOffset(_ *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	from, to, topic := p.Str("srcGroup"), p.Str("destGroup"), p.OptStr("topic")
	if err := p.Err(); err != nil {
		return nil, err
	}
	if err := f.broker.CloneOffsets(from, to, topic); err != nil {
		return nil, err
	}
	return ok()
}
