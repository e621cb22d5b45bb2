package remoting

import (
	"errors"
	"time"

	"varve/broker"
	wire "varve/internal/remoting"
)

// 200053 CHANGE_MESSAGE_INVISIBLETIME (3445): when a delivery's message comes
// again, counted from now. Clients give back with it what they couldn't
// consume.
//
// Versions: 5.0 on; suspend came with 5.3.
//
// Behaviours: the handle is void from then on, the answer has what the new one
// is made of. With suspend the delivery doesn't count as a try. 208 where the
// message was taken back already.
func (f *Front) changeInvisibleTime(s *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	d, suspend := time.Duration(p.Int("invisibleTime"))*time.Millisecond, p.OptBool("suspend")
	if err := p.Err(); err != nil {
		return nil, err
	}
	group, h, err := parseHandle(req, false)
	if err != nil {
		return nil, err
	}
	resp := &wire.Command{}
	h, err = f.broker.ChangeInvisible(s.conn.Context(), group, h, d, suspend)
	switch {
	case errors.Is(err, broker.ErrHandleExpired): // clients read the fields whatever the code
		resp.Code, resp.Remark = wire.NoMessage, err.Error()
	case err != nil:
		return nil, err
	}
	resp.Ext.SetInt("popTime", h.PopMillis)
	resp.Ext.SetInt("invisibleTime", h.InvisibleMillis)
	resp.Ext.SetInt("reviveQid", int64(h.Revive))
	return resp, nil
}
