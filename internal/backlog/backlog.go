package backlog

import "sync/atomic"

const (
	// DefaultLimit is what all connections of a process may have before each is
	// held to Cramped.
	DefaultLimit = 64 << 20
	// Cramped is what one connection may have where all have too much.
	Cramped = 128 << 10
)

// Total is what all connections have. The zero value has no limit.
type Total struct {
	bytes atomic.Int64
	limit int64
}

// New makes a total with a limit.
func New(limit int64) *Total { return &Total{limit: limit} }

// Bytes is what all connections have now.
func (t *Total) Bytes() int64 { return t.bytes.Load() }

// Conn makes the part of one connection.
func (t *Total) Conn() *Conn { return &Conn{all: t} }

// Conn is what one connection was given and has not taken yet. A nil one is
// never full and counts nothing.
type Conn struct {
	all   *Total
	bytes atomic.Int64
}

// Bytes is what the connection has now.
func (c *Conn) Bytes() int64 { return c.bytes.Load() }

// Room is how many bytes the connection may be given at once, of most. 0 says
// that it has to take something first.
func (c *Conn) Room(most int) int {
	if c == nil || c.all.limit == 0 || c.all.bytes.Load() <= c.all.limit {
		return most
	}
	return int(max(0, min(int64(most), Cramped-c.bytes.Load())))
}

// Add notes an answer that is on its way; Done takes it off again.
func (c *Conn) Add(n int) {
	if c != nil {
		c.bytes.Add(int64(n))
		c.all.bytes.Add(int64(n))
	}
}

// Done notes that an answer was taken, or will never be.
func (c *Conn) Done(n int) { c.Add(-n) }

// Carry notes an answer of n bytes and gives what frees it: free, if not nil,
// and its place here. It is to be called once.
func (c *Conn) Carry(n int, free func()) func() {
	if c == nil || n == 0 {
		return free
	}
	c.Add(n)
	return func() {
		if free != nil {
			free()
		}
		c.Done(n)
	}
}
