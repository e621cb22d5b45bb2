package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"varve/broker"
	"varve/history"
	"varve/internal/admin"
	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/obs"
	"varve/internal/retention"
	"varve/replay"
)

// holdsKey is where the holds that were in force are kept: they count while the
// bucket can't be asked.
const holdsKey = "active"

// openHolds makes what knows the legal holds.
func (n *Node) openHolds() error {
	n.holds = history.NewHolds(n.history)
	table := n.meta.Table("holds")
	var earlier []retention.Hold
	if had, err := table.Get(holdsKey, &earlier); err != nil {
		return fmt.Errorf("read the legal holds: %w", err)
	} else if had {
		n.holds.Recall(earlier)
	}
	n.holds.OnChange = func(list []retention.Hold) {
		if err := table.Put(holdsKey, list); err != nil {
			n.log.Warn("remember the legal holds", slog.Any("err", err))
		}
	}
	n.onRun("legal holds", func(ctx context.Context) error {
		if !n.reach.wait(ctx) {
			return nil
		}
		return n.holds.Run(ctx, min(n.cfg.Retention.Interval, time.Minute))
	})
	return nil
}

// mayDelete lets a topic be deleted unless a legal hold may cover a message of
// it.
func (n *Node) mayDelete(ctx context.Context, topic string) error {
	if n.holds == nil {
		return nil
	}
	err := n.holds.CheckTopic(ctx, topic)
	if errors.Is(err, history.ErrHeld) {
		return fmt.Errorf("%w: %w", broker.ErrForbidden, err)
	}
	return err
}

// guardAPI implements admin.Guards.
type guardAPI struct{ n *Node }

func (a guardAPI) Holds(ctx context.Context) ([]retention.Hold, error) {
	list, err := a.n.holds.All(ctx)
	return list, guardError(err)
}

func (a guardAPI) Hold(ctx context.Context, name string) (admin.HoldDetail, error) {
	list, err := a.n.holds.History(ctx, name)
	if err != nil {
		return admin.HoldDetail{}, guardError(err)
	}
	d := admin.HoldDetail{Hold: list[len(list)-1], History: list, Topics: []admin.HeldTopic{}}
	if !d.Active() {
		return d, nil
	}
	lock := a.objectLock()
	d.Lock = &lock
	topics, err := a.n.archive.Topics(ctx)
	if err != nil {
		return d, guardError(err)
	}
	for _, topic := range topics {
		if !d.CoversTopic(topic) {
			continue
		}
		t, err := a.n.archive.Table(ctx, topic)
		if err != nil {
			continue // what can't be read goes nowhere either
		}
		h := admin.HeldTopic{Topic: topic}
		for _, f := range t.Index().All() {
			if slices.Contains(a.n.holds.Covering(ctx, f), name) {
				h.Files, h.Messages, h.Bytes = h.Files+1, h.Messages+f.Rows, h.Bytes+f.Bytes
				if a.n.retainer.LocksFile(f.Name) {
					h.Locked++
				}
			}
		}
		d.Topics = append(d.Topics, h)
	}
	return d, nil
}

// objectLock tells how the bucket's own locks stand.
func (a guardAPI) objectLock() admin.ObjectLock {
	st := a.n.retainer.Locks()
	return admin.ObjectLock{State: string(st.State), Locked: st.Locked, Missing: st.Missing, Error: st.Error, At: st.At}
}

// SetHold puts a hold in force and has the bucket lock its files, which goes on
// behind the answer. That the bucket can't is said at once.
func (a guardAPI) SetHold(ctx context.Context, h retention.Hold) (admin.HoldSet, error) {
	h, err := a.n.holds.Set(ctx, h)
	if err != nil {
		return admin.HoldSet{Hold: h}, guardError(err)
	}
	a.n.retainer.HoldsChanged()
	out := admin.HoldSet{Hold: h, Lock: a.objectLock()}
	switch on, err := a.n.retainer.BucketLocks(ctx); {
	case err != nil:
		out.Lock = admin.ObjectLock{State: string(history.LockUnknown), Error: err.Error()}
	case !on:
		out.Lock = admin.ObjectLock{State: string(history.LockNone)}
	default:
		out.Lock.State = string(history.LockOn)
	}
	return out, nil
}

func (a guardAPI) ReleaseHold(ctx context.Context, name string, r retention.Release) (retention.Hold, error) {
	h, err := a.n.holds.Release(ctx, name, r)
	a.n.retainer.HoldsChanged()
	return h, guardError(err)
}

