package broker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"varve/broker/group"
	"varve/broker/topic"
	"varve/broker/txn"
	"varve/internal/meta"
	"varve/internal/mq"
)

// TransactionChecker is what a Client implements that can be asked what became
// of a transaction. Of a producer group's clients only such are asked.
//
// CheckTransaction sends the question and doesn't wait for the answer, which
// comes as an EndTransaction with FromCheck; it must not block for long. Where
// it fails, or no client of the group can be asked, the question doesn't count
// and is put again soon.
type TransactionChecker = group.Checker

// HalfMessage is a transaction's message that is not committed.
//
// Record is in the form that a producer is asked about: its topic and queue are
// the real ones, queue offset and physical offset are the half's own, and its
// properties still say TRAN_MSG, PGROUP, REAL_TOPIC and REAL_QID.
type HalfMessage = group.Half

// Resolution is what a producer says of its transaction.
type Resolution int

// Resolutions, with the value that RocketMQ's commitOrRollback has.
const (
	TransactionUnknown  Resolution = 0  // asked again later
	TransactionCommit   Resolution = 8  // the message is delivered
	TransactionRollback Resolution = 12 // it never is
)

// EndTransaction names a half message by what its send was answered, or by what
// a question named: Receipt.QueueOffset and Receipt.PhysicalOffset of a send of
// a transaction message are those of the half.
type EndTransaction struct {
	Group                    string // must be the half's producer group
	Topic                    string // real topic; not compared
	HalfOffset, HalfPhysical int64
	MsgID, TransactionID     string // not compared: clients fill them in differently
	Resolution               Resolution
	FromCheck                bool
	// Allow, if not nil, says whether the caller may send to the half's real
	// topic, whichever topic the request names. Its error is the answer.
	Allow func(topic string) error
}

// EndTransaction commits or rolls back a transaction and waits until that is
// stored. The real message and the end are stored together, once, whoever says
// so how often: the same resolution again is success, another one is
// ErrTransactionEnded. ErrNoTransaction says that there is no such half message
// (any more); ErrTransactionLate that the message set a time of its own
// (CHECK_IMMUNITY_TIME_IN_SECONDS) after which only an answer to a question
// counts. TransactionUnknown changes nothing.
func (b *Broker) EndTransaction(ctx context.Context, req EndTransaction) error {
	ch := make(chan error, 1)
	b.EnqueueEnd(&req, func(err error) { ch <- err })
	b.Commit()
	select {
	case err := <-ch:
		return err
	case <-ctx.Done():
		return fmt.Errorf("end transaction at physical offset %d: %w", req.HalfPhysical, ctx.Err())
	}
}

// EnqueueEnd is EndTransaction without waiting, for a caller with more to come:
// it calls Commit when it has enqueued what it has. done is called once, as
// that of Enqueue.
func (b *Broker) EnqueueEnd(req *EndTransaction, done func(error)) {
	if b.closed.Load() {
		done(ErrClosed)
		return
	}
	e := txn.End{Group: req.Group, Offset: req.HalfOffset, Physical: req.HalfPhysical, FromCheck: req.FromCheck, Allow: req.Allow}
	switch req.Resolution {
	case TransactionCommit:
		e.Verdict = txn.Commit
	case TransactionRollback:
		e.Verdict = txn.Rollback
	case TransactionUnknown:
		done(nil)
		return
	default:
		done(fmt.Errorf("%w: resolution %d of a transaction, want %d (commit), %d (rollback) or %d (unknown)", ErrBadRequest,
			req.Resolution, TransactionCommit, TransactionRollback, TransactionUnknown))
		return
	}
	b.txns.End(e, b.log.Enqueue, func(err error) { done(txnError(err)) })
}

// txnError gives an error of the transactions the name that fronts know.
func txnError(err error) error {
	for _, m := range []struct{ from, to error }{
		{txn.ErrNoHalf, ErrNoTransaction},
		{txn.ErrEnded, ErrTransactionEnded},
		{txn.ErrLate, ErrTransactionLate},
		{txn.ErrTooMany, ErrBusy},
	} {
		if errors.Is(err, m.from) {
			return fmt.Errorf("%w: %w", m.to, err)
		}
	}
	return storeError(err)
}

// TransactionQuery chooses half messages; empty fields choose all.
type TransactionQuery struct {
	Topic, Group string
	GivenUp      bool // those that were put aside, instead of those in doubt
	Max          int  // at most so many, oldest first; 0 is 1000
}

// maxTransactions bounds one answer of Transactions.
const maxTransactions = 1000

// Transactions lists half messages in doubt, or those that were given up,
// oldest first.
func (b *Broker) Transactions(q TransactionQuery) ([]HalfMessage, error) {
	if q.Max <= 0 || q.Max > maxTransactions {
		q.Max = maxTransactions
	}
	list, err := b.txns.List(txn.Query(q))
	if err != nil {
		return nil, err
	}
	out := make([]HalfMessage, len(list))
	for i := range list {
		out[i] = HalfMessage(list[i])
	}
	return out, nil
}

