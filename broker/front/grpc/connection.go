package grpc

import (
	"context"
	"sync"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"varve/broker"
	"varve/internal/backlog"
)

// connection is what calls of one connection share. It comes to them as the
// connection's AuthInfo, so that no call looks for it.
type connection struct {
	credentials.AuthInfo
	backlog *backlog.Conn // what the client was given and hasn't read
	turns   turns         // its sends

	mu   sync.Mutex
	gone bool
}

// use counts the connection for the tenant of a topic or group.
func (c *connection) use(b *broker.Broker, name string) error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return broker.ErrMemberLeft
	}
	return b.Use(c, name)
}

// ended notes that the connection is closed: what its calls still do counts no
// more.
func (c *connection) ended(b *broker.Broker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	b.Unuse(c)
}

// connectionOf is the connection of a call's context; nil where there is none.
func connectionOf(ctx context.Context) *connection {
	if p, ok := peer.FromContext(ctx); ok {
		c, _ := p.AuthInfo.(*connection)
		return c
	}
	return nil
}

// turn waits until a send of so many bytes may go to the log; answered ends it.
func (c *connection) turn(ctx context.Context, bytes int64) error {
	if c == nil {
		return nil
	}
	return c.turns.take(ctx, bytes)
}

func (c *connection) answered(bytes int64) {
	if c != nil {
		c.turns.give(bytes)
	}
}

// unread is what the connection's client hasn't read.
func (c *connection) unread() *backlog.Conn {
	if c == nil {
		return nil
	}
	return c.backlog
}
