package replay

import (
	"context"

	"varve/internal/mq"
)

// Source is what is replayed: every message there is, whichever tier has it.
// A job also reads its destination through it.
type Source interface {
	mq.Reader
	// Queues lists a topic's queues, of every tier; none for an unknown topic.
	Queues(ctx context.Context, topic string) ([]mq.Queue, error)
}

// Publisher writes to topics. Its methods may be called concurrently.
type Publisher interface {
	// Queues gives the queues of a topic that can be written to. A topic that
	// is missing is created with count queues.
	Queues(ctx context.Context, topic string, count int) ([]mq.Queue, error)
	// Publish appends messages to a queue as they are, one after the other, all
	// or none, and gives the first one's offset. It keeps nothing of msgs. When
	// it returns its outcome is final: after an error the messages may have
	// been written, but won't be later. It makes no topic: ErrGone where the
	// queue's topic isn't there any more.
	Publish(ctx context.Context, q mq.Queue, msgs []*mq.Message) (first int64, err error)
	// Flush returns once all that was published is as durable as it gets.
	Flush(ctx context.Context) error
}

// Jobs keeps records by key; meta.Table is one. Values are JSON.
type Jobs interface {
	Put(key string, v any) error
	Delete(key string) error
	Scan(prefix string, fn func(key string, raw []byte) error) error
}
