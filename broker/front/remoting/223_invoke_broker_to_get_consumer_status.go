package remoting

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"

	"varve/broker"
	wire "varve/internal/remoting"
)

// 223 INVOKE_BROKER_TO_GET_CONSUMER_STATUS: the offsets that the members of a
// group have in memory, asked of each of them by code 221.
//
// Versions: all; clientAddr, the id of a single client, may be empty.
//
// Behaviours: 1 where nobody is connected; a member that doesn't answer is
// left out. The inner maps have MessageQueue objects for keys.
func (f *Front) getConsumerStatus(s *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	topic, group, only := p.Str("topic"), p.Str("group"), p.OptStr("clientAddr")
	if err := p.Err(); err != nil {
		return nil, err
	}
	members, err := f.broker.Consumers(group)
	if errors.Is(err, broker.ErrNoMember) {
		return nil, refused(wire.SystemError, "No Any Consumer online in the consumer group: [%s]", group)
	}
	if err != nil {
		return nil, err
	}
	body := []byte(`{"consumerTable":{`)
	first := true
	for _, m := range members.Members {
		target, isRemoting := m.Client.(*session)
		if !isRemoting || only != "" && only != m.ClientID {
			continue
		}
		table, err := target.status(s.conn.Context(), topic, group)
		if err != nil {
			f.cfg.Logger.Info("no status of a consumer", slog.String("client", m.ClientID), slog.Any("err", err))
			continue
		}
		if !first {
			body = append(body, ',')
		}
		first = false
		id, err := json.Marshal(m.ClientID)
		if err != nil {
			return nil, err
		}
		body = append(append(body, id...), ':')
		if body, err = table.append(body); err != nil {
			return nil, err
		}
	}
	return &wire.Command{Body: append(body, `},"messageQueueTable":{}}`...)}, nil
}

// status asks a client for its offsets in a topic.
func (s *session) status(ctx context.Context, topic, group string) (queueMap[int64], error) {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	reply, err := s.conn.Call(ctx, wire.NewRequest(wire.GetConsumerStatus, "topic", s.called(topic), "group", s.called(group)))
	if err == nil {
		err = reply.Err()
	}
	if err != nil {
		return nil, err
	}
	const member = `"messageQueueTable":`
	i := bytes.Index(reply.Body, []byte(member))
	if i < 0 {
		return queueMap[int64]{}, nil
	}
	table, err := parseQueueMap[int64](reply.Body[i+len(member):])
	return table, err
}
