package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"varve/broker/pop"
	"varve/broker/topic"
	"varve/internal/meta"
	"varve/internal/mq"
)

// defaultRetries is RetryMaxTimes where a group's is negative.
const defaultRetries = 16

// openPops opens what POP consumers have in flight.
func (b *Broker) openPops(m *meta.Store) (*pop.Store, error) {
	s, err := pop.Open(pop.Options{
		Broker: b.cfg.Broker, Reader: b.reader, QueueLimit: b.cfg.MaxPopQueue, GroupLimit: b.cfg.MaxPopGroup,
		Commit:   func(k pop.Key, base int64) { b.offsets.Commit(k.Group, k.Topic, k.Queue, base) },
		Progress: func(k pop.Key) (int64, bool, bool) { return b.offsets.Look(k.Group, k.Topic, k.Queue) },
		Tries:    b.popTries, Copy: b.copyPopped, Wake: b.fed, Now: b.clock, Logger: b.logger,
	}, b.log, m)
	if err != nil {
		return nil, err
	}
	// Progress that was taken back to where the log ends now must not come back
	// from the disk when other messages have those offsets.
	if err := b.offsets.Flush(); err != nil {
		return nil, fmt.Errorf("save progress of POP consumers: %w", err)
	}
	return s, nil
}

// Ack ends deliveries: their messages come no more. errs has an error for each
// handle; nil where all are acked. An ack that is repeated is a success; one
// that comes after the message was taken back is ErrHandleExpired.
func (b *Broker) Ack(_ context.Context, group string, hs []Handle) (errs []error) {
	for i := range hs {
		if err := b.AckOne(group, &hs[i]); err != nil {
			if errs == nil {
				errs = make([]error, len(hs))
			}
			errs[i] = err
		}
	}
	return errs
}

// AckOne is Ack of one handle, of which it keeps nothing.
func (b *Broker) AckOne(group string, h *Handle) error {
	if err := b.checkHandle(h); err != nil {
		return err
	}
	k := b.popKey(group, h)
	if err := b.pops.Ack(k, h.Offset, h.PopMillis, h.PopMillis+h.InvisibleMillis); err != nil {
		return handleError(group, h, err)
	}
	b.stats.acks.Add(1)
	return nil
}

// popKey is where a handle's message was given out. A Java client with a namespace
// of the older kind takes it off a message's topic before it acks, and off
// nothing else.
func (b *Broker) popKey(group string, h *Handle) pop.Key {
	k := pop.Key{Group: group, Topic: h.Topic, Queue: h.QueueID}
	tenant, _ := mq.SplitTenant(group)
	if tenant == mq.DefaultTenant || b.pops.Find(k) != nil {
		return k
	}
	full := k
	if local, ok := strings.CutPrefix(h.Topic, mq.RetryPrefix+group+"_"); ok && h.Retry != pop.RetryNone {
		full.Topic = pop.RetryTopic(group, mq.InTenant(tenant, local))
	} else {
		full.Topic = mq.InTenant(tenant, h.Topic)
	}
	if b.pops.Find(full) != nil {
		return full
	}
	return k
}

func (b *Broker) checkHandle(h *Handle) error {
	switch {
	case b.closed.Load():
		return ErrClosed
	case h.Broker != b.cfg.Broker:
		return fmt.Errorf("%w: handle of broker %q, this is %q", ErrBadRequest, h.Broker, b.cfg.Broker)
	}
	return nil
}

func handleError(group string, h *Handle, err error) error {
	if errors.Is(err, pop.ErrExpired) {
		return fmt.Errorf("%w: group %q, message %d of queue %d of topic %q: %w", ErrHandleExpired, group, h.Offset, h.QueueID, h.Topic, err)
	}
	return fmt.Errorf("group %q, message %d of queue %d of topic %q: %w", group, h.Offset, h.QueueID, h.Topic, storeError(err))
}

