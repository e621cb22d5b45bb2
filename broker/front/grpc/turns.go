package grpc

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"varve/broker"
)

const (
	// freeBytes of sends that are not answered never keep a connection's others
	// waiting.
	freeBytes = 64 << 10
	// lineBytes bounds the sends of a connection that wait for their turn.
	// Those beyond are refused: clients send them again later.
	lineBytes = 32 << 20
	// allLines bounds the lines of all connections. Above it a connection's is
	// bounded by crampedLine.
	allLines    = 64 << 20
	crampedLine = 1 << 20
)

// lines is what is in line on all connections.
type lines struct{ sends, bytes atomic.Int64 }

// most is how many bytes one connection may have in line.
func (l *lines) most() int64 {
	if l.bytes.Load() > allLines {
		return crampedLine
	}
	return lineBytes
}

// turns has the sends of a connection wait while it has more than its share of
// what may wait for the log: what it goes on sending stays with it, and the room
// is others'.
type turns struct {
	share func() int64 // bytes
	all   *lines

	mu      sync.Mutex
	waiting int64 // bytes of the sends that the log has and has not answered
	lined   int64 // bytes of those in line
	line    list.List
}

// turn is a send in line.
type turn struct {
	bytes int64
	come  chan struct{}
}

// take waits for the turn of a send. Who got it gives it back.
func (t *turns) take(ctx context.Context, bytes int64) error {
	t.mu.Lock()
	if t.line.Len() == 0 && t.free() {
		t.waiting += bytes
		t.mu.Unlock()
		return nil
	}
	if lined := t.lined; lined > 0 && lined+bytes > t.all.most() {
		t.mu.Unlock()
		return fmt.Errorf("%w: %d bytes of this connection wait for their turn", broker.ErrBusy, lined)
	}
	mine := &turn{bytes: bytes, come: make(chan struct{})}
	place := t.line.PushBack(mine)
	t.lined += bytes
	t.all.sends.Add(1)
	t.all.bytes.Add(bytes)
	t.mu.Unlock()
	select {
	case <-mine.come:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-mine.come: // both at once
		return nil
	default:
	}
	t.leave(place)
	return ctx.Err()
}

// give ends the turn of a send, which the log has answered.
func (t *turns) give(bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting -= bytes
	for first := t.line.Front(); first != nil && t.free(); first = t.line.Front() {
		next := t.leave(first)
		t.waiting += next.bytes
		close(next.come)
	}
}

// leave takes a send out of the line. mu is held.
func (t *turns) leave(place *list.Element) *turn {
	left := t.line.Remove(place).(*turn)
	t.lined -= left.bytes
	t.all.sends.Add(-1)
	t.all.bytes.Add(-left.bytes)
	return left
}

// free reports whether one more may go. mu is held.
func (t *turns) free() bool { return t.waiting <= freeBytes || t.waiting <= t.share() }
