package remoting

import wire "varve/internal/remoting"

// 42 UNLOCK_BATCH_MQ: end leases of code 41.
//
// Versions: all; one-way as a rule.
func (f *Front) unlockBatchMQ(_ *session, req *wire.Command) (*wire.Command, error) {
	var body lockBody
	if err := fromJSON(req, &body); err != nil {
		return nil, err
	}
	f.broker.UnlockQueues(body.ConsumerGroup, body.ClientID, queuesOf(body.Queues))
	return ok()
}
