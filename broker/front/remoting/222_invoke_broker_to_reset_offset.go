package remoting

import (
	"context"
	"log/slog"

	"varve/broker"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// 222 INVOKE_BROKER_TO_RESET_OFFSET: set a group's progress in a topic to a
// time or, for one queue, to an offset.
//
// Versions: all; queueId and offset came with 5.0.
//
// Behaviours: done in the broker: the next pull of each queue gets 21 with the
// new offset once, and commits until then are dropped, so it takes effect with
// clients of every language. timestamp -1 is the end. The body's map has
// MessageQueue objects for keys. With useServerSideResetOffset=false (code 25)
// the members that are connected are told by code 220 to do it, as before 5.0;
// 206 where there is none.
func (f *Front) invokeBrokerToResetOffset(s *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	r := broker.ResetRequest{
		Topic:      p.Str("topic"),
		Group:      p.Str("group"),
		QueueID:    p.OptInt32("queueId", broker.AnyQueue),
		Offset:     p.OptInt("offset", -1),
		TimeMillis: p.Int("timestamp"),
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	reset := f.broker.ResetOffset
	if f.broker.Live().ResetByClients {
		reset = f.resetByClients
	}
	table, err := reset(s.conn.Context(), &r)
	if err != nil {
		return nil, err
	}
	body, err := withQueueMap(nil, "offsetTable", queueMap[int64](table), "")
	if err != nil {
		return nil, err
	}
	return &wire.Command{Body: body}, nil
}

// resetByClients has the members of a group set their progress themselves.
func (f *Front) resetByClients(ctx context.Context, r *broker.ResetRequest) (map[mq.Queue]int64, error) {
	table, err := f.broker.ResetTargets(ctx, r)
	if err != nil {
		return nil, err
	}
	members, err := f.broker.Consumers(r.Group)
	if err != nil {
		return nil, err
	}
	for _, m := range members.Members {
		target, isRemoting := m.Client.(*session)
		if !isRemoting {
			continue
		}
		push := wire.NewRequest(wire.ResetConsumerOffset, "topic", target.called(r.Topic), "group", target.called(r.Group))
		push.Ext.SetInt("timestamp", r.TimeMillis)
		push.Ext.SetBool("isForce", true)
		if push.Body, err = target.offsetTable(table, m.Language); err != nil {
			return nil, err
		}
		if err := target.conn.Push(push); err != nil {
			f.cfg.Logger.Info("reset not told", slog.String("client", m.ClientID), slog.Any("err", err))
		}
	}
	return table, nil
}

// offsetTable is a table of offsets as the session's client reads it.
func (s *session) offsetTable(table map[mq.Queue]int64, language string) ([]byte, error) {
	named := make(map[mq.Queue]int64, len(table))
	for q, off := range table {
		q.Topic = s.called(q.Topic)
		named[q] = off
	}
	if language == wire.CPP.String() {
		return offsetList(named)
	}
	return withQueueMap(nil, "offsetTable", queueMap[int64](named), "")
}

// offsetList is a table of offsets as C++ clients read it: a list.
func offsetList(table map[mq.Queue]int64) ([]byte, error) {
	type entry struct {
		messageQueue
		Offset int64 `json:"offset"`
	}
	list := []entry{}
	for q, off := range table {
		list = append(list, entry{fromQueue(q), off})
	}
	r, err := withJSON(map[string]any{"offsetTable": list})
	if err != nil {
		return nil, err
	}
	return r.Body, nil
}
