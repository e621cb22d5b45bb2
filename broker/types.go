package broker

import (
	"fmt"
	"strings"

	"varve/broker/topic"
	"varve/internal/mq"
)

// TypeCheck says whose messages are held to their topic's message.type.
type TypeCheck string

// Values of TypeCheck.
const (
	// CheckTyped holds messages of the protocols that know types (gRPC), as
	// RocketMQ's proxy does: its broker takes anything over remoting.
	CheckTyped TypeCheck = "grpc"
	CheckAll   TypeCheck = "all"
	CheckNone  TypeCheck = "none"
)

// TypeChecks is every value of TypeCheck.
var TypeChecks = []TypeCheck{CheckTyped, CheckAll, CheckNone}

// checkType holds a message to its topic's type. Retries and dead letters go by
// wherever they come from.
func (b *Broker) checkType(req *SendRequest, t *Topic, sp *special) error {
	want := t.MessageType()
	if want == "" || b.cfg.CheckTypes == CheckNone || b.cfg.CheckTypes == CheckTyped && !req.Typed {
		return nil
	}
	is := sp.messageType()
	if is == want || strings.HasPrefix(t.Name, mq.RetryPrefix) || strings.HasPrefix(t.Name, mq.DLQPrefix) {
		return nil
	}
	return fmt.Errorf("%w: the message is of type %s, topic %q takes %s", ErrMessageType, is, t.Name, want)
}

// messageType is the type that a message has by its properties.
func (s *special) messageType() string {
	switch {
	case s.transaction:
		return topic.TypeTransaction
	case s.delayLevel > 0 || s.timer:
		return topic.TypeDelay
	case s.sharded:
		return topic.TypeFIFO
	}
	return topic.TypeNormal
}
