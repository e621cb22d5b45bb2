package retention

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"varve/internal/mq"
)

// maxHoldKeys bounds a hold: each file in its scope is asked for each key.
const maxHoldKeys = 1000

// Hold is a legal hold: what it covers goes by no rule, no quota, no erasure and
// no deletion of a topic until somebody releases it. What is set of Tenant,
// Topic, Queues, Keys and the times must all be true of a message; a hold in
// which nothing is set covers everything.
type Hold struct {
	Name string `json:"name"`
	// Tenant and Topic are patterns as a rule's, Queues is a list as a rule's.
	Tenant string `json:"tenant,omitempty"`
	Topic  string `json:"topic,omitempty"`
	Queues string `json:"queues,omitempty"`
	// Keys covers messages that carry one of them, as a word of KEYS or as their
	// unique key.
	Keys []string `json:"keys,omitempty"`
	// From and To bound the store time, To excluded.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`

	By    string    `json:"by,omitempty"`
	Why   string    `json:"why"`
	Since time.Time `json:"since"`
	// Released says who let it go; nil while it holds.
	Released *Release `json:"released,omitempty"`
}

// Release is the end of a hold.
type Release struct {
	By  string    `json:"by,omitempty"`
	Why string    `json:"why"`
	At  time.Time `json:"at"`
}

// Validate reports why a hold can't be accepted.
func (h Hold) Validate() error {
	var errs []error
	if h.Name == "" {
		errs = append(errs, errors.New("name: is empty"))
	}
	if h.Why == "" {
		errs = append(errs, errors.New("why: a hold needs a reason"))
	}
	if _, err := parseQueues(h.Queues); err != nil {
		errs = append(errs, fmt.Errorf("queues: %w", err))
	}
	if len(h.Keys) > maxHoldKeys {
		errs = append(errs, fmt.Errorf("keys: %d are over the limit of %d", len(h.Keys), maxHoldKeys))
	}
	if slices.Contains(h.Keys, "") {
		errs = append(errs, errors.New("keys: one is empty"))
	}
	if !h.From.IsZero() && !h.To.IsZero() && !h.From.Before(h.To) {
		errs = append(errs, errors.New("to: is not after from"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("hold %q: %w", h.Name, err)
	}
	return nil
}

// Active reports whether the hold still holds.
func (h Hold) Active() bool { return h.Released == nil }

// CoversTopic reports whether a message of a topic may be covered.
func (h Hold) CoversTopic(topic string) bool {
	tenant, local := mq.SplitTenant(topic)
	return glob(anyIfEmpty(h.Tenant), tenant) && glob(anyIfEmpty(h.Topic), local)
}

// CoversQueue reports whether a message of a queue may be covered.
func (h Hold) CoversQueue(q mq.Queue) bool {
	tenant, local := mq.SplitTenant(q.Topic)
	return Rule{Tenant: h.Tenant, Topic: h.Topic, Queues: h.Queues}.matches(tenant, local, q.ID)
}

// CoversTimes reports whether a message stored in [first, last], in
// milliseconds, may be covered.
func (h Hold) CoversTimes(first, last int64) bool {
	return (h.From.IsZero() || last >= h.From.UnixMilli()) && (h.To.IsZero() || first < h.To.UnixMilli())
}
