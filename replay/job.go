package replay

import (
	"time"

	"varve/internal/mq"
)

// State is where a job stands.
type State string

// A job is waiting for its turn or running until it is done. It can be paused
// and resumed; a failed one can be resumed too, once its reason is gone.
const (
	Waiting   State = "waiting"
	Running   State = "running"
	Paused    State = "paused"
	Done      State = "done"
	Failed    State = "failed"
	Cancelled State = "cancelled"
)

// Active reports whether the job will go on by itself.
func (s State) Active() bool { return s == Waiting || s == Running }

// Ended reports whether the job will never go on.
func (s State) Ended() bool { return s == Done || s == Cancelled }

// Job is a replay into a topic.
type Job struct {
	ID      string       `json:"id"`
	Spec    Spec         `json:"spec"`
	State   State        `json:"state"`
	Error   string       `json:"error,omitempty"` // why it failed, or what it is trying again after
	Created time.Time    `json:"created"`
	Updated time.Time    `json:"updated"`
	Ended   time.Time    `json:"ended,omitzero"`
	Queues  []QueueState `json:"queues"`
}

// QueueState is the progress of one source queue.
type QueueState struct {
	Source mq.Queue `json:"source"`
	From   int64    `json:"from"` // first offset to replay
	To     int64    `json:"to"`   // end of the offsets to replay
	// Next is the first offset that is not dealt with.
	Next int64    `json:"next"`
	Dest mq.Queue `json:"dest"`
	// Scan is an offset of Dest below which no message at or above Next is.
	Scan int64 `json:"scan"`
	// End is the offset of Dest behind the last message that the job wrote
	// there, 0 for none.
	End int64 `json:"end,omitempty"`
	// Written counts messages in the destination, Bytes their bodies.
	Written int64 `json:"written"`
	Bytes   int64 `json:"bytes"`
	// Missing counts offsets that retention removed before they were read.
	Missing int64 `json:"missing,omitempty"`
}

// Progress sums a job up.
type Progress struct {
	Offsets int64 `json:"offsets"` // to look at
	Read    int64 `json:"read"`    // looked at
	Written int64 `json:"written"`
	Bytes   int64 `json:"bytes"`
	Missing int64 `json:"missing"`
}

// Progress sums the job's queues.
func (j *Job) Progress() Progress {
	var p Progress
	for _, q := range j.Queues {
		p.Offsets += q.To - q.From
		p.Read += q.Next - q.From
		p.Written += q.Written
		p.Bytes += q.Bytes
		p.Missing += q.Missing
	}
	return p
}

// clone copies what a task may change.
func (j *Job) clone() Job {
	c := *j
	c.Queues = append([]QueueState(nil), j.Queues...)
	return c
}
