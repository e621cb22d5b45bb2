package archive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"varve/internal/mq"
	"varve/internal/objstore"
)

// Errors of the package, wrapped with the table, queue or file they are about.
var (
	// ErrNoTable says that a topic has no table, or that it was dropped.
	ErrNoTable = errors.New("no archive table")
	// ErrFenced says that a newer writer has claimed the broker group.
	ErrFenced = errors.New("fenced by a newer writer")
	// ErrOverlap says that a commit holds offsets that another one committed.
	ErrOverlap = errors.New("offsets already committed")
	// ErrGap says that a commit would leave offsets out.
	ErrGap = errors.New("offsets missing before the commit")
	// ErrConflict says that a commit lost every race it was allowed.
	ErrConflict = errors.New("commit lost too many races")
	// ErrDamaged says that an object isn't what the metadata says it is.
	ErrDamaged = errors.New("damaged archive object")
	// ErrFormat says that the archive was written by a newer version.
	ErrFormat = errors.New("archive format is not supported")
)

// Options configure an Archive. The zero value is ready to use.
type Options struct {
	KeepSnapshots   int // snapshots kept in a table's metadata at least; default 32
	MergeManifests  int // small manifests that make a commit merge them; default 32
	ManifestEntries int // files in a full manifest; default 2000
	CommitAttempts  int // lost races after which a commit gives up; default 50
	Now             func() time.Time
	Logger          *slog.Logger
}

// Archive is a bucket of tables.
type Archive struct{}

// Open checks that a bucket is safe to commit to (objstore.Probe) and of a
// format that this version reads.
func Open(ctx context.Context, b objstore.Bucket, o Options) (*Archive, error) {
	return nil, errors.ErrUnsupported
}

// Bucket is where the archive's objects are.
func (a *Archive) Bucket() objstore.Bucket { return nil }

// Topics lists the topics that have a table, in order.
func (a *Archive) Topics(ctx context.Context) ([]string, error) { return nil, errors.ErrUnsupported }

// Table gives a topic's table, ErrNoTable where there is none. The same
// *Table is given for one topic until it is dropped.
func (a *Archive) Table(ctx context.Context, topic string) (*Table, error) {
	return nil, errors.ErrUnsupported
}

// CreateTable gives a topic's table and makes it where it is missing.
func (a *Archive) CreateTable(ctx context.Context, topic string) (*Table, error) {
	return nil, errors.ErrUnsupported
}

// DropTable retires a topic's table: its metadata says so from then on, and
// the next CreateTable starts a new incarnation at another place. Its files
// stay until retention removes them.
func (a *Archive) DropTable(ctx context.Context, topic, reason string) error {
	return errors.ErrUnsupported
}

// DataFile describes one data file: consecutive messages of one queue.
type DataFile struct {
	Name             string // object name in the bucket
	Queue            mq.Queue
	Offsets          mq.Range
	FirstStoreMillis int64 // lowest store time
	LastStoreMillis  int64 // highest store time
	FirstPhysical    int64 // lowest physical offset
	LastPhysical     int64 // highest physical offset
	Rows             int64
	Bytes            int64 // of the object
	RawBytes         int64 // of the stored records
	Epoch            int64 // of the writer
}

// Commit is one set of files that become visible together. All are of one
// topic and one broker group.
type Commit struct {
	// ID identifies the commit: a repeated one is not applied again.
	ID string
	// Broker is the broker group of all files.
	Broker string
	// Epoch is the writer's; see Table.Fence.
	Epoch int64
	Files []DataFile
	// NextPhysical, where it is not 0, says that the archive holds every
	// message of this topic below that position of the broker's log.
	NextPhysical int64
	// StoreTimeLow, where it is not 0, says that the archive holds every
	// message of this topic and broker that was stored before that time.
	StoreTimeLow int64
}

// Snapshot is a state of a table: the handover map for every reader.
type Snapshot struct {
	Version      int64 // of the metadata, dense from 1
	ID           int64 // Iceberg's snapshot id, 0 where nothing was committed yet
	CommitID     string
	TimeMillis   int64
	Next         map[mq.Queue]int64 // first offset that is not committed
	Epoch        map[string]int64   // fence by broker group
	NextPhysical map[string]int64   // by broker group, as in Commit
	StoreTimeLow int64              // lowest of the broker groups', as in Commit
}

// Table is one topic's table (one incarnation of it).
type Table struct{}

// Topic is the wire name.
func (t *Table) Topic() string { return "" }

// Root is the prefix of the table's objects, without a slash at the end.
func (t *Table) Root() string { return "" }

// Location is Root as other engines open it.
func (t *Table) Location() string { return "" }

// Snapshot is the newest state that this process knows.
func (t *Table) Snapshot() Snapshot { return Snapshot{} }

