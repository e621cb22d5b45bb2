package main

import (
	"context"
	"time"
)

// message is one to be sent, or one that was received.
type message struct {
	topic, body, tag string
	keys             []string
	props            map[string]string
	group            string    // those of a group stay in order
	due              time.Time // not before
	level            int       // delay level
	queue            int       // to be sent to, or where it was; -1 for any

	id      string
	offset  int64
	attempt int // from 1 on
	born    time.Time
	size    int // as stored; 0 where the client doesn't say
	from    any // what the client gave
}

// receipt is the answer to a send.
type receipt struct {
	id     string
	queue  int
	offset int64
}

// verdict is what becomes of a transaction.
type verdict int

const (
	inDoubt verdict = iota
	commit
	rollback
)

// subscription says what a consumer is to get, and how.
type subscription struct {
	group, topic string
	tags, sql    string // all where both are empty
	orderly      bool
	broadcast    bool
	attempts     int // 0 for the client's own
}

// sender sends; methods that the client doesn't have return lacks.
type sender interface {
	send(ctx context.Context, m *message) (receipt, error)
	sendAsync(ctx context.Context, m *message, done func(receipt, error)) error
	oneway(ctx context.Context, m *message) error
	batch(ctx context.Context, ms []*message) error
	request(ctx context.Context, m *message, limit time.Duration) (string, error)
	reply(ctx context.Context, to *message, body string) error
	close() error
}

// bank sends transactions.
type bank interface {
	// send leaves the transaction as the verdict says.
	send(ctx context.Context, m *message, v verdict) (receipt, error)
	close() error
}

// simple receives, acks and postpones message by message.
type simple interface {
	receive(ctx context.Context, most int, invisible time.Duration) ([]*message, error)
	ack(ctx context.Context, m *message) error
	postpone(m *message, invisible time.Duration) error
	close() error
}

// puller reads queues by offset.
type puller interface {
	pull(ctx context.Context, topic string, queue int, offset int64, most int) ([]*message, error)
	close() error
}

// closer is a running consumer.
type closer interface{ close() error }

// library is a client library.
type library interface {
	producer(at place, topic string) (sender, error)
	bank(at place, topic string, asked func(*message) verdict) (bank, error)
	push(at place, s subscription, take func(*message) bool) (closer, error)
	simple(at place, s subscription) (simple, error)
	puller(at place, group, topic string) (puller, error)
	// traced is a producer that writes a trace.
	traced(at place, topic string) (sender, error)
	hasTLS() bool
	remoting() bool
}
