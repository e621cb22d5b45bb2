package remoting

import (
	"strconv"

	wire "varve/internal/remoting"
)

// topicOffset is one queue's figures in TopicStatsTable.
type topicOffset struct {
	LastUpdate int64 `json:"lastUpdateTimestamp"`
	Max        int64 `json:"maxOffset"`
	Min        int64 `json:"minOffset"`
}

// 202 GET_TOPIC_STATS_INFO: the ranges of a topic's queues.
//
// Versions: all.
//
// Behaviours: the body's map has MessageQueue objects for keys.
func (f *Front) getTopicStatsInfo(s *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	topic := p.Str("topic")
	if err := p.Err(); err != nil {
		return nil, err
	}
	stats, err := f.broker.TopicStats(s.conn.Context(), topic)
	if err != nil {
		return nil, err
	}
	table := queueMap[topicOffset]{}
	for _, q := range stats {
		table[q.Queue] = topicOffset{q.LastUpdateMillis, q.Max, q.Min}
	}
	body, err := withQueueMap(nil, "offsetTable", table, `,"topicPutTps":`+decimal(f.topicRate(topic)))
	if err != nil {
		return nil, err
	}
	return &wire.Command{Body: body}, nil
}

// decimal is a number as JSON that Java reads as a double.
func decimal(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }
