package remoting

import wire "varve/internal/remoting"

// 207 DELETE_SUBSCRIPTIONGROUP: remove a consumer group's settings.
//
// Versions: all; cleanOffset, which removes its progress too, came with 4.9.
func (f *Front) deleteGroup(_ *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	group, clean := p.Str("groupName"), p.OptBool("cleanOffset")
	if err := p.Err(); err != nil {
		return nil, err
	}
	if err := f.broker.DeleteGroup(group, clean); err != nil {
		return nil, err
	}
	return ok()
}
