package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/google/uuid"

	"varve/hot"
	"varve/internal/archive"
	"varve/internal/backup"
	"varve/internal/config"
	"varve/internal/mq"
)

// positionGap is how far above everything that is known of the lost log a
// restored one begins: what was written after the last snapshot had positions
// too, and none is used twice.
const positionGap = 64 << 30

// RestoreOptions say what a restore leaves out.
type RestoreOptions struct {
	// WithoutUsers leaves the users out, whose passwords only the lost data
	// directory's auth.key opens.
	WithoutUsers bool
}

// Restored is what a restore has done.
type Restored struct {
	Broker     string `json:"broker"`
	Location   string `json:"location"`
	Archive    string `json:"archive"` // identity
	Generation int64  `json:"generation"`

	// State is the time of the snapshot that the state came from, zero where there
	// was none; Passed are newer ones that can't be read.
	State  time.Time `json:"state,omitzero"`
	Passed []string  `json:"passed,omitempty"`
	// Messages is the store time of the newest archived message.
	Messages time.Time `json:"messages,omitzero"`
	// Lost counts the messages that the snapshot knew of and the archive has not;
	// those that came after the snapshot are not counted.
	Lost int64 `json:"lost"`

	Topics   int              `json:"topics"`
	Queues   int              `json:"queues"`
	Items    map[string]int64 `json:"items"` // by section
	Position int64            `json:"position"`
	Took     time.Duration    `json:"took"`
}

func (r *Restored) attrs() []any {
	return []any{
		slog.String("broker", r.Broker), slog.String("bucket", r.Location), slog.Int64("generation", r.Generation), slog.Time("state", r.State),
		slog.Time("messages", r.Messages), slog.Int64("lost", r.Lost), slog.Int("topics", r.Topics), slog.Int("queues", r.Queues), slog.Duration("took", r.Took),
	}
}

// errNothing says that the bucket has nothing of the broker group.
var errNothing = errors.New("the bucket has no archive of this broker group")

// Restore makes the data directory of the settings, which must be empty, from
// the archive and the state in the bucket, for a server to start with.
func Restore(ctx context.Context, cfg *config.Config, o RestoreOptions, log *slog.Logger) (_ *Restored, err error) {
	n := &Node{cfg: cfg, log: log}
	if !cfg.Has(config.RoleConnector) {
		return nil, &config.Error{Key: "roles", Reason: "only a broker with its connector has something to restore"}
	}
	if n.dir, err = openDataDir(cfg.DataDir); err != nil {
		return nil, err
	}
	defer func() {
		n.dir.refused = err != nil
		n.dir.close()
	}()
	began, err := n.dir.restoring()
	if err != nil {
		return nil, err
	}
	if !began && !n.dir.bare() {
		return nil, &config.Error{Key: "data-dir", Reason: n.dir.root + " has the data of a broker: a restore needs an empty directory"}
	}
	settings := *cfg
	settings.Restore = true
	n.cfg = &settings
	a, key, err := n.bareArchive(ctx)
	if err != nil {
		return nil, err
	}
	done, err := n.restore(ctx, a, o)
	if errors.Is(err, errNothing) {
		return nil, &config.Error{Key: key, Reason: fmt.Sprintf("%v %s: %s", err, cfg.Broker.Name, a.Bucket().URL())}
	}
	return done, err
}

