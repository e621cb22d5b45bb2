package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"varve/broker/timer"
	"varve/internal/mq"
)

// recallWait bounds a recall: the timer may have a backlog of the log to read,
// or a log that takes nothing.
const recallWait = 10 * time.Second

// delay sends a message with a delay to the timer's topics instead.
func (b *Broker) delay(m *mq.Message, sp *special, r *Receipt) error {
	retry := strings.HasPrefix(m.Topic, mq.RetryPrefix)
	if sp.delayLevel > 0 {
		if due := b.timers.Level(m, sp.delayLevel); !retry {
			r.dueMillis = due
		}
		return nil
	}
	now := b.clock().UnixMilli()
	due, relative, err := sp.due(now)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrIllegalMessage, err)
	}
	if limit := b.cfg.MaxTimerDelay.Milliseconds(); limit > 0 && due-now > limit {
		return fmt.Errorf("%w: delay of %d ms is over the limit of %d", ErrIllegalMessage, due-now, limit)
	}
	if due > now {
		if relative && due-now <= math.MaxInt64/int64(time.Millisecond) {
			due = b.timers.After(m, time.Duration(due-now)*time.Millisecond)
		} else {
			b.timers.At(m, due)
		}
		if !retry {
			r.dueMillis = due
		}
	}
	return nil
}

// recallHandle is the handle of a delayed message that the log has taken.
func (b *Broker) recallHandle(r *Receipt) string {
	return timer.Handle{
		Topic: r.Queue.Topic, Broker: r.Queue.Broker, DueMillis: r.dueMillis, MsgID: r.MsgID, Physical: r.PhysicalOffset,
	}.String()
}

// Recall takes back a message that waits for its time, named by the handle of
// its receipt. hit says that it was held back and will never be delivered: as
// sure, over crashes, as a send. It is false, without an error, where the
// broker holds no such message: it was delivered, recalled before, or never
// sent. msgID is the message's UNIQ_KEY either way. A handle that is none, of
// another broker or of another topic is ErrBadHandle. An empty topic is the
// handle's own.
func (b *Broker) Recall(ctx context.Context, topic, handle string) (msgID string, hit bool, err error) {
	if b.closed.Load() {
		return "", false, ErrClosed
	}
	h, err := timer.ParseHandle(handle)
	if topic == "" {
		topic = h.Topic
	}
	_, exists := b.topics.Get(topic)
	switch {
	case !exists && topic != "":
		return "", false, fmt.Errorf("recall: %w: %q", ErrNoTopic, topic)
	case err != nil:
		return "", false, err
	case h.Topic != topic:
		return "", false, fmt.Errorf("%w: it is of topic %q, not %q", ErrBadHandle, h.Topic, topic)
	case h.Broker != b.cfg.Broker:
		return "", false, fmt.Errorf("%w: it is of broker %q, this is %q", ErrBadHandle, h.Broker, b.cfg.Broker)
	}
	ctx, cancel := context.WithTimeout(ctx, recallWait)
	defer cancel()
	hit, err = b.timers.Recall(ctx, h)
	if errors.Is(err, context.DeadlineExceeded) {
		return h.MsgID, false, fmt.Errorf("%w: not decided within %v: %w", ErrBusy, recallWait, err)
	}
	if err != nil {
		return h.MsgID, false, storeError(err)
	}
	if hit {
		b.stats.recalls.Add(1)
	}
	return h.MsgID, hit, nil
}

// Held lists messages that wait for their time, soonest first; more says that
// there may be others.
func (b *Broker) Held(q HeldQuery) (held []Held, more bool, err error) {
	if b.closed.Load() {
		return nil, false, ErrClosed
	}
	return b.timers.List(q)
}
