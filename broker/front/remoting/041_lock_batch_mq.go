package remoting

import wire "varve/internal/remoting"

// lockBody is the body of codes 41 and 42.
type lockBody struct {
	ConsumerGroup string         `json:"consumerGroup"`
	ClientID      string         `json:"clientId"`
	Queues        []messageQueue `json:"mqSet"`
}

// 41 LOCK_BATCH_MQ: lease queues to one client for ordered consumption.
//
// Versions: all.
//
// Behaviours: a lease lives 60 s and is renewed every 20 s by the client; the
// answer lists the queues that it holds now.
func (f *Front) lockBatchMQ(_ *session, req *wire.Command) (*wire.Command, error) {
	var body lockBody
	if err := fromJSON(req, &body); err != nil {
		return nil, err
	}
	held := []messageQueue{}
	for _, q := range f.broker.LockQueues(body.ConsumerGroup, body.ClientID, queuesOf(body.Queues)) {
		held = append(held, queueFor(req, q))
	}
	return withJSON(struct {
		Held []messageQueue `json:"lockOKMQSet"`
	}{held})
}
