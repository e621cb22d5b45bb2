package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"varve/broker/topic"
	"varve/hot"
	"varve/internal/archive"
	"varve/internal/auth"
	"varve/internal/backup"
	"varve/internal/config"
	"varve/internal/meta"
	"varve/internal/migrate"
	"varve/internal/mq"
)

const (
	// fenceAtOnce bounds the tables that are fenced at a time.
	fenceAtOnce = 16
	// applyBytes is how much of the state is written at once.
	applyBytes = 4 << 20
)

// restoring is one restore.
type restoring struct {
	n        *Node
	archive  *archive.Archive
	o        RestoreOptions
	out      *Restored
	manifest *backup.Manifest // that the state came from, nil for none

	queues  map[string]int64   // "topic/queue id" → next offset that the snapshot saw
	endings map[string]int64   // topic → position
	begins  map[mq.Queue]int64 // where queues begin that an import found empty at their ends

	mu       sync.Mutex
	nexts    map[mq.Queue]int64
	highs    map[string]int64 // topic → highest position that its table has
	high     int64            // of all
	lastTime int64
	seeds    []hot.SeedQueue
	ended    []string
}

// readTables reads what every table has of the broker group.
func (r *restoring) readTables(ctx context.Context) error {
	return r.overTables(ctx, func(context.Context, *archive.Table) error { return nil })
}

// fenceTables shuts out whoever wrote to the tables so far, and reads what they
// have then: that doesn't change any more.
func (r *restoring) fenceTables(ctx context.Context) error {
	err := r.overTables(ctx, func(ctx context.Context, t *archive.Table) error {
		for {
			err := t.Fence(ctx, r.n.cfg.Broker.Name, t.Snapshot().Epoch[r.n.cfg.Broker.Name]+1)
			if !errors.Is(err, archive.ErrFenced) {
				return err
			}
			if _, err := t.Refresh(ctx); err != nil { // somebody began meanwhile
				return err
			}
		}
	})
	if err != nil {
		return err
	}
	r.seed()
	return nil
}

// overTables calls f for each table that has something of the broker group, and
// notes what it has afterwards.
func (r *restoring) overTables(ctx context.Context, f func(context.Context, *archive.Table) error) error {
	topics, err := r.archive.Topics(ctx)
	if err != nil {
		return err
	}
	r.nexts, r.high, r.lastTime = map[mq.Queue]int64{}, 0, 0
	clear(r.highs)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(fenceAtOnce)
	for _, name := range topics {
		g.Go(func() error {
			t, err := r.archive.Table(gctx, name)
			if err == nil {
				_, err = t.Refresh(gctx)
			}
			if errors.Is(err, archive.ErrNoTable) {
				return nil
			}
			if err == nil && r.hasOwn(t) {
				err = f(gctx, t)
			}
			if err != nil {
				return fmt.Errorf("table of topic %s: %w", name, err)
			}
			r.note(name, t)
			return nil
		})
	}
	return g.Wait()
}

func (r *restoring) hasOwn(t *archive.Table) bool {
	snap, broker := t.Snapshot(), r.n.cfg.Broker.Name
	if _, ok := snap.Epoch[broker]; ok {
		return true
	}
	for q := range snap.Next {
		if q.Broker == broker {
			return true
		}
	}
	return false
}