func (a guardAPI) Leases(ctx context.Context) ([]admin.Lease, error) {
	list, err := a.n.retainer.Leases().All(ctx)
	if err != nil {
		return nil, guardError(err)
	}
	out := make([]admin.Lease, len(list))
	for i, l := range list {
		out[i] = admin.Lease{Lease: l.Lease, State: l.State, Kept: l.Kept, Lost: l.Lost, MaxBytes: l.MaxBytes, Alarm: l.Alarm}
	}
	return out, nil
}

func (a guardAPI) SetLease(ctx context.Context, s admin.LeaseSpec) (retention.Lease, error) {
	l := retention.Lease{Name: s.Name, Topic: s.Topic, Positions: s.Positions, Snapshot: s.Snapshot, By: s.By, Why: s.Why}
	err := a.checkPositions(ctx, s.Topic, l.Positions)
	switch {
	case err != nil:
		return l, guardError(err)
	case s.Current:
		t, terr := a.n.archive.Table(ctx, s.Topic)
		if terr != nil {
			return l, tableError(terr, s.Topic)
		}
		if l.Snapshot = t.Snapshot().ID; l.Snapshot == 0 {
			return l, admin.NotFound("topic %q has nothing in the archive", s.Topic)
		}
	case !s.From.IsZero():
		if l.Positions, err = a.positions(ctx, s.Topic, s.From); err != nil {
			return l, guardError(err)
		}
	}
	l, err = a.n.retainer.Leases().Set(ctx, l, time.Duration(s.TTL))
	return l, guardError(err)
}

// checkPositions gives positions without a broker group the server's own, and
// refuses those of queues that there aren't, and those beyond a queue's end: they
// would pin nothing.
func (a guardAPI) checkPositions(ctx context.Context, topic string, list []retention.Position) error {
	if len(list) == 0 {
		return nil
	}
	queues, err := replaySource{a.n.reader, a.n}.Queues(ctx, topic)
	if err != nil {
		return err
	}
	for i := range list {
		p := &list[i]
		p.Broker = cmp.Or(p.Broker, a.n.cfg.Broker.Name)
		q := mq.Queue{Broker: p.Broker, Topic: topic, ID: p.Queue}
		if !slices.Contains(queues, q) {
			return admin.NotFound("topic %q has no queue %d on broker group %s, or nothing is in it", topic, p.Queue, p.Broker)
		}
		r, err := a.n.reader.Range(ctx, q)
		if err != nil {
			return err
		}
		if p.Offset > r.To {
			return admin.BadRequest("queue %d of topic %q ends at offset %d: a lease from %d on would keep nothing", p.Queue, topic, r.To, p.Offset)
		}
	}
	return nil
}

// positions gives where each queue of a topic is at a time.
func (a guardAPI) positions(ctx context.Context, topic string, from time.Time) ([]retention.Position, error) {
	queues, err := replaySource{a.n.reader, a.n}.Queues(ctx, topic)
	if err != nil {
		return nil, err
	}
	if len(queues) == 0 {
		return nil, admin.NotFound("topic %q does not exist, or nothing is in it", topic)
	}
	var out []retention.Position
	for _, q := range queues {
		at, err := a.n.reader.OffsetAt(ctx, q, from.UnixMilli(), mq.Lower)
		if err != nil {
			return nil, err
		}
		out = append(out, retention.Position{Broker: q.Broker, Queue: q.ID, Offset: at})
	}
	return out, nil
}

func (a guardAPI) RenewLease(ctx context.Context, s admin.LeaseSpec) (retention.Lease, error) {
	for _, l := range a.n.retainer.Leases().Known() {
		if l.Name == s.Name {
			if err := a.checkPositions(ctx, l.Topic, s.Positions); err != nil {
				return l.Lease, guardError(err)
			}
		}
	}
	l, err := a.n.retainer.Leases().Renew(ctx, s.Name, time.Duration(s.TTL), s.Positions)
	return l, guardError(err)
}

func (a guardAPI) ReleaseLease(ctx context.Context, name string) (retention.Lease, error) {
	l, err := a.n.retainer.Leases().Release(ctx, name)
	return l, guardError(err)
}

// guardError gives an error of holds and leases its place in the API.
func guardError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, history.ErrNoHold), errors.Is(err, history.ErrNoLease), errors.Is(err, archive.ErrNoTable), errors.Is(err, archive.ErrNoSnapshot):
		return admin.NotFound("%v", err)
	case errors.Is(err, history.ErrHoldExists), errors.Is(err, history.ErrLeaseLost), errors.Is(err, objstore.ErrExists), errors.Is(err, archive.ErrErasedSince):
		return admin.Conflict("%v", err)
	case errors.Is(err, history.ErrInvalid):
		return admin.BadRequest("%v", err)
	}
	return brokerError(err)
}

