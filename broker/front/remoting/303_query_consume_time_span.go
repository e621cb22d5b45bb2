package remoting

import (
	"context"
	"errors"

	"varve/broker"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// queueTimeSpan is RocketMQ's QueueTimeSpan in JSON, its times in
// milliseconds.
type queueTimeSpan struct {
	Queue   messageQueue `json:"messageQueue"`
	Min     int64        `json:"minTimeStamp"`
	Max     int64        `json:"maxTimeStamp"`
	Consume int64        `json:"consumeTimeStamp"`
	Delay   int64        `json:"delayTime"`
}

// 303 QUERY_CONSUME_TIME_SPAN: how far a group is behind, in time, queue by
// queue.
//
// Versions: all.
func (f *Front) queryConsumeTimeSpan(s *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	topic, group := p.Str("topic"), p.Str("group")
	if err := p.Err(); err != nil {
		return nil, err
	}
	ctx := s.conn.Context()
	stats, err := f.broker.TopicStats(ctx, topic)
	if err != nil {
		return nil, err
	}
	progress, err := f.broker.ConsumeStats(ctx, group, topic)
	if err != nil {
		return nil, err
	}
	consumed := map[mq.Queue]broker.ConsumeStat{}
	for _, c := range progress {
		consumed[c.Queue] = c
	}
	spans := []queueTimeSpan{}
	for _, q := range stats {
		span, err := f.timeSpan(ctx, q, consumed)
		if err != nil {
			return nil, err
		}
		spans = append(spans, span)
	}
	return withJSON(struct {
		Spans []queueTimeSpan `json:"consumeTimeSpanSet"`
	}{spans})
}

func (f *Front) timeSpan(ctx context.Context, q broker.QueueStat, consumed map[mq.Queue]broker.ConsumeStat) (queueTimeSpan, error) {
	first, err := f.broker.EarliestTime(ctx, q.Queue.Topic, q.Queue.ID)
	if err != nil && !errors.Is(err, broker.ErrNoMessage) {
		return queueTimeSpan{}, err
	}
	span := queueTimeSpan{Queue: fromQueue(q.Queue), Min: first, Max: q.LastUpdateMillis, Consume: first}
	c, has := consumed[q.Queue]
	if has && c.LastUpdateMillis > 0 {
		span.Consume = c.LastUpdateMillis
	}
	if !has || c.ConsumerOffset < q.Max {
		span.Delay = max(0, span.Max-span.Consume)
	}
	return span, nil
}
