package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"

	"varve/history"
	"varve/history/catalog"
	"varve/internal/retention"
	"varve/replay"
)

// Leases of readers that end with their connection, or say themselves for how
// long.
const (
	streamLease      = "stream-"
	streamLeaseFor   = time.Hour // renewed while the stream runs; so long a dead process's keeps
	streamLeaseEvery = 10 * time.Minute
	leaseWithin      = 10 * time.Second // a stream doesn't wait longer for its lease
	engineLeaseFor   = time.Hour
)

// leaseStream keeps what a stream still has to read until it has ended. Where
// that can't be said to the archive the stream goes on without, as a job does.
func (n *Node) leaseStream(ctx context.Context, spec replay.Spec, at func() []replay.Place) (ended func()) {
	if n.retainer == nil {
		return func() {}
	}
	name := streamLease + strings.ReplaceAll(uuid.NewString(), "-", "")[:16]
	n.setStreamLease(ctx, name, spec, at())
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(streamLeaseEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				n.setStreamLease(ctx, name, spec, at())
			}
		}
	}()
	return func() {
		cancel()
		<-done
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseWithin)
		defer cancel()
		if _, err := n.retainer.Leases().Release(ctx, name); err != nil && !errors.Is(err, history.ErrNoLease) {
			n.log.Warn("lease of a stream", slog.String("lease", name), slog.Any("err", err))
		}
	}
}

func (n *Node) setStreamLease(ctx context.Context, name string, spec replay.Spec, at []replay.Place) {
	l := retention.Lease{Name: name, Topic: spec.Source, By: n.cfg.Broker.Name, Why: "replay stream"}
	for _, p := range at {
		if p.Next < p.To {
			l.Positions = append(l.Positions, retention.Position{Broker: p.Queue.Broker, Queue: p.Queue.ID, Offset: p.Next})
		}
	}
	if len(l.Positions) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaseWithin)
	defer cancel()
	if _, err := n.retainer.Leases().Set(ctx, l, streamLeaseFor); err != nil && ctx.Err() == nil {
		n.log.Warn("lease of a stream", slog.String("lease", name), slog.Any("err", err))
	}
}

// leaseEngine keeps the snapshot that an engine is about to read, under a name
// that the engine has given. A name is of one reader, and of each topic apart.
func (n *Node) leaseEngine(ctx context.Context, r catalog.LeaseRequest) error {
	hash := sha256.Sum256([]byte(r.Topic))
	l := retention.Lease{
		Name: r.Name + "-" + hex.EncodeToString(hash[:4]), Topic: r.Topic, Snapshot: r.Snapshot, By: r.User, Why: "reader of the catalog: " + r.Name,
	}
	ttl := r.TTL
	if ttl == 0 {
		ttl = engineLeaseFor
	}
	leases := n.retainer.Leases()
	known, err := leases.All(ctx)
	if err != nil {
		return err
	}
	for _, k := range known {
		if k.Name == l.Name && k.State == retention.LeaseHolds && k.By != l.By {
			return fmt.Errorf("lease %s of topic %s: %w", r.Name, r.Topic, catalog.ErrOthersLease)
		}
	}
	if _, err := leases.Set(ctx, l, ttl); err != nil {
		if errors.Is(err, history.ErrInvalid) {
			return fmt.Errorf("%w: %w", catalog.ErrBadLease, err)
		}
		return err
	}
	return nil
}
