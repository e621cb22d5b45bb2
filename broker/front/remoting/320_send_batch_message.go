package remoting

import wire "varve/internal/remoting"

// 320 SEND_BATCH_MESSAGE: store a batch as messages of their own with
// consecutive queue offsets, all or none.
//
// Versions: header of code 310 or of code 10; body in RocketMQ's batch form.
//
// Behaviours: msgId lists the messages' offset ids with commas, queueOffset is
// the first one's.
func (f *Front) sendBatchMessage(s *session, req *wire.Command) { f.submit(s, req, true) }
