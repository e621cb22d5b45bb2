package remoting

import (
	"strings"

	"varve/broker"
	wire "varve/internal/remoting"
)

// statsItem is RocketMQ's BrokerStatsItem in JSON.
type statsItem struct {
	Sum   int64   `json:"sum"`
	TPS   float64 `json:"tps"`
	AvgPT float64 `json:"avgpt"` // of one send or pull
}

// statsSeries are the statistics that are kept, by RocketMQ's names: which kind
// they count, and what the key names.
var statsSeries = map[string]struct {
	kind        broker.TrafficKey
	bytes       bool
	topic, both bool // key is topic, or topic@group; neither is the cluster
}{
	"TOPIC_PUT_NUMS":  {kind: broker.TrafficKey{Kind: broker.TrafficPut}, topic: true},
	"TOPIC_PUT_SIZE":  {kind: broker.TrafficKey{Kind: broker.TrafficPut}, topic: true, bytes: true},
	"GROUP_GET_NUMS":  {kind: broker.TrafficKey{Kind: broker.TrafficGet}, both: true},
	"GROUP_GET_SIZE":  {kind: broker.TrafficKey{Kind: broker.TrafficGet}, both: true, bytes: true},
	"SNDBCK_PUT_NUMS": {kind: broker.TrafficKey{Kind: broker.TrafficSendBack}, both: true},
	"BROKER_PUT_NUMS": {kind: broker.TrafficKey{Kind: broker.TrafficPut}},
	"BROKER_GET_NUMS": {kind: broker.TrafficKey{Kind: broker.TrafficGet}},
}

// 315 VIEW_BROKER_STATS_DATA: how much passed in the last minute, hour and day.
//
// Versions: all.
//
// Behaviours: statsKey is a topic, topic@group or the cluster. A topic without
// traffic has zeros; 1 where the statistic, or the topic, is not there. Counts
// begin with the process.
func (f *Front) viewBrokerStatsData(_ *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	name, key := p.Str("statsName"), p.Str("statsKey")
	if err := p.Err(); err != nil {
		return nil, err
	}
	series, known := statsSeries[name]
	k := series.kind
	switch {
	case !known:
		return nil, refused(wire.SystemError, "The stats <%s> not exist", name)
	case series.both:
		var has bool
		if k.Topic, k.Group, has = strings.Cut(key, "@"); !has {
			return nil, refused(wire.SystemError, "The stats <%s> is by topic@group, not by %q", name, key)
		}
	case series.topic:
		k.Topic = key
	case key != f.broker.Config().Cluster:
		return nil, refused(wire.SystemError, "The stats <%s> <%s> not exist", name, key)
	}
	counts, _ := f.broker.Traffic(k)
	if _, has := f.broker.Topic(k.Topic); !has && k.Topic != "" {
		return nil, refused(wire.SystemError, "The stats <%s> <%s> not exist", name, key)
	}
	item := func(c broker.TrafficCount) statsItem {
		n, rate := c.Messages, c.PerSecond()
		if series.bytes {
			n, rate = c.Bytes, c.BytesPerSecond()
		}
		s := statsItem{Sum: n, TPS: rate}
		if c.Times > 0 {
			s.AvgPT = float64(n) / float64(c.Times)
		}
		return s
	}
	return withJSON(struct {
		Minute statsItem `json:"statsMinute"`
		Hour   statsItem `json:"statsHour"`
		Day    statsItem `json:"statsDay"`
	}{item(counts.Minute), item(counts.Hour), item(counts.Day)})
}

// topicRate is how many messages a second are sent to a topic now.
func (f *Front) topicRate(topic string) float64 {
	c, _ := f.broker.Traffic(broker.TrafficKey{Kind: broker.TrafficPut, Topic: topic})
	return c.Minute.PerSecond()
}

// groupRate is how many messages a second a group is given now of the topics.
func (f *Front) groupRate(group string, stats []broker.ConsumeStat) float64 {
	var rate float64
	seen := map[string]bool{}
	for _, s := range stats {
		if t := s.Queue.Topic; !seen[t] {
			seen[t] = true
			c, _ := f.broker.Traffic(broker.TrafficKey{Kind: broker.TrafficGet, Topic: t, Group: group})
			rate += c.Minute.PerSecond()
		}
	}
	return rate
}