// note takes over how far a table has come.
func (r *restoring) note(name string, t *archive.Table) {
	snap, broker := t.Snapshot(), r.n.cfg.Broker.Name
	high, last := snap.NextPhysical[broker], int64(0)
	nexts := map[mq.Queue]int64{}
	for q, next := range snap.Next {
		if q.Broker != broker {
			continue
		}
		nexts[q] = next
		for _, f := range t.Index().Files(q, mq.Range{From: next - 1, To: next}) {
			high, last = max(high, f.LastPhysical+1), max(last, f.LastStoreMillis)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for q, next := range nexts {
		r.nexts[q] = next
	}
	r.highs[name] = high
	r.high, r.lastTime = max(r.high, high), max(r.lastTime, last)
}

// seed makes the log's queues of the tables', but those of topics that were
// deleted and whose table the connector had not ended yet.
func (r *restoring) seed() {
	ended := map[string]bool{}
	for name, pos := range r.endings {
		if high, ok := r.highs[name]; ok && high <= pos { // nothing from behind the deletion
			ended[name] = true
			r.ended = append(r.ended, name)
		}
	}
	for q, begin := range r.begins {
		if _, known := r.nexts[q]; !known && !ended[q.Topic] {
			r.seeds = append(r.seeds, hot.SeedQueue{Topic: q.Topic, ID: q.ID, Next: begin})
		}
	}
	for q, next := range r.nexts {
		if !ended[q.Topic] {
			r.seeds = append(r.seeds, hot.SeedQueue{Topic: q.Topic, ID: q.ID, Next: max(next, r.begins[q]), Archived: next})
		}
	}
	slices.Sort(r.ended)
	if r.lastTime > 0 {
		r.out.Messages = millis(r.lastTime)
	}
}

// applyState fills a new state store with a snapshot's sections.
func (r *restoring) applyState(ctx context.Context, m *backup.Manifest) (err error) {
	clear(r.queues)
	clear(r.endings)
	clear(r.begins)
	r.out.Items = map[string]int64{}
	store, err := meta.Open(r.n.dir.path("meta"), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	for _, s := range m.Sections {
		i := slices.IndexFunc(stateTables, func(t stateTable) bool { return t.name == s.Name })
		switch {
		case s.Name == sectionQueues:
			err = r.each(ctx, s, func(key string, raw []byte) error {
				var q seenQueue
				err := json.Unmarshal(raw, &q)
				r.queues[key] = q.Next
				return err
			})
		case s.Name == sectionEndings:
			err = r.each(ctx, s, func(key string, raw []byte) error {
				var pos int64
				err := json.Unmarshal(raw, &pos)
				r.endings[key] = pos
				return err
			})
		case s.Name == migrate.SectionBegins:
			err = r.each(ctx, s, r.addBegin)
		case i < 0:
			r.n.log.Warn("a section of the state is of a newer program: it is not restored", slog.String("section", s.Name), slog.Int64("items", s.Items))
			continue
		case r.o.WithoutUsers && s.Name == "auth-user":
			continue
		default:
			err = r.applyTable(ctx, store, stateTables[i], s)
		}
		if err != nil {
			return err
		}
		if s.Items > 0 {
			r.out.Items[s.Name] = s.Items
		}
	}
	return r.checkUsers(store)
}

// addBegin notes where a queue begins.
func (r *restoring) addBegin(key string, raw []byte) error {
	topic, number, _ := strings.Cut(key, "/")
	id, err := strconv.ParseInt(number, 10, 32)
	var at int64
	if err = errors.Join(err, json.Unmarshal(raw, &at)); err != nil {
		return fmt.Errorf("where queue %q begins: %w", key, err)
	}
	r.begins[mq.Queue{Broker: r.n.cfg.Broker.Name, Topic: topic, ID: int32(id)}] = at
	return nil
}

func (r *restoring) each(ctx context.Context, s backup.Section, fn func(key string, raw []byte) error) error {
	return s.Each(ctx, r.archive.Bucket(), r.n.cfg.Broker.Name, fn)
}

// applyTable writes a section into its table.
func (r *restoring) applyTable(ctx context.Context, store *meta.Store, t stateTable, s backup.Section) error {
	table, err := t.open(store)
	if err != nil {
		return err
	}
	into := store
	if t.bulk != "" {
		if into, err = store.Bulk(t.bulk); err != nil {
			return err
		}
	}
	b := into.Batch()
	n := int64(0)
	err = r.each(ctx, s, func(key string, raw []byte) error {
		b.PutRaw(table, key, raw)
		if n++; b.Len() < applyBytes {
			return nil
		}
		full := b
		b = into.Batch()
		return full.Commit(false)
	})
	if err != nil {
		return errors.Join(err, b.Discard())
	}
	if t.name == timerTable {
		// Its queues are those of a new log: they are followed from their start.
		if err := b.Put(into.Table("timer-state"), "position", map[string]any{"entries": n, "next": map[string]int64{}}); err != nil {
			return errors.Join(err, b.Discard())
		}
	}
	if err := b.Commit(true); err != nil {
		return err
	}
	if t.bulk == "" {
		return nil
	}
	done, err := into.Flush()
	if err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// checkUsers makes sure that the key that is here opens what is sealed.
func (r *restoring) checkUsers(store *meta.Store) error {
	users := r.out.Items["auth-user"]
	if users == 0 {
		return nil
	}
	name := r.n.dir.path(keyFile)
	bad := func(why string) error {
		return &config.Error{Key: "restore", Reason: fmt.Sprintf("the passwords of %d users are sealed by the auth.key of the lost data directory, and %s: "+
			"put that file there, or leave the users out with `varve archive restore --without-users`", users, why)}
	}
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return bad(name + " is not there")
	}
	key, err := sealingKey(name)
	if err != nil {
		return bad(err.Error())
	}
	if _, err := auth.Open(store, auth.Config{Key: key}); err != nil {
		return bad(err.Error())
	}
	return nil
}

// finish writes what a restored state has besides its snapshot: the topics that
// only the archive knows, and which archive it belongs to.
func (r *restoring) finish(own ownClaim) (err error) {
	store, err := meta.Open(r.n.dir.path("meta"), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	topics, err := topic.Load(store)
	if err != nil {
		return err
	}
	queues := map[string]int32{}
	for _, q := range r.seeds {
		queues[q.Topic] = max(queues[q.Topic], q.ID+1)
	}
	for name, n := range queues {
		if _, known := topics.Get(name); known {
			continue
		}
		r.n.log.Warn("a topic is in the archive and not in the state snapshot: it gets the settings of a new one", slog.String("topic", name), slog.Int("queues", int(n)))
		c := topic.Config{Name: name, ReadQueues: n, WriteQueues: n, Perm: topic.PermRead | topic.PermWrite}
		if _, err := topics.PutIfAbsent(c); err != nil {
			return err
		}
	}
	r.out.Topics = topics.Len()
	if err := store.Table("archive").Put(archiveKey, archiveIdentity{own.Archive}); err != nil {
		return err
	}
	return errors.Join(putClaim(store, own), store.Sync())
}
