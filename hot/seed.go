package hot

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot/index"
)

// Seed is where a new log begins that takes the place of one that is lost:
// behind everything that the archive has of it.
type Seed struct {
	// Position is that of the log's first byte. It must be above every position
	// of the log before.
	Position int64
	// LastStoreMillis is the newest store time so far: later ones are not lower.
	LastStoreMillis int64
	Queues          []SeedQueue
	// Endings are topics that were deleted while the archive has a table of them
	// still, see Store.Endings.
	Endings []string
}

// SeedQueue is a queue that goes on at Next. What is below Archived is in the
// archive, what is between was dropped.
type SeedQueue struct {
	Topic    string
	ID       int32
	Next     int64
	Archived int64
}

// Plant makes a log in dir, which must have none, that begins as the seed says.
// When it returns without an error the log is there durably; after one, or a
// crash, the directory has to be emptied before it is tried again.
func Plant(dir string, o Options, seed Seed) error {
	o = o.withDefaults()
	if err := plant(dir, o, seed); err != nil {
		return fmt.Errorf("beginning the hot log in %s at position %d: %w", dir, seed.Position, err)
	}
	return nil
}

func plant(dir string, o Options, seed Seed) (err error) {
	if err := seed.check(); err != nil {
		return err
	}
	fs := o.FS
	if err := makeDir(fs, dir); err != nil {
		return fmt.Errorf("creating the directory: %w", err)
	}
	lock, err := lockDir(fs, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := checkBare(fs, dir); err != nil {
		return err
	}
	db, err := index.OpenDB(fs, fs.PathJoin(dir, indexDir), o.Logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.Load(); err != nil {
		return fmt.Errorf("loading the queue index: %w", err)
	}
	u := db.Update()
	for i, q := range seed.Queues {
		uid := uint64(i + 1)
		u.SkipTo(uid, q.Next)
		u.Queue(index.Queue{UID: uid, Topic: q.Topic, ID: q.ID, Start: q.Next, End: q.Next})
		u.Mark(uid, q.Archived)
		if q.Archived < q.Next {
			u.Dropped(uid, q.Next)
		}
	}
	for _, topic := range seed.Endings {
		u.Ending(topic, seed.Position)
	}
	u.NextUID(uint64(len(seed.Queues) + 1))
	u.First(seed.Position)
	u.Archived(seed.Position)
	u.Checkpoint(0, seed.LastStoreMillis)
	if err := errors.Join(u.Commit(), db.Flush()); err != nil {
		return err
	}
	return writeFormat(fs, dir)
}

// check refuses a seed that can't be right.
func (seed Seed) check() error {
	if seed.Position < 0 {
		return fmt.Errorf("the position is negative")
	}
	if err := index.CheckFits(seed.Position, seed.LastStoreMillis); err != nil {
		return err
	}
	seen := make(map[place]bool, len(seed.Queues))
	for _, q := range seed.Queues {
		at := place{q.Topic, q.ID}
		if q.Topic == "" || q.ID < 0 || q.Archived < 0 || q.Archived > q.Next || seen[at] {
			return fmt.Errorf("queue %d of topic %q at offset %d is no queue, or named twice", q.ID, q.Topic, q.Next)
		}
		seen[at] = true
		if slices.Contains(seed.Endings, q.Topic) {
			return fmt.Errorf("topic %q has a queue and an ending", q.Topic)
		}
	}
	return nil
}

// checkBare refuses a directory that has a log.
func checkBare(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return fmt.Errorf("listing %s: %w", dir, err)
	}
	for _, name := range names {
		if name != lockFile {
			return fmt.Errorf("%w: %s has %q already", errNotBare, dir, name)
		}
	}
	return nil
}

var errNotBare = errors.New("there is a log")
