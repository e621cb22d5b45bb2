package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"varve/internal/auth"
	"varve/internal/retention"
	"varve/internal/units"
)

// Guards is what the API needs to know of legal holds and leases.
type Guards interface {
	Holds(ctx context.Context) ([]retention.Hold, error)
	Hold(ctx context.Context, name string) (HoldDetail, error)
	SetHold(ctx context.Context, h retention.Hold) (HoldSet, error)
	ReleaseHold(ctx context.Context, name string, r retention.Release) (retention.Hold, error)
	Leases(ctx context.Context) ([]Lease, error)
	SetLease(ctx context.Context, s LeaseSpec) (retention.Lease, error)
	RenewLease(ctx context.Context, s LeaseSpec) (retention.Lease, error)
	ReleaseLease(ctx context.Context, name string) (retention.Lease, error)
}

// HoldSet is a hold that was put in force.
type HoldSet struct {
	retention.Hold
	Lock ObjectLock `json:"lock"`
}

// ObjectLock is whether the bucket itself locks the files that holds cover (S3
// Object Lock), as of the last look.
type ObjectLock struct {
	State   string    `json:"state"` // on, none or unknown
	Locked  int       `json:"locked"`
	Missing int       `json:"missing"` // held files that are not locked yet
	Error   string    `json:"error,omitempty"`
	At      time.Time `json:"at,omitzero"`
}

// String says it to people.
func (l ObjectLock) String() string {
	switch {
	case l.State == "none":
		return "the bucket has no object lock: holds bind Varve, not who may delete from the bucket by other means"
	case l.State != "on" && l.Error != "":
		return "whether the bucket has object lock isn't known: " + l.Error
	case l.State != "on":
		return "the bucket was not asked yet whether it has object lock"
	case l.Error != "":
		return fmt.Sprintf("object lock: %d held files are locked in the bucket, %d are not yet: %s", l.Locked, l.Missing, l.Error)
	case l.Missing > 0:
		return fmt.Sprintf("object lock: %d held files are locked in the bucket, %d are not yet", l.Locked, l.Missing)
	}
	return fmt.Sprintf("object lock: %d held files are locked in the bucket", l.Locked)
}

// HoldDetail is a hold with all that was noted of it, and what it keeps.
type HoldDetail struct {
	retention.Hold
	// History is its states, the oldest first.
	History []retention.Hold `json:"history"`
	Topics  []HeldTopic      `json:"topics"`
	// Lock is of all holds together, in the last pass.
	Lock *ObjectLock `json:"lock,omitempty"`
}

// HeldTopic is what a hold keeps of a topic.
type HeldTopic struct {
	Topic    string `json:"topic"`
	Files    int    `json:"files"`
	Messages int64  `json:"messages"` // of the files: they stay whole
	Bytes    int64  `json:"bytes"`
	Locked   int    `json:"locked"` // of the files, in the bucket itself
	Error    string `json:"error,omitempty"`
}

// Lease is a lease and how it stands.
type Lease struct {
	retention.Lease
	State    retention.LeaseState `json:"state"`
	Kept     int64                `json:"kept"`           // bytes that would go without it, as of the last pass
	Lost     int64                `json:"lost,omitempty"` // bytes that it wanted and its bound let go
	MaxBytes int64                `json:"max_bytes,omitempty"`
	Alarm    string               `json:"alarm,omitempty"` // its bound is near or reached
}

// LeaseSpec makes or renews a lease. One of Positions, From, Snapshot and
// Current says what it keeps; a renewal may leave that as it is.
type LeaseSpec struct {
	Name      string               `json:"name,omitempty"`
	Topic     string               `json:"topic,omitempty"`
	Positions []retention.Position `json:"positions,omitempty"`
	From      time.Time            `json:"from,omitzero"`      // all queues, from a time on
	Snapshot  int64                `json:"snapshot,omitempty"` // of the topic's table
	Current   bool                 `json:"current,omitempty"`  // the newest snapshot
	TTL       units.Duration       `json:"ttl"`
	By        string               `json:"by,omitempty"`
	Why       string               `json:"why,omitempty"`
}

// caller is who is noted: the user where access control knows one.
func caller(ctx context.Context, said string) string {
	if user := callerOf(ctx).User; user != "" {
		return user
	}
	return said
}