// ResolveTransaction ends a transaction in its producer's stead. A half that
// was given up is restored first.
func (b *Broker) ResolveTransaction(ctx context.Context, physical int64, r Resolution) error {
	h, err := b.FindTransaction(ctx, physical)
	if err != nil {
		return err
	}
	if h.GivenUp && r != TransactionUnknown {
		if err := b.RestoreTransaction(ctx, h.Physical); err != nil {
			return err
		}
	}
	return b.EndTransaction(ctx, EndTransaction{
		Group: h.Group, HalfOffset: h.Offset, HalfPhysical: h.Physical, Resolution: r, FromCheck: true,
	})
}

// FindTransaction gives a half message in doubt, or one that was given up.
// physical is the half's own position, or that of the message that was put into
// TRANS_CHECK_MAX_TIME_TOPIC for it.
func (b *Broker) FindTransaction(ctx context.Context, physical int64) (HalfMessage, error) {
	if rec, err := b.log.FindPhysical(ctx, b.cfg.Broker, physical); err == nil && string(rec.Topic()) == txn.GivenUpTopic {
		physical = rec.PreparedTransactionOffset()
	}
	h, err := b.txns.Find(physical)
	if err != nil {
		return HalfMessage{}, txnError(err)
	}
	return HalfMessage(*h), nil
}

// RestoreTransaction opens a half message that was given up, and has its
// producers asked from the beginning, at once; so it does with one that is in
// doubt. physical is as for FindTransaction.
func (b *Broker) RestoreTransaction(ctx context.Context, physical int64) error {
	if b.closed.Load() {
		return ErrClosed
	}
	h, err := b.FindTransaction(ctx, physical)
	if err != nil {
		return err
	}
	if err := b.txns.Restore(ctx, h.Physical); err != nil {
		return txnError(err)
	}
	b.logger.Info("transaction restored", "topic", h.Topic, "group", h.Group, "physical", h.Physical)
	return nil
}

// openTransactions opens the part.
func (b *Broker) openTransactions(m *meta.Store) (*txn.Store, error) {
	return txn.Open(txn.Options{
		Broker: b.cfg.Broker, Now: b.clock, Logger: b.logger,
		FirstCheck: b.cfg.TransactionTimeout, CheckInterval: b.cfg.TransactionCheckInterval,
		MaxChecks: b.cfg.TransactionMaxChecks, MaxAge: b.cfg.TransactionMaxAge,
		KeepGivenUp: b.cfg.TransactionKeepGivenUp, MaxPerTopic: b.cfg.TransactionsPerTopic,
		Ask: b.askProducer, Place: b.placeCommitted, GiveUp: b.givenUpTopic,
	}, b.log, m)
}

// askProducer puts a question to the group's producers, another one each time.
func (b *Broker) askProducer(ctx context.Context, name string, load func() (*txn.Half, error)) (asked bool, err error) {
	all := b.clients.Checkers(name)
	if len(all) == 0 {
		return false, nil
	}
	h, err := load()
	if err != nil {
		return false, err
	}
	turn := int(b.asks.Add(1))
	for i := range all {
		c := all[(turn+i)%len(all)]
		if err = c.CheckTransaction(ctx, (*HalfMessage)(h)); err == nil {
			return true, nil
		}
		b.logger.Debug("producer not asked about its transaction", "group", name, "client", c.RemoteAddr(), "error", err)
	}
	return false, nil
}

// isHalf reports whether a message is to be held until its transaction is
// committed. A consumer's retry of a message that was one is not.
func isHalf(m *mq.Message, sp *special) bool {
	return sp.transaction && (m.ReconsumeTimes == 0 || sp.delayLevel == 0) || m.SysFlag&mq.SysRollback == mq.SysPrepared
}

// admitHalf checks what only a half message has to be.
func (b *Broker) admitHalf(req *SendRequest, sp *special) error {
	name := req.Message.Topic
	if strings.HasPrefix(name, mq.RetryPrefix) {
		return fmt.Errorf("%w: a transaction can't go to the retry topic %q", ErrIllegalMessage, name)
	}
	if req.Group == "" && req.Message.Property(mq.PropProducerGroup) == "" {
		return fmt.Errorf("%w: a transaction (topic %q) needs a producer group", ErrIllegalMessage, name)
	}
	if err := b.txns.Admit(name); err != nil {
		return txnError(err)
	}
	sp.half, sp.group = true, req.Group
	return nil
}

// placeCommitted puts a committed message where it belongs now: its topic may
// have been deleted or have fewer queues, and its delay begins.
func (b *Broker) placeCommitted(m *mq.Message, delayed bool) error {
	t, ok := b.topics.Get(m.Topic)
	if !ok {
		return fmt.Errorf("%w: %q, of the transaction at physical offset %d", ErrNoTopic, m.Topic, m.PreparedTransactionOffset)
	}
	if m.QueueID < 0 || m.QueueID >= t.Queues() {
		m.QueueID = rand.Int32N(max(1, t.WriteQueues))
	}
	if !delayed {
		return nil
	}
	_, sp := carryOver(nil, m.Properties)
	if sp.delayLevel <= 0 && !sp.timer {
		return nil
	}
	return b.delay(m, &sp, &Receipt{})
}

// givenUpTopic makes the topic of half messages that were given up, so that
// consumers and tools can read it.
func (b *Broker) givenUpTopic() error {
	_, err := b.topics.PutIfAbsent(Topic{Name: txn.GivenUpTopic, ReadQueues: 1, WriteQueues: 1, Perm: topic.PermRead | topic.PermWrite})
	return err
}