// restore fills the bare data directory. What needs a person is found out before
// the archive is claimed, by which the old data directory becomes the past. It
// can be repeated whenever it ended early.
func (n *Node) restore(ctx context.Context, a *archive.Archive, o RestoreOptions) (*Restored, error) {
	began := time.Now()
	broker := n.cfg.Broker.Name
	r := &restoring{
		n: n, archive: a, o: o, queues: map[string]int64{}, endings: map[string]int64{}, begins: map[mq.Queue]int64{}, highs: map[string]int64{},
		out: &Restored{Broker: broker, Location: a.Bucket().URL(), Archive: a.Identity(), Items: map[string]int64{}},
	}
	why, err := archiveOf(ctx, a, broker, n.log)
	if err != nil {
		return nil, err
	}
	if why == "" {
		return nil, errNothing
	}
	fail := func(err error) (*Restored, error) {
		return nil, fmt.Errorf("restore %s from %s: %w", broker, a.Bucket().URL(), err)
	}
	if err := r.readTables(ctx); err != nil { // those that can't be read are told now
		return fail(err)
	}
	if err := n.dir.beginRestore(); err != nil {
		return fail(err)
	}
	if err := r.state(ctx); err != nil {
		return fail(err)
	}
	own, err := r.claim(ctx)
	if err != nil {
		return fail(err)
	}
	if err := r.fenceTables(ctx); err != nil {
		return fail(err)
	}
	if err := r.plant(); err != nil {
		return fail(err)
	}
	if err := r.finish(own); err != nil {
		return fail(err)
	}
	if err := n.dir.endRestore(); err != nil {
		return fail(err)
	}
	r.out.Took = time.Since(began)
	return r.out, nil
}

// claim makes the next claim on the archive.
func (r *restoring) claim(ctx context.Context) (ownClaim, error) {
	broker := r.n.cfg.Broker.Name
	own := ownClaim{Archive: r.archive.Identity(), Writer: uuid.NewString(), Generation: 1}
	if r.manifest != nil {
		own.Generation = r.manifest.Generation + 1
	}
	newest, err := r.archive.Claimed(ctx, broker, 1)
	if err != nil {
		return own, err
	}
	if newest != nil {
		own.Generation = max(own.Generation, newest.Generation+1)
	}
	r.out.Generation = own.Generation
	return own, r.archive.Claim(ctx, broker, newClaim(own.Generation, own.Writer, "restored"))
}

// plant begins the log behind what the archive has.
func (r *restoring) plant() error {
	seed := hot.Seed{Position: r.high, LastStoreMillis: r.lastTime}
	if m := r.manifest; m != nil {
		seed.Position, seed.LastStoreMillis = max(seed.Position, m.LogEnd), max(seed.LastStoreMillis, m.LogTime)
	}
	seed.Position = (seed.Position + positionGap) / positionGap * positionGap
	seed.Queues, seed.Endings = r.seeds, r.ended
	r.out.Position, r.out.Queues = seed.Position, len(seed.Queues)
	return hot.Plant(r.n.dir.path("log"), hot.Options{Broker: r.n.cfg.Broker.Name, Logger: r.n.log}, seed)
}

// state brings the newest readable snapshot into a new state store.
func (r *restoring) state(ctx context.Context) error {
	b, broker := r.archive.Bucket(), r.n.cfg.Broker.Name
	refs, err := backup.List(ctx, b, broker)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		m, err := backup.Load(ctx, b, broker, ref)
		if err == nil && m.Archive != r.archive.Identity() {
			err = fmt.Errorf("state snapshot %d-%d: %w: it is of the archive %s", ref.Generation, ref.Sequence, backup.ErrDamaged, m.Archive)
		}
		if err == nil {
			err = r.applyState(ctx, m)
		}
		if err == nil {
			r.manifest, r.out.State = m, m.TakenAt
			r.countLost()
			return nil
		}
		if !backup.Unreadable(err) {
			return err
		}
		r.n.log.Error("a state snapshot can't be read: the one before is used", slog.Any("err", err))
		r.out.Passed = append(r.out.Passed, err.Error())
		if err := os.RemoveAll(r.n.dir.path("meta")); err != nil {
			return err
		}
	}
	r.n.log.Warn("there is no state snapshot to restore: topics come back with as many queues as have messages, groups begin anew", slog.String("broker", broker))
	return r.applyState(ctx, &backup.Manifest{})
}

// countLost compares what the snapshot saw with what the archive has.
func (r *restoring) countLost() {
	archived := map[string]int64{}
	for q, next := range r.nexts {
		archived[fmt.Sprintf("%s/%d", q.Topic, q.ID)] = next
	}
	for q, next := range r.queues {
		r.out.Lost += max(0, next-archived[q])
	}
}
