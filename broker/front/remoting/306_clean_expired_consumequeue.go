package remoting

import wire "varve/internal/remoting"

// 306 CLEAN_EXPIRED_CONSUMEQUEUE, 316 CLEAN_UNUSED_TOPIC and 329
// DELETE_EXPIRED_COMMITLOG: free what is no longer needed.
//
// Versions: all; 329 came with 4.8.
//
// Behaviours: success, for there is nothing that could be left: a queue's
// index goes with its messages, a topic's messages and indexes go when it is
// deleted, and the log is trimmed by age and size every hot.trim-interval.
func (f *Front) cleanNothing(*session, *wire.Command) (*wire.Command, error) { return ok() }