func (s *server) guardRoutes() {
	s.handle("GET /api/v1/holds", s.guards(func(ctx context.Context, _ *http.Request) (any, error) {
		return s.b.Guards.Holds(ctx)
	}))
	s.handleWithin(flushDeadline, "GET /api/v1/holds/{name}", s.guards(func(ctx context.Context, r *http.Request) (any, error) {
		return s.b.Guards.Hold(ctx, r.PathValue("name"))
	}))
	s.handle("PUT /api/v1/holds/{name}", s.guards(func(ctx context.Context, r *http.Request) (any, error) {
		var h retention.Hold
		if err := decode(r, &h); err != nil {
			return nil, err
		}
		h.Name, h.By = r.PathValue("name"), caller(ctx, h.By)
		return s.b.Guards.SetHold(ctx, h)
	}))
	s.handle("POST /api/v1/holds/{name}/release", s.guards(func(ctx context.Context, r *http.Request) (any, error) {
		var rel retention.Release
		if err := decode(r, &rel); err != nil {
			return nil, err
		}
		rel.By = caller(ctx, rel.By)
		return s.b.Guards.ReleaseHold(ctx, r.PathValue("name"), rel)
	}))
	s.handle("GET /api/v1/leases", s.guards(func(ctx context.Context, _ *http.Request) (any, error) {
		return s.b.Guards.Leases(ctx)
	}))
	s.handle("PUT /api/v1/leases/{name}", s.lease(s.setLease))
	s.handle("POST /api/v1/leases/{name}/renew", s.lease(func(ctx context.Context, spec LeaseSpec) (any, error) {
		return s.b.Guards.RenewLease(ctx, spec)
	}))
	s.handle("DELETE /api/v1/leases/{name}", s.guards(func(ctx context.Context, r *http.Request) (any, error) {
		if _, err := s.ownLease(ctx, r.PathValue("name")); err != nil {
			return nil, err
		}
		_, err := s.b.Guards.ReleaseLease(ctx, r.PathValue("name"))
		return nil, err
	}))
}

// lease decodes a spec and asks whether its caller may change the lease.
func (s *server) lease(f func(ctx context.Context, spec LeaseSpec) (any, error)) action {
	return s.guards(func(ctx context.Context, r *http.Request) (any, error) {
		var spec LeaseSpec
		if err := decode(r, &spec); err != nil {
			return nil, err
		}
		spec.Name, spec.By = r.PathValue("name"), caller(ctx, spec.By)
		if _, err := s.ownLease(ctx, spec.Name); err != nil {
			return nil, err
		}
		return f(ctx, spec)
	})
}

func (s *server) setLease(ctx context.Context, spec LeaseSpec) (any, error) {
	n := 0
	for _, is := range []bool{len(spec.Positions) > 0, !spec.From.IsZero(), spec.Snapshot != 0, spec.Current} {
		if is {
			n++
		}
	}
	if spec.Topic == "" || n != 1 {
		return nil, BadRequest("topic and one of positions, from, snapshot and current: a lease needs both")
	}
	if err := s.may(ctx, read, auth.Topic(spec.Topic)); err != nil {
		return nil, err
	}
	return s.b.Guards.SetLease(ctx, spec)
}

// ownLease reports whether the caller may change a lease: one that isn't in
// force, its own, or any where it may change the cluster.
func (s *server) ownLease(ctx context.Context, name string) (Lease, error) {
	if s.may(ctx, auth.Update, s.b.Auth.Cluster()) == nil {
		return Lease{}, nil
	}
	list, err := s.b.Guards.Leases(ctx)
	if err != nil {
		return Lease{}, err
	}
	for _, l := range list {
		if l.Name == name && l.State == retention.LeaseHolds && l.By != callerOf(ctx).User {
			return l, &Error{http.StatusForbidden, CodeForbidden, "lease " + name + " is " + l.By + "'s"}
		}
	}
	return Lease{}, nil
}

func (s *server) guards(f action) action {
	return func(ctx context.Context, r *http.Request) (any, error) {
		if s.b.Guards == nil {
			return nil, missing("history", "keeps holds and leases")
		}
		return f(ctx, r)
	}
}

// DryRun asks what a policy would do that is not in force.
type DryRun struct {
	Topic  string            `json:"topic,omitempty"`
	Policy *retention.Policy `json:"policy,omitempty"` // the one in force where nil
}

// DryResult is what a pass would do.
type DryResult struct {
	Explanations []retention.Explanation `json:"explanations"`
	Tenants      []retention.TenantUse   `json:"tenants,omitempty"`
}