// Index plans reads over Snapshot.
func (t *Table) Index() *Index { return nil }

// Append commits files. It is idempotent by Commit.ID and by (queue, offset
// range); else ErrFenced, ErrOverlap, ErrGap.
func (t *Table) Append(ctx context.Context, c Commit) (Snapshot, error) {
	return Snapshot{}, errors.ErrUnsupported
}

// Delete removes whole files from the table, by metadata only; the caller
// removes the objects once nobody reads them. Files that are gone already are
// no error.
func (t *Table) Delete(ctx context.Context, files []string, reason string) (Snapshot, error) {
	return Snapshot{}, errors.ErrUnsupported
}

// Fence claims the table for a writer of a broker group: every commit of a
// lower epoch fails from then on.
func (t *Table) Fence(ctx context.Context, broker string, epoch int64) error {
	return errors.ErrUnsupported
}

// Refresh reads what other processes committed.
func (t *Table) Refresh(ctx context.Context) (changed bool, err error) {
	return false, errors.ErrUnsupported
}

// Expire drops snapshots older than a time but for the newest keep, and then
// removes metadata objects older than that time which no snapshot needs.
// protect (may be nil) keeps an object by name.
func (t *Table) Expire(ctx context.Context, keep int, olderThan time.Time, protect func(name string) bool) error {
	return errors.ErrUnsupported
}

// Unreferenced lists data objects older than a time that no snapshot of the
// table needs: deleted files and uploads that were never committed.
func (t *Table) Unreferenced(ctx context.Context, olderThan time.Time) ([]objstore.Object, error) {
	return nil, errors.ErrUnsupported
}

// FileName makes a new, unique object name for a data file under a table's
// root.
func FileName(q mq.Queue, topicRoot string, from, count, epoch int64) string {
	return fmt.Sprintf("%s/data/%s/%d/%020d-%d-%d-%08x.parquet", topicRoot, encodeName(q.Broker), q.ID, from, count, epoch, rand.Uint32())
}

// Index knows a table's data files in memory. It does no I/O and may be used
// concurrently.
type Index struct{}

// Files gives the files that hold offsets of r, in order.
func (x *Index) Files(q mq.Queue, r mq.Range) []DataFile { return nil }

// FilesByTime gives the files that may hold a store time in [from, to].
func (x *Index) FilesByTime(q mq.Queue, fromMillis, toMillis int64) []DataFile { return nil }

// FilesByPhysical gives the files that may hold a position of a broker's log.
func (x *Index) FilesByPhysical(broker string, pos int64) []DataFile { return nil }

// Range is the queue's archived range; ok is false for an unknown queue. It
// is empty, at the next offset, where retention removed everything.
func (x *Index) Range(q mq.Queue) (r mq.Range, ok bool) { return mq.Range{}, false }

// Queues lists the queues in order.
func (x *Index) Queues() []mq.Queue { return nil }

// Bytes is the length of all files.
func (x *Index) Bytes() int64 { return 0 }

// ReaderOptions bound a Reader's memory. The zero value is ready to use.
type ReaderOptions struct {
	OpenFiles   int   // footers kept; default 256
	CursorBytes int64 // memory of sequential readers; default 128 MiB
	MaxRead     int   // bytes of one batch at most; default 4 MiB
}

// Reader reads all tables of an archive. It implements mq.Reader and
// mq.Finder.
type Reader struct{}

// NewReader makes a reader that takes object bytes from rr.
func NewReader(a *Archive, rr RangeReader, o ReaderOptions) *Reader { return &Reader{} }

// Range implements mq.Reader.
func (r *Reader) Range(ctx context.Context, q mq.Queue) (mq.Range, error) {
	return mq.Range{}, errors.ErrUnsupported
}

// Read implements mq.Reader.
func (r *Reader) Read(ctx context.Context, q mq.Queue, at int64, lim mq.Limit) (mq.Batch, error) {
	return mq.Batch{}, errors.ErrUnsupported
}

// OffsetAt implements mq.Reader.
func (r *Reader) OffsetAt(ctx context.Context, q mq.Queue, millis int64, b mq.Bound) (int64, error) {
	return 0, errors.ErrUnsupported
}

// FindPhysical implements mq.Finder.
func (r *Reader) FindPhysical(ctx context.Context, broker string, physicalOffset int64) (mq.Record, error) {
	return nil, errors.ErrUnsupported
}

// FindKey implements mq.Finder.
func (r *Reader) FindKey(ctx context.Context, k mq.KeyQuery) (mq.Batch, error) {
	return mq.Batch{}, errors.ErrUnsupported
}

var (
	_ mq.Reader = (*Reader)(nil)
	_ mq.Finder = (*Reader)(nil)
)
