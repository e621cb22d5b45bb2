package remoting

import (
	"encoding/json"
	"fmt"

	wire "varve/internal/remoting"
)

// 317 GET_BROKER_CONSUME_STATS: code 208 for every group of the broker.
//
// Versions: all.
//
// Behaviours: isOrder is taken and makes no difference.
func (f *Front) getBrokerConsumeStats(s *session, _ *wire.Command) (*wire.Command, error) {
	var diff, inflight int64
	body := []byte(`{"consumeStatsList":[`)
	first := true
	for _, g := range f.broker.Groups() {
		stats, err := f.broker.ConsumeStats(s.conn.Context(), g.Name, "")
		if err != nil {
			return nil, fmt.Errorf("group %q: %w", g.Name, err)
		}
		if len(stats) == 0 {
			continue
		}
		for _, c := range stats {
			diff += c.BrokerOffset - c.ConsumerOffset
			inflight += max(0, c.PullOffset-c.ConsumerOffset)
		}
		if !first {
			body = append(body, ',')
		}
		first = false
		name, err := json.Marshal(g.Name)
		if err != nil {
			return nil, err
		}
		body = append(append(append(body, '{'), name...), ':', '[')
		if body, err = appendConsumeStats(body, stats, f.groupRate(g.Name, stats)); err != nil {
			return nil, err
		}
		body = append(body, `]}`...)
	}
	body = fmt.Appendf(body, `],"brokerAddr":%q,"totalDiff":%d,"totalInflightDiff":%d}`,
		f.broker.Config().StoreHost.String(), diff, inflight)
	return &wire.Command{Body: body}, nil
}
