package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/google/uuid"

	"varve/internal/archive"
	"varve/internal/backup"
	"varve/internal/config"
	"varve/internal/meta"
)

// claimKey is where the state keeps this data directory's claim on its broker
// group's archive.
const claimKey = "claim"

// ownClaim is its value. Writer is the data directory's own id, made with it.
type ownClaim struct {
	Archive    string `json:"archive"` // identity
	Writer     string `json:"writer"`
	Generation int64  `json:"generation"`
}

// errNotOurs says that the bucket has an archive of the broker group that this
// data directory has no part in. It is an ErrFenced: nothing is archived.
var errNotOurs = fmt.Errorf("the bucket has an archive of this broker group that another data directory wrote: %w", archive.ErrFenced)

// restoreAdvice is what to do then.
const restoreAdvice = "start with --restore (or run `varve archive restore`) on an empty data directory to go on where that archive ends; " +
	"or choose another broker.name, or another bucket, to begin anew"

// claimArchive makes sure that this data directory is the one whose log the
// broker group's archive continues: it takes the first claim where nobody has
// one, and looks for a later one else. An error that is archive.ErrFenced is for
// good.
func (n *Node) claimArchive(ctx context.Context) error {
	n.claiming.Lock()
	defer n.claiming.Unlock()
	table, broker, id := n.meta.Table("archive"), n.cfg.Broker.Name, n.archive.Identity()
	var own ownClaim
	if _, err := table.Get(claimKey, &own); err != nil {
		return fmt.Errorf("read which claim on the archive this is: %w", err)
	}
	if own.Archive == id && own.Generation > 0 {
		return n.archive.CheckClaim(ctx, broker, own.Writer, own.Generation)
	}
	if own.Writer == "" || own.Archive != id {
		own = ownClaim{Archive: id, Writer: uuid.NewString()}
		if err := table.Put(claimKey, own); err != nil { // before the claim is made: a lost answer is known again
			return fmt.Errorf("note the claim on the archive: %w", err)
		}
	}
	newest, err := n.archive.Claimed(ctx, broker, 1)
	if err != nil {
		return err
	}
	own.Generation = 1
	switch {
	case newest == nil && n.archivedSome(): // of before there were claims
	case newest != nil && newest.Writer == own.Writer:
		own.Generation = newest.Generation
	default:
		why, err := archiveOf(ctx, n.archive, broker, n.log)
		if err != nil {
			return err
		}
		if why != "" {
			return fmt.Errorf("%w: %s", errNotOurs, why)
		}
		if newest != nil {
			own.Generation = newest.Generation + 1
		}
	}
	if err := n.archive.Claim(ctx, broker, newClaim(own.Generation, own.Writer, "begun")); err != nil {
		return err
	}
	return putClaim(n.meta, own)
}

// claimEvery is how often a running server looks for a later claim.
const claimEvery = 5 * time.Second

// partConnector is the connector's name among what makes a server ready.
const partConnector = "connector"

