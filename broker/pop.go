package broker

import (
	"context"
	"fmt"
	"time"

	"varve/broker/pop"
	"varve/internal/backlog"
	"varve/internal/mq"
)

// MaxPopMessages bounds one pop, as RocketMQ does.
const MaxPopMessages = 32

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
func (b *Broker) Pop(ctx context.Context, req *PopRequest, done func(PopResult, error)) {
	b.stats.pops.Add(1)
	p := &popping{ctx: ctx, req: req, done: b.paid(req.Topic, done)}
	err := overQuota(b.quotas.MayRead(req.Topic))
	if err == nil {
		err = b.beginPop(p)
	}
	if err != nil {
		done(PopResult{}, err)
		return
	}
	b.attemptPop(p, true)
}

// PopReady calls done once Pop would find a message, or when its time is over;
// full says that too many wait already. It gives nothing out.
func (b *Broker) PopReady(ctx context.Context, req *PopRequest, done func(ready, full bool, err error)) {
	p := &popping{ctx: ctx, req: req, look: true, done: func(r PopResult, err error) {
		done(r.Status == PopFound, r.Status == PopFull, err)
	}}
	if err := b.beginPop(p); err != nil {
		done(false, false, err)
		return
	}
	b.attemptPop(p, true)
}

// popping is one Pop, from its arrival to its answer.
type popping struct {
	ctx    context.Context
	req    *PopRequest
	done   func(PopResult, error)
	look   bool // of PopReady
	share  *popShare
	filter mq.Filter
	until  time.Time // end of the hold; zero where the client doesn't wait
	held   popHeld   // its place in the table of held pops
	// unwatch ends the wait for ctx's end; nil before the first hold.
	unwatch func() bool
}

// beginPop checks what doesn't change while the request is held.
func (b *Broker) beginPop(p *popping) (err error) {
	req := p.req
	switch {
	case req.MaxMessages < 0 || req.MaxMessages > MaxPopMessages:
		return fmt.Errorf("%w: pop of %d messages of topic %q, want at most %d", ErrBadRequest, req.MaxMessages, req.Topic, MaxPopMessages)
	case req.Invisible <= 0 && !p.look:
		return fmt.Errorf("%w: pop of topic %q with an invisible time of %s", ErrBadRequest, req.Topic, req.Invisible)
	}
	if p.filter, err = b.filters.Compile(req.ExpressionType, req.Expression); err != nil {
		return fmt.Errorf("%w: group %q, topic %q: %w", ErrBadFilter, req.Group, req.Topic, err)
	}
	if _, _, err := b.checkPop(req); err != nil {
		return err
	}
	if req.Wait > 0 {
		p.until = b.now().Add(req.Wait)
	}
	p.share = b.popShare(req.Group, req.Topic)
	return nil
}

// checkPop finds the group and the topic of a pop and holds them to their
// settings.
func (b *Broker) checkPop(req *PopRequest) (*Group, *Topic, error) {
	if req.QueueID < 0 {
		return b.checkRead(req.Group, req.Topic, 0)
	}
	return b.checkRead(req.Group, req.Topic, req.QueueID)
}

func (b *Broker) attemptPop(p *popping, first bool) {
	r, held, err := b.tryPop(p)
	// Room that this one was woken for and doesn't need is the next one's.
	defer b.pops.Feed(p.req.Group)
	if held {
		return
	}
	r.Here = first
	b.answerPop(p, r, err)
}

// answerPop ends a pop. Where there is more, or this one failed, the next one
// that waits has its turn.
func (b *Broker) answerPop(p *popping, r PopResult, err error) {
	if p.unwatch != nil {
		p.unwatch()
	}
	if err != nil || r.Rest > 0 && r.Status == PopFound {
		b.popWaits.wakeShare(p.share, AnyQueue)
	}
	if err != nil {
		p.done(PopResult{}, err)
		return
	}
	b.stats.poppedMessages.Add(int64(len(r.Messages)))
	b.stats.poppedBytes.Add(int64(len(r.Body)))
	r.Free = p.req.Backlog.Carry(len(r.Body), r.Free)
	p.done(r, nil)
}

