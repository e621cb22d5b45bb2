package query

import (
	"context"
	"maps"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/typed"
	"varve/query/wire"
)

// Catalog knows what the archive holds. ArchiveCatalog makes one.
type Catalog interface {
	// Topics lists the topics that have a table, by wire name.
	Topics(ctx context.Context) ([]string, error)
	// State gives a topic's files; archive.ErrNoTable where it has no table.
	// With refresh it looks for what other processes committed.
	State(ctx context.Context, topic string, refresh bool) (State, error)
}

// State is what the archive holds of a topic at one time.
type State struct {
	// Next is the first offset of each queue that is not archived.
	Next map[mq.Queue]int64
	// Files are all data files. None holds an offset at or above its queue's
	// Next.
	Files []archive.DataFile
	// Typed are the table's typed columns.
	Typed []typed.Field
}

// ArchiveCatalog is the Catalog of an archive.
func ArchiveCatalog(a *archive.Archive) Catalog { return archiveCatalog{a} }

type archiveCatalog struct{ a *archive.Archive }

func (c archiveCatalog) Topics(ctx context.Context) ([]string, error) { return c.a.Topics(ctx) }

func (c archiveCatalog) State(ctx context.Context, topic string, refresh bool) (State, error) {
	t, err := c.a.Table(ctx, topic)
	if err != nil {
		return State{}, err
	}
	if refresh {
		if _, err := t.Refresh(ctx); err != nil {
			return State{}, err
		}
	}
	columns, err := t.Typed()
	if err != nil {
		return State{}, err
	}
	st := State{Next: map[mq.Queue]int64{}, Typed: columns.Columns}
	// First the snapshot: a commit meanwhile shows up in the index. A queue that
	// retention left no file of is in the snapshot only.
	maps.Copy(st.Next, t.Snapshot().Next)
	ix := t.Index()
	for _, q := range ix.Queues() {
		if r, ok := ix.Range(q); ok {
			st.Next[q] = r.To
			st.Files = append(st.Files, ix.Files(q, r)...)
		}
	}
	return st, nil
}

// Files gives data files as local files: those of an archive in a directory
// themselves, others from the history node's cache.
type Files interface {
	// Local gives the path of each file, in order. The files stay in place and
	// unchanged until release is called, whatever retention does meanwhile.
	Local(ctx context.Context, files []archive.DataFile) (paths []string, release func(), err error)
}

// Hot is the hot log's confirmed part; *hot.Store is one.
type Hot interface {
	mq.Reader
	Queues() []mq.Queue
	// Archived is the first offset of a queue that was never archived.
	Archived(q mq.Queue) int64
	// Ending is where the log has the topic's last deletion, 0 where it has none
	// or the topic's table is of after it.
	Ending(topic string) int64
	// Reborn says that a topic was deleted and has messages again while its
	// table is still of before.
	Reborn(topic string) bool
}

// Schemas gives the columns that a topic's schema declares, nil for none. It may
// be asked concurrently.
type Schemas interface {
	Layout(topic string) *typed.Layout
}

// MissingFileError is how a Files names the data file that isn't there.
type MissingFileError struct {
	Name string
	Err  error
}

func (e *MissingFileError) Error() string { return e.Name + ": " + e.Err.Error() }

func (e *MissingFileError) Unwrap() error { return e.Err }

// Deps are what an Engine reads. Hot is nil where the process has no log.
type Deps struct {
	Catalog Catalog
	Files   Files
	Hot     Hot
	// Empty lists topics that are tables even where they have no message yet,
	// by wire name. It may be nil.
	Empty func() []string
	// Schemas knows which columns are made of the bodies in the hot log; nil for
	// none.
	Schemas Schemas
	// Deletions gives what retention removed of some topics. It may be nil.
	Deletions func(ctx context.Context, topics []string) ([]wire.Deletion, error)
	// Bad hears of an object of a topic's table that could not be read. It may be
	// nil.
	Bad func(ctx context.Context, topic, object, why string)
}

// PathFiles is Files over an archive in a local directory.
type PathFiles struct {
	// Path gives an object's path, as the directory bucket does.
	Path func(name string) string
}

// Local implements Files. Nothing needs to be held: the engine links the
// files, so that removing them takes nothing from a running query.
func (p PathFiles) Local(_ context.Context, files []archive.DataFile) ([]string, func(), error) {
	paths := make([]string, len(files))
	for i, f := range files {
		paths[i] = p.Path(f.Name)
	}
	return paths, func() {}, nil
}