// watchClaim looks for a later claim while the server runs: a connector that has
// nothing to archive would not run into it, and clients would go on sending to a
// log that is the past.
func (n *Node) watchClaim(ctx context.Context) error {
	if !n.reach.wait(ctx) {
		return nil
	}
	tick := time.NewTicker(claimEvery)
	defer tick.Stop()
	for {
		if err := n.checkClaim(ctx); errors.Is(err, archive.ErrFenced) {
			n.log.Error("nothing is archived any more", slog.Any("err", err))
			n.stoppedArchiving(ctx, err)
			<-ctx.Done()
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// checkClaim looks for a claim that is later than this data directory's, if it
// has one.
func (n *Node) checkClaim(ctx context.Context) error {
	n.claiming.Lock()
	defer n.claiming.Unlock()
	var own ownClaim
	if _, err := n.meta.Table("archive").Get(claimKey, &own); err != nil {
		return fmt.Errorf("read which claim on the archive this is: %w", err)
	}
	if own.Archive != n.archive.Identity() || own.Generation == 0 {
		return nil
	}
	return n.archive.CheckClaim(ctx, n.cfg.Broker.Name, own.Writer, own.Generation)
}

// stoppedArchiving says for good why the server is not ready. A table's fence
// names no one: the claim that goes with it does.
func (n *Node) stoppedArchiving(ctx context.Context, err error) {
	if errors.Is(err, archive.ErrFenced) && !errors.Is(err, archive.ErrClaimed) {
		if later := n.checkClaim(ctx); errors.Is(later, archive.ErrClaimed) {
			err = fmt.Errorf("%w; %w", later, err)
		}
	}
	cause := err.Error()
	if errors.Is(err, archive.ErrClaimed) {
		cause += "; what this server takes is archived no more: stop it, clients must reach the other one"
	}
	n.health.Set(partConnector, cause)
}

// archivedSome reports whether the log says that the archive has something of it.
func (n *Node) archivedSome() bool {
	for _, q := range n.store.Queues() {
		if n.store.Archived(q) > 0 {
			return true
		}
	}
	return false
}

// generation is that of this data directory's claim, 0 where it has none.
func (n *Node) generation() int64 {
	var own ownClaim
	if _, err := n.meta.Table("archive").Get(claimKey, &own); err != nil || own.Archive != n.archive.Identity() {
		return 0
	}
	return own.Generation
}

func putClaim(m *meta.Store, own ownClaim) error {
	if err := m.Table("archive").Put(claimKey, own); err != nil {
		return fmt.Errorf("note the claim on the archive: %w", err)
	}
	return nil
}

func newClaim(generation int64, writer, reason string) archive.Claim {
	host, _ := os.Hostname()
	return archive.Claim{Generation: generation, Writer: writer, At: time.Now().UTC(), Host: host, Reason: reason}
}

// ownTopic gives a topic of which the archive has messages of a broker group, ""
// where there is none. A table that can't be read is passed over.
func ownTopic(ctx context.Context, a *archive.Archive, broker string, log *slog.Logger) (string, error) {
	topics, err := a.Topics(ctx)
	if err != nil {
		return "", err
	}
	for _, topic := range topics {
		t, err := a.Table(ctx, topic)
		switch {
		case errors.Is(err, archive.ErrNoTable):
			continue
		case archive.Unreadable(err):
			log.Warn("it is not known whose messages a table has", slog.String("topic", topic), slog.Any("err", err))
			continue
		case err != nil:
			return "", err
		}
		for q, next := range t.Snapshot().Next {
			if q.Broker == broker && next > 0 {
				return topic, nil
			}
		}
	}
	return "", nil
}

// checkBare keeps a broker with an empty data directory from starting at zero
// over an archive of its broker group, or restores that where the settings say
// so. A bucket that is away says nothing: then the connector finds out.
func (n *Node) checkBare(ctx context.Context) error {
	began, err := n.dir.restoring()
	if err != nil {
		return err
	}
	switch {
	case began && !n.cfg.Restore:
		return &config.Error{Key: "restore", Reason: fmt.Sprintf("a restore was begun in %s and has not ended: start with --restore to do it again, or empty the directory", n.dir.root)}
	case !n.cfg.Has(config.RoleConnector):
		return nil
	case !began && !n.dir.bare():
		if n.cfg.Restore {
			n.log.Info("nothing to restore: the data directory is in use", slog.String("dir", n.dir.root))
		}
		return nil
	}
	a, _, err := n.bareArchive(ctx)
	if err != nil || a == nil {
		return err
	}
	if n.cfg.Restore {
		done, err := n.restore(ctx, a, RestoreOptions{})
		if errors.Is(err, errNothing) {
			n.log.Info("nothing to restore: the bucket has no archive of this broker group", slog.String("bucket", a.Bucket().URL()))
			return nil
		}
		if err == nil {
			n.log.Info("restored", done.attrs()...)
		}
		return err
	}
	why, err := archiveOf(ctx, a, n.cfg.Broker.Name, n.log)
	switch {
	case err != nil:
		n.log.Warn("it is not known whether the bucket has an archive of this broker group", slog.Any("err", err))
	case why != "":
		return &config.Error{Key: "data-dir", Reason: fmt.Sprintf("%s is empty, but the archive in %s has broker group %s (%s): %s",
			n.dir.root, a.Bucket().URL(), n.cfg.Broker.Name, why, restoreAdvice)}
	}
	return nil
}

// bareArchive opens the archive for a look before anything else is there; nil
// where its bucket is away and nobody asked for a restore.
func (n *Node) bareArchive(ctx context.Context) (*archive.Archive, string, error) {
	key, err := n.openBucket()
	if err != nil {
		return nil, key, err
	}
	a := archive.New(n.bucket, archive.Options{Timeout: n.cfg.Archive.Timeout, Logger: n.log})
	limit := reachAtStart
	if n.cfg.Restore {
		limit = reachWithin
	}
	first, cancel := within(ctx, limit)
	defer cancel()
	err = a.Connect(first)
	switch r := (&reach{archive: a, key: key, dir: n.dir.root, log: n.log}); {
	case err == nil:
		return a, key, nil
	case ctx.Err() != nil:
		return nil, key, ctx.Err()
	case endsStart(err, true):
		return nil, key, &config.Error{Key: key, Reason: r.describe(err)}
	case n.cfg.Restore:
		return nil, key, &config.Error{Key: "restore", Reason: fmt.Sprintf("the bucket %s can't be reached: %v", a.Bucket().URL(), err)}
	}
	return nil, key, nil
}

// archiveOf says what an archive has of a broker group, "" for nothing. A claim
// alone is that of a start that came no further: nothing is lost with it.
func archiveOf(ctx context.Context, a *archive.Archive, broker string, log *slog.Logger) (string, error) {
	refs, err := backup.List(ctx, a.Bucket(), broker)
	if err != nil {
		return "", err
	}
	topic, err := ownTopic(ctx, a, broker, log)
	if err != nil {
		return "", err
	}
	c, err := a.Claimed(ctx, broker, 1)
	switch {
	case err != nil:
		return "", err
	case topic == "" && len(refs) == 0:
		return "", nil
	case c != nil:
		return c.String(), nil
	case topic == "":
		return "state snapshots", nil
	}
	return "such as topic " + topic, nil
}
