package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"varve/internal/admin"
	"varve/internal/archive"
	"varve/internal/backup"
	"varve/internal/config"
	"varve/internal/meta"
	"varve/internal/mq"
)

// stateTable is a table of the state that is a section of its own, keys and
// values as they are. What is made anew by itself, or of the lost log's
// positions alone, is not among them: what POP consumers have in flight comes to
// them again.
type stateTable struct {
	name string
	bulk string // the bulk store that has it, "" for the meta store
	// many says that it may be large: it is not read more often than what that
	// takes allows.
	many bool
}

var stateTables = []stateTable{
	{name: "topic"},
	{name: "group"},
	{name: "request-mode"},
	{name: "quota"},
	{name: schemaSection},
	{name: "auth-user"},
	{name: "auth-acl"},
	{name: "retention"},
	{name: "route"},
	{name: "offset"},
	{name: "txn", many: true},
	{name: "txn-checks", many: true},
	{name: "txn-given-up", many: true},
	{name: timerTable, bulk: timerTable, many: true},
}

// Sections of the hot log, and the table of delayed messages.
const (
	sectionQueues  = "log-queues"  // "topic/queue id" → seenQueue
	sectionEndings = "log-endings" // topic → position of its deletion, where its table is not ended yet
	timerTable     = "timer"
)

// seenQueue is a queue of the log as a snapshot saw it.
type seenQueue struct {
	Next int64 `json:"next"`
}

// manyShare is the part of its time that reading large tables may take.
const manyShare = 20

// backups keeps the state in the archive's bucket.
type backups struct {
	n *Node

	mu     sync.Mutex
	w      *backup.Writer
	nextOf map[string]time.Time // when a large table is read again

	statusMu sync.Mutex
	last     *backup.Manifest
	checked  time.Time // when it was last seen that the last one says all; at first, when this was made
	failure  string
}

// status says up to when the bucket has the state: what a restore gives back.
func (b *backups) status() *admin.ArchiveState {
	b.statusMu.Lock()
	defer b.statusMu.Unlock()
	out := &admin.ArchiveState{Error: b.failure}
	if b.last != nil {
		out.At, out.Generation, out.Sequence = b.checked.UTC(), b.last.Generation, b.last.Sequence
	}
	return out
}

// age is for how long the bucket may not have what changed.
func (b *backups) age() time.Duration {
	b.statusMu.Lock()
	defer b.statusMu.Unlock()
	return time.Since(b.checked)
}

// openBackup makes what keeps the state in the bucket.
func (n *Node) openBackup(context.Context) error {
	if !n.cfg.Has(config.RoleConnector) {
		return nil
	}
	n.backup = &backups{n: n, nextOf: map[string]time.Time{}, checked: time.Now(), w: &backup.Writer{
		Bucket: n.archive.Bucket(), Broker: n.cfg.Broker.Name, Now: time.Now, Logger: n.log,
	}}
	n.onRun("state snapshots", n.backup.run)
	return nil
}

func (b *backups) run(ctx context.Context) error {
	if !b.n.reach.wait(ctx) {
		return nil
	}
	tick := time.NewTicker(b.n.cfg.Backup.Every)
	defer tick.Stop()
	for {
		err := b.take(ctx, false)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, archive.ErrFenced): // the claim's watch says so
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

// take makes a snapshot where something has changed; whole reads the large
// tables too, however often that was done.
func (b *backups) take(ctx context.Context, whole bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	began := time.Now() // what changes while it is written may not be in it
	m, err := b.write(ctx, whole)
	b.statusMu.Lock()
	defer b.statusMu.Unlock()
	if err != nil {
		if ctx.Err() == nil && b.failure == "" {
			b.n.log.Warn("the state is not kept in the bucket; it is tried again", slog.Any("err", err))
		}
		b.failure = err.Error()
		return err
	}
	b.last, b.checked, b.failure = m, began, ""
	return nil
}

func (b *backups) write(ctx context.Context, whole bool) (*backup.Manifest, error) {
	n := b.n
	if err := n.claimArchive(ctx); err != nil {
		return nil, err
	}
	if err := n.broker.FlushOffsets(); err != nil {
		return nil, err
	}
	st := n.store.Stats()
	head := backup.Head{
		Generation: n.generation(), Archive: n.archive.Identity(), LogEnd: st.Confirmed, LogTime: st.LastStoreMillis, Program: n.version,
		Cluster: n.cfg.Cluster, Advertised: n.advertise.String(), Queues: int64(st.Queues),
		Unarchived: n.store.Unarchived(func(topic string) bool { return !mq.SystemTopic(topic) }),
	}
	sources := []backup.Source{{Name: sectionQueues, Each: b.queues}, {Name: sectionEndings, Each: b.endings}}
	for _, t := range stateTables {
		src, err := b.source(t, whole)
		if err != nil {
			return nil, err
		}
		sources = append(sources, src)
	}
	m, made, err := b.w.Write(ctx, head, sources)
	if err == nil && made {
		n.log.Debug("state snapshot", slog.Int64("generation", m.Generation), slog.Int64("sequence", m.Sequence))
	}
	return m, err
}

func (b *backups) source(t stateTable, whole bool) (backup.Source, error) {
	table, err := t.open(b.n.meta)
	if err != nil {
		return backup.Source{}, err
	}
	src := backup.Source{Name: t.name}
	if !t.many {
		src.Each = func(fn func(string, []byte) error) error { return table.Scan("", fn) }
		return src, nil
	}
	src.Same = !whole && time.Now().Before(b.nextOf[t.name])
	src.Each = func(fn func(string, []byte) error) error {
		began := time.Now()
		err := table.Scan("", fn)
		b.nextOf[t.name] = time.Now().Add(manyShare * time.Since(began))
		return err
	}
	return src, nil
}

func (t stateTable) open(m *meta.Store) (meta.Table, error) {
	if t.bulk == "" {
		return m.Table(t.name), nil
	}
	s, err := m.Bulk(t.bulk)
	if err != nil {
		return meta.Table{}, err
	}
	return s.Table(t.name), nil
}

func (b *backups) queues(fn func(string, []byte) error) error {
	for _, q := range b.n.store.Queues() {
		if mq.SystemTopic(q.Topic) {
			continue
		}
		r, err := b.n.store.Range(context.Background(), q)
		if errors.Is(err, mq.ErrNoQueue) {
			continue
		}
		if err != nil {
			return err
		}
		if err := putJSON(fn, fmt.Sprintf("%s/%d", q.Topic, q.ID), seenQueue{r.To}); err != nil {
			return err
		}
	}
	return nil
}

func (b *backups) endings(fn func(string, []byte) error) error {
	all := b.n.store.Endings()
	for _, topic := range slices.Sorted(maps.Keys(all)) {
		if err := putJSON(fn, topic, all[topic]); err != nil {
			return err
		}
	}
	return nil
}

func putJSON(fn func(string, []byte) error, key string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return fn(key, raw)
}