// ChangeInvisible has a delivery's message come again d from now, whatever time
// it had left, and gives the handle that is good from here on. suspend has the
// delivery not count as a try.
func (b *Broker) ChangeInvisible(_ context.Context, group string, h Handle, d time.Duration, suspend bool) (Handle, error) {
	if err := b.checkHandle(&h); err != nil {
		return h, err
	}
	if d < 0 {
		return h, fmt.Errorf("%w: invisible time of %s", ErrBadRequest, d)
	}
	now := b.clock().UnixMilli()
	k := b.popKey(group, &h)
	named, err := b.pops.Change(k, h.Offset, h.PopMillis, now, now+d.Milliseconds(), suspend)
	if err != nil {
		return h, handleError(group, &h, err)
	}
	h.PopMillis, h.InvisibleMillis = named, d.Milliseconds()
	return h, nil
}

// DeadLetter gives a delivery's message up: it is copied to the group's dead
// letter topic and acked, in one unit. maxAttempts is the client's limit, to
// be noted with the message; 0 where it has none.
func (b *Broker) DeadLetter(ctx context.Context, group string, h Handle, maxAttempts int) error {
	if err := b.checkHandle(&h); err != nil {
		return err
	}
	k := b.popKey(group, &h)
	if err := b.pops.DeadLetter(ctx, k, h.Offset, h.PopMillis, maxAttempts); err != nil {
		return handleError(group, &h, err)
	}
	return nil
}

// popTries is how often a group's message is given out again.
func (b *Broker) popTries(group string) int32 {
	g, ok := b.groups.Get(group)
	if !ok || g.RetryMaxTimes < 0 {
		return defaultRetries
	}
	return g.RetryMaxTimes
}

// copyPopped makes what is stored in the place of a message that was not acked:
// a retry, or a dead letter after the last one.
func (b *Broker) copyPopped(e pop.Expired) (*mq.Message, error) {
	m, err := e.Record.Decode()
	if err != nil {
		return nil, err
	}
	if m.Property(mq.PropFirstPopTime) == "" {
		m.Properties = b.noted(m.Properties, mq.PropFirstPopTime, strconv.FormatInt(e.PopMillis, 10))
	}
	m.Properties = b.noted(m.Properties, mq.PropOriginMessageID, mq.OffsetMsgID(m.StoreHost, m.PhysicalOffset))
	if !strings.HasPrefix(m.Topic, mq.RetryPrefix) {
		m.Properties = b.noted(m.Properties, mq.PropRetryTopic, m.Topic)
	}
	if e.DeadLetter || !e.Suspended && m.ReconsumeTimes >= b.popTries(e.Group) {
		if e.MaxAttempts > 0 && e.MaxAttempts <= math.MaxInt32 {
			m.Properties = b.noted(m.Properties, mq.PropMaxReconsumeTimes, strconv.Itoa(e.MaxAttempts))
		}
		if err := b.toDeadLetters(&m, e.Group); err != nil {
			return nil, err
		}
	} else {
		name := pop.RetryTopicOf(e.Group, m.Topic)
		_, err := b.topics.KeepIfAbsent(Topic{Name: name, ReadQueues: 1, WriteQueues: 1, Perm: topic.PermRead | topic.PermWrite})
		if err != nil {
			return nil, fmt.Errorf("create retry topic %q: %w", name, storeError(err))
		}
		m.Topic, m.QueueID = name, 0
		b.stats.popRetries.Add(1)
	}
	if !e.Suspended {
		m.ReconsumeTimes++
	}
	m.StoreHost = b.cfg.StoreHost
	m.PreparedTransactionOffset = 0
	return &m, nil
}

// noted adds a property that the message doesn't have, if there is room for it.
func (b *Broker) noted(props []byte, name, value string) []byte {
	if _, has := mq.Property(props, name); has || len(props)+len(name)+len(value)+3 > mq.MaxPropertiesLen {
		return props
	}
	return mq.AppendProperty(props[:len(props):len(props)], name, value)
}
