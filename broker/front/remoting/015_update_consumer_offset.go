package remoting

import wire "varve/internal/remoting"

// 15 UPDATE_CONSUMER_OFFSET: note a group's progress in a queue.
//
// Versions: all; one-way from Java and Go clients.
//
// Behaviours: the last one wins, a lower offset too; dropped while a reset
// waits for the next pull.
func (f *Front) updateConsumerOffset(_ *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	group, topic := p.Str("consumerGroup"), p.Str("topic")
	queue, off := p.Int32("queueId"), p.Int("commitOffset")
	if err := p.Err(); err != nil {
		return nil, err
	}
	if err := f.broker.CommitOffset(group, topic, queue, off); err != nil {
		return nil, err
	}
	return ok()
}
