package group

import (
	"context"

	"varve/internal/mq"
)

// Checker is a Client that can be asked what became of a transaction.
type Checker interface {
	Client
	// CheckTransaction sends the question; the answer comes as a request of
	// its own. It must not block for long.
	CheckTransaction(ctx context.Context, h *Half) error
}

// Half is a transaction's message that is not committed.
type Half struct {
	// Record is the message under its real topic and queue.
	Record       mq.Record
	Group, Topic string
	QueueID      int32
	// Offset and Physical are the half's places, which name it.
	Offset, Physical int64
	MsgID            string // UNIQ_KEY, also the transaction's id
	OffsetMsgID      string
	StoreTimeMillis  int64
	Checks           int   // questions so far, this one included
	LastCheckMillis  int64 // 0 never
	NextCheckMillis  int64 // 0 where none comes
	GivenUp          bool  // nobody is asked any more
}

// Checkers gives the members of a producer group that can be asked about a
// transaction, in an order that stays the same while the members do.
func (r *Registry) Checkers(group string) []Checker {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []Checker
	for _, m := range sorted(r.producers[group]) {
		if c, ok := m.Client.(Checker); ok {
			out = append(out, c)
		}
	}
	return out
}
