package retention

import (
	"errors"
	"fmt"
	"time"

	"varve/internal/mq"
)

// Lease keeps what a reader still needs: of a topic, the messages from its
// positions on, or one snapshot of the table. Unlike a hold it ends by itself,
// when nobody renews it, and it keeps no more than it may.
type Lease struct {
	Name  string `json:"name"`
	Topic string `json:"topic"`
	// Positions are the offsets from which on the reader still has to read.
	Positions []Position `json:"positions,omitempty"`
	// Snapshot is a snapshot of the topic's table, 0 for none.
	Snapshot int64 `json:"snapshot,omitempty"`

	By      string    `json:"by,omitempty"`
	Why     string    `json:"why,omitempty"`
	Since   time.Time `json:"since"`
	Renewed time.Time `json:"renewed"`
	// Expires is when it ends unless it is renewed before.
	Expires time.Time `json:"expires"`
	// Released is when its owner ended it.
	Released time.Time `json:"released,omitzero"`
}

// Position is a place in one queue.
type Position struct {
	Broker string `json:"broker"`
	Queue  int32  `json:"queue"`
	Offset int64  `json:"offset"`
}

// LeaseState says whether a lease keeps anything.
type LeaseState string

// The states.
const (
	LeaseHolds    LeaseState = "holds"
	LeaseReleased LeaseState = "released"
	LeaseExpired  LeaseState = "expired" // nobody renewed it
	LeaseTooOld   LeaseState = "too old" // it was held for longer than a lease may be
)

// Validate reports why a lease can't be accepted.
func (l Lease) Validate() error {
	var errs []error
	if l.Name == "" {
		errs = append(errs, errors.New("name: is empty"))
	}
	if l.Topic == "" {
		errs = append(errs, errors.New("topic: is empty"))
	}
	if (len(l.Positions) > 0) == (l.Snapshot != 0) {
		errs = append(errs, errors.New("positions: want positions or a snapshot"))
	}
	for _, p := range l.Positions {
		if p.Offset < 0 || p.Queue < 0 || p.Broker == "" {
			errs = append(errs, fmt.Errorf("positions: %s/%d at %d is none", p.Broker, p.Queue, p.Offset))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("lease %q: %w", l.Name, err)
	}
	return nil
}

// State is the lease's at a time; maxAge is how long any may last, 0 for ever.
func (l Lease) State(now time.Time, maxAge time.Duration) LeaseState {
	switch {
	case !l.Released.IsZero():
		return LeaseReleased
	case maxAge > 0 && now.Sub(l.Since) >= maxAge && l.Expires.Sub(l.Since) >= maxAge:
		return LeaseTooOld
	case !now.Before(l.Expires):
		return LeaseExpired
	}
	return LeaseHolds
}

// Pin is what the lease keeps by its positions.
func (l Lease) Pin(maxBytes int64) Pin {
	p := Pin{Lease: l.Name, Positions: map[mq.Queue]int64{}, MaxBytes: maxBytes}
	for _, x := range l.Positions {
		p.Positions[mq.Queue{Broker: x.Broker, Topic: l.Topic, ID: x.Queue}] = x.Offset
	}
	return p
}