// Leases of replays: each job that has not ended keeps what it still has to
// read.
const (
	replayLease      = "replay-"
	replayLeaseFor   = 24 * time.Hour
	replayLeaseEvery = 10 * time.Minute
)

func (n *Node) leaseReplays(ctx context.Context) error {
	if n.replay == nil || !n.reach.wait(ctx) {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(replayLeaseEvery)
	defer tick.Stop()
	for {
		n.leaseJobs(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// leaseJobs renews the leases of the jobs that have not ended, and releases the
// others'.
func (n *Node) leaseJobs(ctx context.Context) {
	known, err := n.retainer.Leases().All(ctx)
	if err != nil {
		n.log.Warn("leases of replays", slog.Any("err", err))
		return
	}
	live := map[string]bool{}
	for _, j := range n.replay.List() {
		if !j.State.Ended() {
			live[replayLease+j.ID] = true
			n.leaseJob(ctx, j)
		}
	}
	for _, l := range known {
		if strings.HasPrefix(l.Name, replayLease) && l.By == n.cfg.Broker.Name && l.State == retention.LeaseHolds && !live[l.Name] {
			if _, err := n.retainer.Leases().Release(ctx, l.Name); err != nil && !errors.Is(err, history.ErrNoLease) {
				n.log.Warn("lease of a replay", slog.String("lease", l.Name), slog.Any("err", err))
			}
		}
	}
}

// leaseJob keeps what a job still has to read. Where that can't be said to the
// archive the job goes on without: what is gone when its turn comes is counted
// as missing.
func (n *Node) leaseJob(ctx context.Context, j replay.Job) {
	l := retention.Lease{Name: replayLease + j.ID, Topic: j.Spec.Source, By: n.cfg.Broker.Name, Why: "replay into " + j.Spec.Destination}
	for _, q := range j.Queues {
		if q.Next < q.To {
			l.Positions = append(l.Positions, retention.Position{Broker: q.Source.Broker, Queue: q.Source.ID, Offset: q.Next})
		}
	}
	if len(l.Positions) == 0 {
		return
	}
	if _, err := n.retainer.Leases().Set(ctx, l, replayLeaseFor); err != nil && ctx.Err() == nil {
		n.log.Warn("lease of a replay", slog.String("lease", l.Name), slog.Any("err", err))
	}
}

// guardMetrics are what stands above rules, and what quotas bound.
func (n *Node) guardMetrics() {
	m := n.metrics
	m.Gauge(obs.HoldsActive, "legal holds in force", func() float64 { return float64(n.holds.Active()) })
	m.Gauge(obs.HoldsLocked, "held files that the bucket itself locks (S3 Object Lock), as of the last pass",
		func() float64 { return float64(n.retainer.Locks().Locked) })
	m.Gauge(obs.HoldsUnlocked, "held files that the bucket itself should lock and doesn't yet, as of the last pass; 0 where it has no object lock",
		func() float64 { return float64(n.retainer.Locks().Missing) })
	leases := func(figure func(history.LeaseStatus) float64) func(add func(float64, ...string)) {
		return func(add func(float64, ...string)) {
			for _, l := range n.retainer.Leases().Known() {
				if l.State == retention.LeaseHolds || l.Alarm != "" {
					add(figure(l), l.Name, l.Topic)
				}
			}
		}
	}
	m.Gauges(obs.LeaseKept, "bytes that a lease keeps and that would go without it, as of the last pass", []string{"lease", "topic"},
		leases(func(l history.LeaseStatus) float64 { return float64(l.Kept) }))
	m.Gauges(obs.LeaseAlarm, "1 while a lease is near its bound or has reached it", []string{"lease", "topic"},
		leases(func(l history.LeaseStatus) float64 {
			if l.Alarm != "" {
				return 1
			}
			return 0
		}))
	tenants := func(figure func(retention.TenantUse) float64) func(add func(float64, ...string)) {
		return func(add func(float64, ...string)) {
			for _, u := range n.retainer.Tenants() {
				add(figure(u), u.Tenant)
			}
		}
	}
	m.Gauges(obs.QuotaStored, "bytes of a tenant's files in the archive, as of the last pass", []string{"tenant"},
		tenants(func(u retention.TenantUse) float64 { return float64(u.After) }))
	m.Gauges(obs.QuotaStorageLimit, "a tenant's storage quota", []string{"tenant"},
		tenants(func(u retention.TenantUse) float64 { return float64(u.Limit) }))
}
