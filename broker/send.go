package broker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"varve/broker/topic"
	"varve/hot"
	"varve/internal/meta"
	"varve/internal/mq"
)

// Submit stores one message, or the messages of a batch as one unit. done is
// called once, possibly before Submit returns and otherwise from the goroutine
// that commits: it must return quickly, and the receipts are valid during the
// call only.
func (b *Broker) Submit(req *SendRequest, done func([]Receipt, error)) {
	b.submit(req, done, b.log.Submit)
}

// Enqueue is Submit for a caller with more to come: it calls Commit when it has
// enqueued what it has.
func (b *Broker) Enqueue(req *SendRequest, done func([]Receipt, error)) {
	b.submit(req, done, b.log.Enqueue)
}

// SendShare is how many bytes of sends one connection may have waiting.
func (b *Broker) SendShare() int64 { return b.log.Share() }

// Commit stores what is enqueued, in the caller's goroutine where the log's
// flush policy lets it.
func (b *Broker) Commit() { b.log.Commit() }

func (b *Broker) submit(req *SendRequest, done func([]Receipt, error), put func([]*mq.Message, func([]hot.Placed, error))) {
	s := b.sendings.Get().(*sending)
	err := b.prepare(s, req)
	if err == nil {
		err = overQuota(b.mayStore(req.Message.Topic, s))
	}
	if err == nil && s.fresh != nil {
		err = b.makeTopic(s, req)
	}
	if err != nil {
		b.stats.sendErrors.Add(1)
		s.release()
		done(nil, err)
		return
	}
	s.done = done
	put(s.msgs, s.placed)
}

// Send is Submit that waits. The receipts are the caller's own. When ctx ends
// first the messages may still be stored.
func (b *Broker) Send(ctx context.Context, req *SendRequest) ([]Receipt, error) {
	type answer struct {
		receipts []Receipt
		err      error
	}
	ch := make(chan answer, 1)
	b.Submit(req, func(r []Receipt, err error) { ch <- answer{slices.Clone(r), err} })
	select {
	case a := <-ch:
		return a.receipts, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("send to %q: %w", req.Message.Topic, ctx.Err())
	}
}

// sending is one Submit under way. It is pooled: a normal message costs no
// allocation but its message id.
type sending struct {
	b        *Broker
	one      mq.Message
	msgs     []*mq.Message
	receipts []Receipt
	props    []byte // what the messages' Properties point into
	done     func([]Receipt, error)
	placed   func([]hot.Placed, error)
	bytes    int64
	fresh    *Topic // to be made first, as the broker has it not; else nil
}

func (b *Broker) newSendings() *sync.Pool {
	return &sync.Pool{New: func() any {
		s := &sending{b: b}
		s.placed = s.answer
		return s
	}}
}

// maxPooledProps bounds what a pooled sending keeps for the next.
const maxPooledProps = 64 << 10

func (s *sending) release() {
	s.one = mq.Message{}
	clear(s.msgs)
	clear(s.receipts)
	s.msgs, s.receipts, s.done, s.bytes, s.fresh = s.msgs[:0], s.receipts[:0], nil, 0, nil
	if s.props = s.props[:0]; cap(s.props) > maxPooledProps {
		s.props = nil
	}
	s.b.sendings.Put(s)
}

// answer turns what the log says into receipts.
func (s *sending) answer(placed []hot.Placed, err error) {
	if err != nil {
		s.b.stats.sendErrors.Add(1)
		s.done(nil, storeError(err))
		s.release()
		return
	}
	for i, p := range placed {
		r := &s.receipts[i]
		r.QueueOffset, r.PhysicalOffset, r.StoreTimeMillis = p.QueueOffset, p.PhysicalOffset, p.StoreTimeMillis
		if r.dueMillis > 0 {
			r.RecallHandle = s.b.recallHandle(r)
		}
	}
	s.b.stats.sends.Add(int64(len(placed)))
	s.b.stats.sentBytes.Add(s.bytes)
	s.b.traffic.Add(TrafficKey{Kind: TrafficPut, Topic: s.receipts[0].Queue.Topic}, int64(len(placed)), s.bytes)
	s.done(s.receipts, nil)
	s.release()
}

// storeError gives an error of the log or the meta store the name that fronts
// know.
func storeError(err error) error {
	for _, m := range []struct{ from, to error }{
		{hot.ErrBusy, ErrBusy},
		{hot.ErrDiskFull, ErrDiskFull},
		{meta.ErrDiskFull, ErrDiskFull},
		{hot.ErrClosed, ErrClosed},
		{hot.ErrTooLarge, ErrIllegalMessage},
	} {
		if errors.Is(err, m.from) {
			return fmt.Errorf("%w: %w", m.to, err)
		}
	}
	return err
}