// tryPop is one attempt. held says that done has been or will be called
// elsewhere.
func (b *Broker) tryPop(p *popping) (r PopResult, held bool, err error) {
	if p.ctx.Err() != nil {
		return r, false, p.ended()
	}
	if b.closed.Load() {
		return r, false, ErrClosed
	}
	_, topic, err := b.checkPop(p.req)
	if err != nil {
		return r, false, err
	}
	if err := mayTake(p.req.Backlog); err != nil {
		return r, false, err
	}
	if p.look {
		if b.poppable(p, topic) {
			return PopResult{Status: PopFound}, false, nil
		}
		return b.holdPop(p, topic, PopNone)
	}
	t := b.newPopTurn(p)
	if err := b.gather(t, topic); err != nil {
		return r, false, err
	}
	switch {
	case t.cold != nil:
		b.popCold(t)
		return r, true, nil
	case len(t.r.Messages) > 0:
		t.finish()
		return t.r, false, nil
	case t.full:
		return b.holdPop(p, topic, PopFull)
	}
	return b.holdPop(p, topic, PopNone)
}

// holdPop answers a pop that found nothing, or holds it.
func (b *Broker) holdPop(p *popping, topic *Topic, status PopStatus) (r PopResult, held bool, err error) {
	r = PopResult{Status: status, InvisibleMillis: p.req.Invisible.Milliseconds(), PopMillis: b.clock().UnixMilli()}
	if p.until.IsZero() || !b.now().Before(p.until) {
		return r, false, nil
	}
	if p.unwatch == nil {
		p.unwatch = context.AfterFunc(p.ctx, func() { b.popEnded(p) })
	}
	switch b.popWaits.hold(p) {
	case holdClosed:
		return r, false, ErrClosed
	case holdFull:
		r.Status = PopFull
		return r, false, nil
	}
	// What came between the look and the hold told nobody: look again.
	if b.closed.Load() || p.ctx.Err() != nil || b.poppable(p, topic) {
		b.popWaits.wake(p)
	}
	return r, true, nil
}

// popEnded answers a held pop whose ctx has ended.
func (b *Broker) popEnded(p *popping) {
	if b.popWaits.drop(p) {
		b.answerPop(p, PopResult{}, p.ended())
	}
}

// mayTake refuses a connection that takes nothing of what it was given, while
// all have too much: what it would be given is others'.
func mayTake(c *backlog.Conn) error {
	if c.Room(1) > 0 {
		return nil
	}
	return fmt.Errorf("%w: the connection has %d bytes to read that it was given", ErrBusy, c.Bytes())
}

func (p *popping) ended() error {
	return fmt.Errorf("pop from topic %q: %w", p.req.Topic, p.ctx.Err())
}

// popShare is what a group does in a topic: the windows of its queues, and of
// those of the retry topic.
type popShare struct {
	group, topic, retry string

	turns   popTurns
	windows [2]popWindows // of the topic, of the retry topic
	held    popList       // guarded by popWaits.mu
}

type shareKey struct{ group, topic string }

// popShare finds or makes a share.
func (b *Broker) popShare(group, topic string) *popShare {
	k := shareKey{group, topic}
	b.shares.RLock()
	s := b.shares.m[k]
	b.shares.RUnlock()
	if s != nil {
		return s
	}
	b.shares.Lock()
	defer b.shares.Unlock()
	if s := b.shares.m[k]; s != nil && s.topic == topic {
		return s
	}
	s = &popShare{group: group, topic: topic, retry: pop.RetryTopic(group, topic)}
	b.shares.m[k] = s
	if b.shares.m[shareKey{group, s.retry}] == nil {
		b.shares.m[shareKey{group, s.retry}] = s
	}
	b.popWaits.register(s)
	return s
}

// fed is told by the windows that something may be given out again. It is false
// where nobody waits for that.
func (b *Broker) fed(k pop.Key) (woken bool) {
	b.shares.RLock()
	s := b.shares.m[shareKey{k.Group, k.Topic}]
	b.shares.RUnlock()
	if s == nil {
		return false
	}
	queue := k.Queue
	if k.Topic == s.retry {
		queue = AnyQueue
	}
	return b.popWaits.wakeShare(s, queue)
}
