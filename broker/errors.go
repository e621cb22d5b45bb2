package broker

import (
	"errors"

	"varve/broker/timer"
)

// What a request can fail with. Each is wrapped with the names and numbers of
// the case; a front maps the sentinel to its protocol's code and sends the
// whole text.
var (
	// ErrNoTopic says that the topic doesn't exist and may not be created.
	ErrNoTopic = errors.New("no such topic")
	// ErrNoGroup says that the consumer group doesn't exist.
	ErrNoGroup = errors.New("no such group")
	// ErrForbidden says that permission bits, a disabled group or a reserved
	// name stand against the request.
	ErrForbidden = errors.New("not permitted")
	// ErrIllegalMessage says that the message itself can't be stored.
	ErrIllegalMessage = errors.New("illegal message")
	// ErrMessageType says that the message isn't of the type that its topic
	// takes.
	ErrMessageType = errors.New("wrong message type")
	// ErrBadRequest says that a parameter is out of its range.
	ErrBadRequest = errors.New("bad request")
	// ErrOverQuota says that a tenant has used up what it may send or read in
	// this second, or has as many clients as it may.
	ErrOverQuota = errors.New("flow control")
	// ErrBusy says that the broker takes no more of this at the moment.
	ErrBusy = errors.New("busy")
	// ErrDiskFull says that the disk has no room for more messages.
	ErrDiskFull = errors.New("disk full")
	// ErrClosed says that the broker is shutting down.
	ErrClosed = errors.New("broker closed")
	// ErrNoSubscription says that the group or its wish for the topic is not
	// known yet: the client's next heartbeat brings it.
	ErrNoSubscription = errors.New("no subscription")
	// ErrStaleSubscription says that the client has a newer subscription than
	// its last heartbeat brought.
	ErrStaleSubscription = errors.New("stale subscription")
	// ErrBadFilter says that a filter expression doesn't parse.
	ErrBadFilter = errors.New("bad filter expression")
	// ErrNoOffset says that the group has no progress in the queue.
	ErrNoOffset = errors.New("no offset")
	// ErrNoMember says that the group has no member that is connected.
	ErrNoMember = errors.New("no member online")
	// ErrBadHandle says that a recall handle can't be used here.
	ErrBadHandle = timer.ErrHandle
	// ErrNoMessage says that no message is there.
	ErrNoMessage = errors.New("no such message")
	// ErrHandleExpired says that a receipt handle is good for nothing any more:
	// its message was taken back, or given out again.
	ErrHandleExpired = errors.New("receipt handle expired")
	// ErrNoTransaction says that no half message in doubt is there, or another
	// group's.
	ErrNoTransaction = errors.New("no such transaction")
	// ErrTransactionEnded says that the transaction was ended the other way.
	ErrTransactionEnded = errors.New("transaction has ended")
	// ErrTransactionLate says that the time which the message set itself is
	// over: only an answer to a question ends the transaction.
	ErrTransactionLate = errors.New("transaction is late")
)