// prepare checks a request and fills s with the messages to append.
func (b *Broker) prepare(s *sending, req *SendRequest) error {
	if b.closed.Load() {
		return ErrClosed
	}
	m := &req.Message
	t, known, err := b.topicForSend(req)
	if err != nil {
		return err
	}
	if !known {
		s.fresh = t
	}
	if most := b.live.Load().MaxBodyBytes; len(m.Body) > most {
		return fmt.Errorf("%w: body of %d bytes is over the limit of %d", ErrIllegalMessage, len(m.Body), most)
	}
	queue, err := pickQueue(t, m.QueueID)
	if err != nil {
		return err
	}
	if req.Batch {
		return b.prepareBatch(s, req, t, queue)
	}
	s.one = *m
	s.one.Topic, s.one.QueueID = t.Name, queue
	if t.FilterType == topic.MultiTag {
		s.one.SysFlag |= mq.SysMultiTags
	}
	var sp special
	s.props, sp = carryOver(s.props, m.Properties)
	if err := b.checkType(req, t, &sp); err != nil {
		return err
	}
	if isHalf(m, &sp) {
		if err := b.admitHalf(req, &sp); err != nil {
			return err
		}
	}
	if len(t.Attributes) > 0 && t.Attributes[propCompactionPolicy] == "COMPACTION" && !sp.keys {
		return fmt.Errorf("%w: topic %q is compacted and needs KEYS", ErrIllegalMessage, t.Name)
	}
	if strings.HasPrefix(t.Name, mq.RetryPrefix) {
		dead, err := b.retriedByClient(&s.one, &sp, req.MaxReconsumeTimes)
		if err != nil {
			return err
		}
		if dead {
			s.props = append(s.props[:0], mq.RemoveProperty(s.props, mq.PropDelay)...)
			sp.delayLevel, sp.timer = 0, false
		}
	}
	return b.stage(s, &s.one, &sp, 0)
}

// stage gives one message, whose properties are s.props from start on, the
// broker's own properties and its delay, and adds it to the unit.
func (b *Broker) stage(s *sending, m *mq.Message, sp *special, start int) error {
	id := string(sp.uniqKey)
	if id == "" {
		id = b.uniq.next(b.now())
		s.props = mq.AppendProperty(s.props, mq.PropUniqKey, id)
	}
	s.props = append(s.props, b.ownProps...)
	m.StoreHost = b.cfg.StoreHost
	m.Properties = s.props[start:len(s.props):len(s.props)]
	s.receipts = append(s.receipts, Receipt{
		MsgID: id, StoreHost: b.cfg.StoreHost,
		Queue: mq.Queue{Broker: b.cfg.Broker, Topic: m.Topic, ID: m.QueueID},
	})
	if sp.half {
		b.txns.Prepare(m, sp.group, id)
	} else if sp.delayLevel > 0 || sp.timer {
		if err := b.delay(m, sp, &s.receipts[len(s.receipts)-1]); err != nil {
			return err
		}
	}
	if n := len(m.Properties); n > mq.MaxPropertiesLen {
		return fmt.Errorf("%w: properties of %d bytes are over the limit of %d", ErrIllegalMessage, n, mq.MaxPropertiesLen)
	}
	s.bytes += int64(len(m.Body))
	s.msgs = append(s.msgs, m)
	return nil
}

// pickQueue resolves the queue that a client asks for.
func pickQueue(t *Topic, id int32) (int32, error) {
	if !t.Writable() || t.WriteQueues == 0 {
		return 0, fmt.Errorf("%w: topic %q takes no messages", ErrForbidden, t.Name)
	}
	if id < 0 {
		return rand.Int32N(t.WriteQueues), nil
	}
	if id >= t.Queues() {
		return 0, fmt.Errorf("%w: queue %d of topic %q, which has %d", ErrBadRequest, id, t.Name, t.Queues())
	}
	return id, nil
}

// topicForSend finds the topic of a send. One that is unknown is how it would be
// made, where that is allowed: makeTopic makes it once the send is accepted, so
// that one that is refused leaves nothing behind.
func (b *Broker) topicForSend(req *SendRequest) (t *Topic, known bool, err error) {
	name := req.Message.Topic
	if t, ok := b.topics.Get(name); ok && (!mq.SystemTopic(name) || topic.Sendable(name)) {
		return t, true, nil
	}
	if !topic.Sendable(name) {
		return nil, false, fmt.Errorf("%w: topic %q is the broker's own", ErrForbidden, name)
	}
	if err := topic.CheckName(name); err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	t = &Topic{Name: strings.Clone(name), SysFlag: topic.SysFlag(req.Unit, false)}
	if own, is := b.BuiltInTopic(name); is {
		*t = *own
	} else if !b.inherit(t, req) {
		if !strings.HasPrefix(name, mq.RetryPrefix) {
			return nil, false, fmt.Errorf("%w: %q", ErrNoTopic, name)
		}
		t.ReadQueues, t.WriteQueues, t.Perm = 1, 1, topic.PermRead|topic.PermWrite
		t.SysFlag = topic.SysFlag(false, req.Unit)
	}
	return t, false, nil
}

// makeTopic makes the topic of a send that was prepared for it.
func (b *Broker) makeTopic(s *sending, req *SendRequest) error {
	made, err := b.topics.PutIfAbsent(*s.fresh)
	if err != nil {
		return storeError(err)
	}
	for i := range s.receipts { // another may have made it first, with fewer queues
		if q := s.receipts[i].Queue; q.Topic == made.Name {
			if _, err := pickQueue(made, q.ID); err != nil {
				return err
			}
		}
	}
	b.logger.Info("topic created by a send", "topic", made.Name, "queues", made.WriteQueues, "group", req.Group)
	return nil
}

// inherit gives a new topic the settings of the default topic that the client
// names; false where that may not be inherited from.
func (b *Broker) inherit(t *Topic, req *SendRequest) bool {
	from := req.DefaultTopic
	if from == "" {
		from = mq.AutoTopic
	}
	d, ok := b.topics.Get(from)
	if !ok || d.Perm&topic.PermInherit == 0 {
		return false
	}
	n := min(req.DefaultQueues, d.WriteQueues, b.cfg.DefaultQueues)
	if req.DefaultQueues <= 0 {
		n = min(defaultSendQueues, d.WriteQueues)
	}
	t.ReadQueues, t.WriteQueues = n, n
	t.Perm = d.Perm &^ topic.PermInherit
	t.FilterType = d.FilterType
	return true
}

// defaultSendQueues is what RocketMQ's clients ask for.
const defaultSendQueues = 4
