package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"varve/internal/mq"
)

// defaultPullMessages is what RocketMQ's clients ask for.
const defaultPullMessages = 32

// Pull reads a queue from an offset on. done is called once: before Pull
// returns where there is an answer already, and later, from another goroutine,
// where the pull is held or reads the archive. A pull from the hot log reads it
// in the caller's goroutine, unless it has somewhere else to wait for the disk.
// Where ctx ends first, done gets its error, of a held pull when it is attempted
// next: at the latest when its time is over.
func (b *Broker) Pull(ctx context.Context, req *PullRequest, done func(PullResult, error)) {
	b.stats.pulls.Add(1)
	p := &pull{
		ctx: ctx, req: req, done: done,
		queue: mq.Queue{Broker: b.cfg.Broker, Topic: req.Topic, ID: req.QueueID},
	}
	if req.Suspend > 0 {
		p.until = b.now().Add(req.Suspend)
	}
	if err := b.quotas.MayRead(req.Topic); err != nil {
		done(PullResult{}, overQuota(err))
		return
	}
	if err := b.subscribe(p); err != nil {
		done(PullResult{}, err)
		return
	}
	if req.Elsewhere != nil && !b.isQuick(p) {
		req.Elsewhere(func() { b.attempt(p, true) })
		return
	}
	p.quick = req.Elsewhere != nil
	b.attempt(p, true)
}

// isQuick says that nothing but a read of the log can keep a pull: its group
// needn't be made, and it looks at no more messages than it returns.
func (b *Broker) isQuick(p *pull) bool {
	_, known := b.groups.Get(p.req.Group)
	return known && p.filter == nil
}

// pull is one Pull, from its arrival to its answer.
type pull struct {
	ctx    context.Context
	req    *PullRequest
	done   func(PullResult, error)
	queue  mq.Queue
	filter mq.Filter
	until  time.Time // end of the hold; zero where the client doesn't wait
	here   bool      // not to be sent to a history node
	quick  bool      // to be read elsewhere if the log is not in memory

	held held // its place in the table of held pulls
}

// subscribe finds the filter of a pull: from the request itself, or from the
// group's heartbeats.
func (b *Broker) subscribe(p *pull) (err error) {
	req := p.req
	if req.Inline {
		if p.filter, err = b.filters.Compile(req.ExpressionType, req.Expression); err != nil {
			return fmt.Errorf("%w: group %q, topic %q: %w", ErrBadFilter, req.Group, req.Topic, err)
		}
		return nil
	}
	s, model, known := b.clients.Subscription(req.Group, req.Topic)
	switch {
	case !known:
		return fmt.Errorf("%w: no heartbeat of group %q yet", ErrNoSubscription, req.Group)
	case s == nil:
		return fmt.Errorf("%w: group %q doesn't subscribe to topic %q", ErrNoSubscription, req.Group, req.Topic)
	case s.Version < req.SubVersion:
		return fmt.Errorf("%w: group %q, topic %q: have version %d, client has %d", ErrStaleSubscription, req.Group, req.Topic, s.Version, req.SubVersion)
	case s.BadFilter != nil:
		return fmt.Errorf("%w: group %q, topic %q: %w", ErrBadFilter, req.Group, req.Topic, s.BadFilter)
	}
	if model == modelBroadcasting {
		if g, ok := b.groups.Get(req.Group); ok && !g.Broadcast {
			return fmt.Errorf("%w: group %q may not consume by broadcast", ErrForbidden, req.Group)
		}
	}
	p.filter = s.Filter
	return nil
}

const modelBroadcasting = "BROADCASTING"

// attempt answers a pull, or holds it. first is false for one that was held
// before, which its own goroutine has left: its progress is noted already.
func (b *Broker) attempt(p *pull, first bool) {
	r, held, err := b.tryPull(p, first)
	if !held {
		r.Here = first
		b.answer(p, r, err)
	}
}

// answer ends a pull.
func (b *Broker) answer(p *pull, r PullResult, err error) {
	if err != nil {
		p.done(PullResult{}, err)
		return
	}
	if r.Status == PullFound {
		b.consumed(p.req.Group, p.req.Topic, r.Batch.Count, len(r.Batch.Body))
		b.offsets.NotePulled(p.req.Group, p.req.Topic, p.req.QueueID, r.Next)
		r.Batch.Free = p.req.Backlog.Carry(len(r.Batch.Body), r.Batch.Free)
	}
	p.done(r, nil)
}

