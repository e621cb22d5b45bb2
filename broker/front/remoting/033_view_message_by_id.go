package remoting

import (
	"varve/internal/auth"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// 33 VIEW_MESSAGE_BY_ID: one message by the physical offset in its id.
//
// Versions: all; topic came with 5.x and is not needed.
//
// Behaviours: finds archived messages too; 1 where there is none.
func (f *Front) viewMessageByID(s *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	at := p.Int("offset")
	if err := p.Err(); err != nil {
		return nil, err
	}
	rec, err := f.broker.ViewMessage(s.conn.Context(), at)
	if err != nil {
		return nil, err
	}
	if err := f.mayRead(req, auth.Sub|auth.Get, rec); err != nil {
		return nil, err
	}
	return &wire.Command{Body: mq.WithoutTenant(rec, req.Namespace)}, nil
}
