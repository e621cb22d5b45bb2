package catalog

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"varve/internal/archive"
)

// leaseHeader is how an engine asks for a lease of what it is about to read:
// "NAME" or "NAME;ttl=2h".
const leaseHeader = "X-Varve-Lease"

// Errors of a Lease function.
var (
	// ErrBadLease says that a lease can't be as it was asked for.
	ErrBadLease = errors.New(leaseHeader)
	// ErrOthersLease says that a lease of the name is somebody else's.
	ErrOthersLease = errors.New("another user holds a lease of this name")
)

// LeaseRequest asks to keep a snapshot of a topic's table for a reader.
type LeaseRequest struct {
	Name     string
	Topic    string
	Snapshot int64
	User     string        // "" where access control knows none
	TTL      time.Duration // 0 is the keeper's own
}

// lease takes the lease that a request asks for, if it does. It comes before the
// metadata is given, which has it as a tag then.
func (s *server) lease(c *call, t *archive.Table) error {
	asked := c.r.Header.Get(leaseHeader)
	if asked == "" || c.r.Method != http.MethodGet {
		return nil
	}
	r := LeaseRequest{Topic: t.Topic(), Snapshot: t.Snapshot().ID, User: c.caller.User}
	name, option, more := strings.Cut(asked, ";")
	if r.Name = strings.TrimSpace(name); more {
		ttl, ok := strings.CutPrefix(strings.TrimSpace(option), "ttl=")
		d, err := time.ParseDuration(ttl)
		if !ok || err != nil || d <= 0 {
			return fmt.Errorf("%w %q: want NAME or NAME;ttl=2h", ErrBadLease, asked)
		}
		r.TTL = d
	}
	if s.Lease == nil {
		return fmt.Errorf("%w: this process keeps no leases", ErrBadLease)
	}
	if r.Snapshot == 0 {
		return nil // there is nothing in it
	}
	ctx, cancel := context.WithTimeout(c.ctx, deadline)
	defer cancel()
	return s.Lease(ctx, r)
}
