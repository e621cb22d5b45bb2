package remoting

import (
	"errors"
	"fmt"

	"varve/broker"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// queueEntry is RocketMQ's ConsumeQueueData in JSON.
type queueEntry struct {
	Physical int64 `json:"physicOffset"`
	Size     int   `json:"physicSize"`
	TagCode  int64 `json:"tagsCode"`
	Eval     bool  `json:"eval"`
}

// 321 QUERY_CONSUME_QUEUE: rows of a queue's index: position and size of the
// message in the log, and its tag's hash.
//
// Versions: all; consumerGroup may be empty.
//
// Behaviours: over hot and archived messages. With a group, eval says whether
// its filter keeps the message, and its subscription is given.
func (f *Front) queryConsumeQueue(s *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	topic, queue, index := p.Str("topic"), p.Int32("queueId"), p.Int("index")
	n, group := p.OptInt32("count", defaultQueryMax), p.OptStr("consumerGroup")
	if err := p.Err(); err != nil {
		return nil, err
	}
	var body struct {
		Subscription *broker.Subscription `json:"subscriptionData,omitempty"`
		Filter       string               `json:"filterData,omitempty"`
		Entries      []queueEntry         `json:"queueData"`
		Max          int64                `json:"maxQueueIndex"`
		Min          int64                `json:"minQueueIndex"`
	}
	var filter mq.Filter
	if group != "" {
		sub, err := f.broker.SubscriptionOf(group, topic)
		switch {
		case errors.Is(err, broker.ErrNoSubscription):
			body.Filter = fmt.Sprintf("%s@%s is not online!", group, topic)
		case err != nil:
			return nil, err
		default:
			body.Subscription, filter = sub, sub.Filter
		}
	}
	entries, r, err := f.broker.QueueEntries(s.conn.Context(), topic, queue, index, int(n), filter)
	if err != nil {
		return nil, err
	}
	body.Entries, body.Min, body.Max = make([]queueEntry, len(entries)), r.From, r.To
	for i, e := range entries {
		body.Entries[i] = queueEntry{e.Physical, e.Size, e.TagCode, e.Matches}
	}
	return withJSON(body)
}
