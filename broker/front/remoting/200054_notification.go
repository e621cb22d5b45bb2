package remoting

import (
	"time"

	"varve/broker"
	wire "varve/internal/remoting"
)

// 200054 NOTIFICATION (3446): be told when a POP would find something.
//
// Versions: 5.0 on; proxies only.
//
// Behaviours: always 0; hasMsg says whether there is something, at the latest
// after pollTime, pollingFull that too many wait.
func (f *Front) notification(s *session, req *wire.Command) {
	from := req.From()
	p := req.Ext.Parse()
	r := &broker.PopRequest{
		QueueID: p.Int32("queueId"), Wait: time.Duration(p.Int("pollTime")) * time.Millisecond,
		Expression: p.OptStr("exp"), ExpressionType: p.OptStr("expType"),
		Ordered: p.OptBool("order"), AttemptID: p.OptStr("attemptId"), FromMin: true, Client: s,
	}
	err := p.Err()
	if err == nil {
		r.Group, r.Topic, err = s.groupAndTopic(req)
	}
	if err != nil {
		f.refuse(s, "NOTIFICATION", from, err)
		return
	}
	s.conn.Do(from, func() {
		f.broker.PopReady(s.conn.Context(), r, func(ready, full bool, err error) {
			if err != nil {
				f.refuse(s, "NOTIFICATION", from, err)
				return
			}
			resp := &wire.Command{}
			resp.Ext.SetBool("hasMsg", ready)
			resp.Ext.SetBool("pollingFull", full)
			s.conn.Reply(from, resp)
		})
	})
}