// TenantQuota is a tenant's storage quota and how it stands.
type TenantQuota struct {
	retention.Quota
	Use []retention.TenantUse `json:"use,omitempty"` // of the tenants that it bounds, as of the last pass
}

func (s *server) policyRoutes() {
	s.handle("POST /api/v1/retention/dry-run", s.retention(func(ctx context.Context, r *http.Request) (any, error) {
		var d DryRun
		if err := decode(r, &d); err != nil {
			return nil, err
		}
		if d.Policy != nil {
			if err := d.Policy.Validate(); err != nil {
				return nil, BadRequest("%v", err)
			}
		}
		return s.b.Retention.DryRun(ctx, d)
	}))
	s.handle("GET /api/v1/retention/quotas", s.retention(func(ctx context.Context, _ *http.Request) (any, error) {
		return s.b.Retention.StorageQuotas(ctx)
	}))
	s.handle("PUT /api/v1/retention/quotas/{tenant}", s.retention(func(ctx context.Context, r *http.Request) (any, error) {
		var q retention.Quota
		if err := decode(r, &q); err != nil {
			return nil, err
		}
		q.Tenant = r.PathValue("tenant")
		return q, s.b.Retention.SetStorageQuota(ctx, q)
	}))
	s.handle("DELETE /api/v1/retention/quotas/{tenant}", s.retention(func(ctx context.Context, r *http.Request) (any, error) {
		return nil, s.b.Retention.DeleteStorageQuota(ctx, r.PathValue("tenant"))
	}))
}

// Holds lists the legal holds.
func (c *Client) Holds(ctx context.Context) ([]retention.Hold, error) {
	return get[[]retention.Hold](ctx, c, "/holds", nil)
}

// Hold shows one hold.
func (c *Client) Hold(ctx context.Context, name string) (HoldDetail, error) {
	return get[HoldDetail](ctx, c, "/holds/"+url.PathEscape(name), nil)
}

// SetHold puts a hold in force.
func (c *Client) SetHold(ctx context.Context, h retention.Hold) (HoldSet, error) {
	return call[HoldSet](ctx, c, http.MethodPut, "/holds/"+url.PathEscape(h.Name), nil, h)
}

// ReleaseHold ends a hold.
func (c *Client) ReleaseHold(ctx context.Context, name string, r retention.Release) (retention.Hold, error) {
	return call[retention.Hold](ctx, c, http.MethodPost, "/holds/"+url.PathEscape(name)+"/release", nil, r)
}

// Leases lists the leases.
func (c *Client) Leases(ctx context.Context) ([]Lease, error) {
	return get[[]Lease](ctx, c, "/leases", nil)
}

// SetLease makes or changes a lease.
func (c *Client) SetLease(ctx context.Context, s LeaseSpec) (retention.Lease, error) {
	return call[retention.Lease](ctx, c, http.MethodPut, "/leases/"+url.PathEscape(s.Name), nil, s)
}

// RenewLease is a lease's heartbeat.
func (c *Client) RenewLease(ctx context.Context, s LeaseSpec) (retention.Lease, error) {
	return call[retention.Lease](ctx, c, http.MethodPost, "/leases/"+url.PathEscape(s.Name)+"/renew", nil, s)
}

// ReleaseLease ends a lease.
func (c *Client) ReleaseLease(ctx context.Context, name string) error {
	_, err := call[any](ctx, c, http.MethodDelete, "/leases/"+url.PathEscape(name), nil, nil)
	return err
}

// DryRun says what a policy would do.
func (c *Client) DryRun(ctx context.Context, d DryRun) (DryResult, error) {
	return call[DryResult](ctx, c, http.MethodPost, "/retention/dry-run", nil, d)
}

// StorageQuotas lists the tenants' storage quotas.
func (c *Client) StorageQuotas(ctx context.Context) ([]TenantQuota, error) {
	return get[[]TenantQuota](ctx, c, "/retention/quotas", nil)
}

// SetStorageQuota bounds what a tenant takes in the archive.
func (c *Client) SetStorageQuota(ctx context.Context, q retention.Quota) error {
	_, err := call[retention.Quota](ctx, c, http.MethodPut, "/retention/quotas/"+url.PathEscape(q.Tenant), nil, q)
	return err
}

// DeleteStorageQuota removes a tenant's bound.
func (c *Client) DeleteStorageQuota(ctx context.Context, tenant string) error {
	_, err := call[any](ctx, c, http.MethodDelete, "/retention/quotas/"+url.PathEscape(tenant), nil, nil)
	return err
}
