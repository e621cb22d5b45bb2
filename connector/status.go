package connector

import (
	"maps"
	"slices"
	"time"

	"varve/internal/mq"
)

// State is what a connector is doing.
type State string

// The states.
const (
	Starting State = "starting" // reading where the archive stands
	Running  State = "running"
	Retrying State = "retrying" // the last attempt at something failed
	Fenced   State = "fenced"   // a newer connector has taken over; for good
	Stopped  State = "stopped"
)

// Status is a snapshot of a connector's state and figures. Counts are since
// New.
type Status struct {
	State State  `json:"state"`
	Epoch int64  `json:"epoch"`
	Error string `json:"error,omitempty"` // last failure, kept when it has passed
	// FailingSince is when the failures began, zero unless State is Retrying;
	// ErrorAt is when the last one was.
	FailingSince time.Time `json:"failing_since,omitzero"`
	ErrorAt      time.Time `json:"error_at,omitzero"`
	LastCommit   time.Time `json:"last_commit,omitzero"`

	// Lag of the archive behind the hot log: messages not committed, log bytes
	// from the first of them on, and the age of the oldest.
	LagMessages int64         `json:"lag_messages"`
	LagBytes    int64         `json:"lag_bytes"`
	LagAge      time.Duration `json:"lag_age"`

	// Blocked are queues that are not archived any more, because messages are
	// missing between the archive and the log, because the log can't give a
	// message that it has, or because their topic's table can't be read.
	Blocked []Blocked `json:"blocked,omitempty"`
	// Damaged are the topics whose table can't be read, and why. The log keeps
	// their messages until it can.
	Damaged map[string]string `json:"damaged,omitempty"`

	OpenSegments int   `json:"open_segments"`
	StagedBytes  int64 `json:"staged_bytes"`
	Jobs         int   `json:"jobs"` // segments rolled and not uploaded yet

	Files    int64 `json:"files"` // committed
	Rows     int64 `json:"rows"`
	RawBytes int64 `json:"raw_bytes"` // of stored records
	Bytes    int64 `json:"bytes"`     // of files
	Commits  int64 `json:"commits"`
	Failures int64 `json:"failures"`
}

// Blocked is a queue that is not archived any more, and why.
type Blocked struct {
	Queue  mq.Queue `json:"queue"`
	Reason string   `json:"reason"`
}

// Status tells where the connector stands.
func (c *Connector) Status() Status {
	c.mu.Lock()
	st, low, oldest := c.status, c.low, c.oldest
	st.Blocked, st.Damaged = slices.Clone(st.Blocked), maps.Clone(st.Damaged)
	c.mu.Unlock()
	st.LagBytes = max(0, c.log.Confirmed()-low)
	st.LagMessages = c.log.Unarchived(func(topic string) bool { return !mq.SystemTopic(topic) })
	if oldest > 0 && st.LagMessages > 0 {
		st.LagAge = max(0, c.cfg.Now().Sub(time.UnixMilli(oldest)))
	}
	return st
}

// failed notes a failure.
func (c *Connector) failed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Error, c.status.ErrorAt = err.Error(), c.cfg.Now()
	c.status.Failures++
}

// failing says that something is being tried again; the state is Retrying until
// recovered was called as often.
func (c *Connector) failing(err error) {
	c.failed(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retrying++; c.retrying == 1 {
		c.status.FailingSince = c.status.ErrorAt
	}
	if c.status.State == Running || c.status.State == Starting {
		c.status.State = Retrying
	}
}

// recovered says that one of them is over.
func (c *Connector) recovered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retrying--; c.retrying > 0 {
		return
	}
	c.status.FailingSince = time.Time{}
	if c.status.State == Retrying {
		c.status.State = Running
	}
}

// tries are the attempts at one thing.
type tries struct {
	c       *Connector
	failing bool
}

// failed notes a failed attempt that another will follow.
func (t *tries) failed(err error) {
	if t.failing {
		t.c.failed(err)
		return
	}
	t.c.failing(err)
	t.failing = true
}

// end says that the last attempt succeeded, or was the last.
func (t *tries) end() {
	if t.failing {
		t.c.recovered()
		t.failing = false
	}
}

// begin ends Starting.
func (c *Connector) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status.State == Starting {
		c.status.State = Running
	}
}

func (c *Connector) setState(s State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.State = s
}