// tryPull is one attempt. held says that done has been or will be called
// elsewhere.
func (b *Broker) tryPull(p *pull, first bool) (r PullResult, held bool, err error) {
	req := p.req
	if err := p.ctx.Err(); err != nil {
		return r, false, fmt.Errorf("pull from %v: %w", p.queue, err)
	}
	if b.closed.Load() {
		return r, false, ErrClosed
	}
	g, t, err := b.checkRead(req.Group, req.Topic, req.QueueID)
	if err != nil {
		return r, false, err
	}
	if err := mayTake(req.Backlog); err != nil {
		return r, false, err
	}
	r.TopicSysFlag, r.GroupSysFlag = t.SysFlag, g.SysFlag
	hot, known, err := b.hotRange(p.ctx, p.queue)
	if err != nil {
		return r, false, err
	}
	r.Min, r.Max = b.firstOffset(p.queue, hot), hot.To
	if to, ok := b.offsets.TakeReset(req.Group, req.Topic, req.QueueID); ok && !req.isAt(to) {
		r.Status, r.Next = PullMoved, to
		return r, false, nil
	}
	if first && req.CommitOffset >= 0 {
		b.offsets.Commit(req.Group, req.Topic, req.QueueID, req.CommitOffset)
	}
	switch {
	case !known && req.Offset > 0: // only the archive can know the queue
		b.pullCold(p, r)
		return r, true, nil
	case req.Offset < 0 || req.Offset > hot.To:
		r.Status, r.Next = PullMoved, min(max(req.Offset, r.Min), hot.To)
		return r, false, nil
	case req.Offset == hot.To:
		return b.atEnd(p, r)
	case req.Offset < hot.From:
		b.pullCold(p, r)
		return r, true, nil
	}
	return b.readHot(p, r, first)
}

// isAt reports whether who pulls is where a reset sends it, with nothing below
// that it has still to note: it asked for its progress after the reset. Told to
// move all the same, clients let go of the queue, for up to half a minute.
func (r *PullRequest) isAt(to int64) bool {
	return r.Offset == to && (r.CommitOffset < 0 || r.CommitOffset == to)
}

// readHot is the rest of an attempt whose offset the log has.
func (b *Broker) readHot(p *pull, r PullResult, first bool) (_ PullResult, held bool, err error) {
	req := p.req
	lim := b.limit(p)
	lim.NoWait = p.quick && first
	batch, err := b.log.Read(p.ctx, p.queue, req.Offset, lim)
	if errors.Is(err, mq.ErrWouldWait) {
		p.quick = false
		req.Elsewhere(func() {
			if r, held, err := b.readHot(p, r, first); !held {
				r.Here = first
				b.answer(p, r, err)
			}
		})
		return r, true, nil
	}
	if errors.Is(err, mq.ErrTooLow) || b.standsIn(p, err) { // trimmed since, or damaged
		b.pullCold(p, r)
		return r, true, nil
	}
	if err != nil {
		return r, false, fmt.Errorf("pull from %v at %d: %w", p.queue, req.Offset, err)
	}
	r.fill(batch)
	return r, false, nil
}

// fill puts what was read into the result.
func (r *PullResult) fill(batch mq.Batch) {
	r.Next, r.Max = batch.Next, max(r.Max, batch.Range.To)
	if batch.Count == 0 {
		r.Status = PullNoMatch
		return
	}
	r.Status, r.Batch = PullFound, batch
}

// checkRead finds the group and the topic of a pull or a pop and holds them to
// their settings.
func (b *Broker) checkRead(group, topic string, queue int32) (*Group, *Topic, error) {
	g, err := b.groupFor(group)
	if err != nil {
		return nil, nil, err
	}
	t, ok := b.topics.Get(topic)
	if !ok {
		return nil, nil, fmt.Errorf("%w: %q", ErrNoTopic, topic)
	}
	if err := mayRead(g, t); err != nil {
		return nil, nil, err
	}
	if queue < 0 || queue >= t.ReadQueues {
		return nil, nil, fmt.Errorf("%w: queue %d of topic %q, which has %d to read", ErrBadRequest, queue, topic, t.ReadQueues)
	}
	return g, t, nil
}

// atEnd answers a pull at the end of its queue, or holds it.
func (b *Broker) atEnd(p *pull, r PullResult) (PullResult, bool, error) {
	r.Status, r.Next = PullNoNew, p.req.Offset
	if p.until.IsZero() || !b.now().Before(p.until) {
		return r, false, nil
	}
	held, err := b.waits.hold(p)
	if err != nil || !held {
		return r, false, err
	}
	// What arrived between the look at the queue's end and the hold told
	// nobody: look again.
	if end, _, err := b.hotRange(p.ctx, p.queue); err != nil || end.To != p.req.Offset || b.closed.Load() {
		b.waits.wake(p)
	}
	return r, true, nil
}

// hotRange is the range of a queue in the log; where it has none, [0, 0) and
// not known.
func (b *Broker) hotRange(ctx context.Context, q mq.Queue) (r mq.Range, known bool, err error) {
	r, err = b.log.Range(ctx, q)
	switch {
	case errors.Is(err, mq.ErrNoQueue):
		return mq.Range{}, false, nil
	case err != nil:
		return mq.Range{}, false, fmt.Errorf("range of %v: %w", q, storeError(err))
	}
	return r, true, nil
}

func (b *Broker) limit(p *pull) mq.Limit {
	l := mq.Limit{Messages: p.req.MaxMessages, Bytes: p.req.MaxBytes, Filter: p.filter, Lend: true}
	if l.Messages <= 0 {
		l.Messages = defaultPullMessages
	}
	l.Messages = min(l.Messages, b.cfg.MaxPullMessages)
	if l.Bytes <= 0 || l.Bytes > b.cfg.MaxPullBytes {
		l.Bytes = b.cfg.MaxPullBytes
	}
	l.Bytes = max(1, p.req.Backlog.Room(l.Bytes))
	return l
}
