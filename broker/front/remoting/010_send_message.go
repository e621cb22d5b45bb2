package remoting

import wire "varve/internal/remoting"

// 10 SEND_MESSAGE and 310 SEND_MESSAGE_V2: store one message.
//
// Versions: 10 has the fields' long names (old Java clients and rocketmq-client-go,
// which fills in defaultTopic TBW102 and 4 queues by itself), 310 one letter
// for each. Both are taken with either code; field m (batch) makes it a batch
// as code 320 is.
//
// Behaviours: answered when the flush policy says that the message is stored.
// msgId is the offset id, transactionId the UNIQ_KEY. A one-way send is never
// answered, not even with an error. A queue id below 0 leaves the choice to
// the broker.
func (f *Front) sendMessage(s *session, req *wire.Command) { f.submit(s, req, false) }
