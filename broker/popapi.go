package broker

import (
	"time"

	"varve/broker/pop"
	"varve/internal/backlog"
	"varve/internal/mq"
)

// Handle names one delivery of one message to a POP consumer.
type Handle = pop.Handle

// ParseHandle reads a receipt handle (extraInfo, with or without the physical
// offset) that a group's member gives for a message of a topic, which may be
// the topic that it popped from or the retry topic: ErrBadRequest.
func ParseHandle(group, topic, text string) (Handle, error) { return parseHandle(group, topic, text) }

// PopRequest asks for messages without saying from where. It is kept while the
// request is held: it must not be reused, and its strings must be its own.
type PopRequest struct {
	Group       string
	Topic       string
	QueueID     int32 // AnyQueue for all of the topic
	MaxMessages int   // at most 32, which is also what 0 gives
	// Invisible is how long the messages are given to nobody else. Those that
	// are not acked by then come again through the group's retry topic.
	Invisible time.Duration
	Wait      time.Duration // how long to wait for a message; 0 doesn't
	// FromMin says that a group without progress begins at the first message,
	// archived or not, and otherwise at the end of the queue (a queue with
	// little in it counts as new, and is begun at its first message).
	FromMin bool
	// Expression, of type ExpressionType (TAG where empty), filters; empty
	// keeps all. Retries are not filtered again.
	Expression     string
	ExpressionType string
	// Ordered gives out one batch a queue at a time: the next one when all of
	// it is acked, the same one again when its time is over. There is no retry
	// topic then. AttemptID has the batch given again to who asks with the same
	// id: the answer to an earlier try was lost.
	Ordered   bool
	AttemptID string
	Client    Client
	// Backlog, if not nil, is what the connection has that asks: it bounds the
	// answer, which counts there until PopResult.Free.
	Backlog *backlog.Conn
}

// PopStatus is the outcome of a pop.
type PopStatus int

// Outcomes, with the code that RocketMQ gives them.
const (
	// PopFound has messages. (0)
	PopFound PopStatus = iota
	// PopNone says that there was none until the end of Wait. (210)
	PopNone
	// PopFull says that too many requests wait, or that the group has too many
	// unacked messages: come again later. (209)
	PopFull
)

// Popped is one message of a pop.
type Popped struct {
	// Record is the message as stored, under the topic that was asked for. A
	// retried one has its handle in POP_CK and the time of its first delivery
	// in 1ST_POP_TIME as properties. It aliases PopResult.Body.
	Record mq.Record
	Handle Handle
	// Deliveries is how often the message was given out before: the record's
	// ReconsumeTimes, or the count of an ordered delivery.
	Deliveries int32
}

// PopResult answers a pop.
type PopResult struct {
	Status   PopStatus
	Messages []Popped
	Body     []byte // all records, concatenated in the order of Messages
	// PopMillis and InvisibleMillis are those of every handle.
	PopMillis, InvisibleMillis int64
	Rest                       int64 // messages that are left in the queues
	// Free gives Body's memory back. It is nil where there is nothing to give
	// back, and need not be called but for a PopRequest.Backlog; after it nothing of the result may be used
	// but the handles.
	Free func()
	// Here says that done runs in the goroutine that called Pop.
	Here bool
}
