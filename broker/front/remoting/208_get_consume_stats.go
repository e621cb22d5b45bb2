package remoting

import (
	"varve/broker"
	wire "varve/internal/remoting"
)

// offsetWrapper is one queue's figures in ConsumeStats.
type offsetWrapper struct {
	Broker    int64 `json:"brokerOffset"`
	Consumer  int64 `json:"consumerOffset"`
	LastStore int64 `json:"lastTimestamp"`
	Pull      int64 `json:"pullOffset"`
}

// 208 GET_CONSUME_STATS: a group's progress, queue by queue, in one topic or
// in all it consumes.
//
// Versions: all.
//
// Behaviours: the body's map has MessageQueue objects for keys.
func (f *Front) getConsumeStats(s *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	group, topic := p.Str("consumerGroup"), p.OptStr("topic")
	if err := p.Err(); err != nil {
		return nil, err
	}
	stats, err := f.broker.ConsumeStats(s.conn.Context(), group, topic)
	if err != nil {
		return nil, err
	}
	body, err := appendConsumeStats(nil, stats, f.groupRate(group, stats))
	if err != nil {
		return nil, err
	}
	return &wire.Command{Body: body}, nil
}

func appendConsumeStats(dst []byte, stats []broker.ConsumeStat, rate float64) ([]byte, error) {
	table := queueMap[offsetWrapper]{}
	for _, c := range stats {
		table[c.Queue] = offsetWrapper{c.BrokerOffset, c.ConsumerOffset, c.LastUpdateMillis, c.PullOffset}
	}
	return withQueueMap(dst, "offsetTable", table, `,"consumeTps":`+decimal(rate))
}
