package hot

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
)

// FlushPolicy says when an append is acked.
type FlushPolicy int

const (
	// FlushAsync acks when the records are written to the file; a power cut
	// may lose up to FlushInterval of them.
	FlushAsync FlushPolicy = iota
	// FlushSync acks when the records are synced to the disk.
	FlushSync
)

// Named limits.
const (
	defaultSegmentBytes    = 256 << 20
	minSegmentBytes        = 4 << 10
	maxSegmentBytes        = 2 << 30
	defaultFlushInterval   = 500 * time.Millisecond
	defaultMaxPendingBytes = 128 << 20
	defaultMinFreeBytes    = 256 << 20
	defaultCheckpointBytes = 64 << 20
	defaultCheckpointEvery = 5 * time.Second

	// maxUnitBytes bounds the records of one Append.
	maxUnitBytes = 16 << 20
	// maxKeys is how many keys of one message are indexed.
	maxKeys = 128
	// gatherYields is how often the committer lets others run before it begins
	// a batch that is smaller than the last one.
	gatherYields = 2
	// leaderRounds is how many batches a Commit writes before it leaves those
	// that came meanwhile to the committer goroutine.
	leaderRounds = 4
	// batchBytes is where a commit batch stops taking more units.
	batchBytes = 4 << 20
	// maxShare and minShare bound Share, sharePart is its part of the room.
	maxShare  = 1 << 20
	minShare  = 64 << 10
	sharePart = 8
	// fillBytes is the most that the active segment is filled ahead of its
	// end, minFill the least, and pageBytes what it is filled in.
	fillBytes = 512 << 10
	minFill   = 8 << 10
	pageBytes = 4 << 10
	// maxSpare is the number of segment files kept for recycling.
	maxSpare = 4
	// readBytes bounds one Read without a byte limit, readMessages the
	// records, readScan the offsets looked at.
	readBytes    = 4 << 20
	readMessages = 16384
	readScan     = 65536
	// coalesceGap is the longest stretch of other queues' bytes that a read
	// takes along rather than make another call.
	coalesceGap = 8 << 10
	// coalesceSpan bounds one file read of a Read.
	coalesceSpan = 1 << 20
	// tailFlushDelay is FlushInterval's bound while there is a Tail, which
	// gives durable records only.
	tailFlushDelay = 100 * time.Millisecond
	// flushIndexBytes is how much log may be scanned at Open because the
	// index of it was in memory only.
	flushIndexBytes = 128 << 20
	// flushIndexEvery is how long, while it is less.
	flushIndexEvery = time.Minute
	// diskCheckBytes and diskCheckEvery bound what is written between two
	// looks at the free space.
	diskCheckBytes = 16 << 20
	diskCheckEvery = time.Second
	// indexReserve is the free space without which no index is written.
	indexReserve = 32 << 20
	// openReserve is the free space without which no index is opened.
	openReserve = 16 << 20
	// findMax bounds the records of one FindKey.
	findMax = 1024
)

// Options say how to open a Store. The zero value of a field means its default.
type Options struct {
	FS        vfs.FS         // the file system; vfs.Default
	Broker    string         // broker group name, put in every mq.Queue that the store reports
	StoreHost netip.AddrPort // stored in records whose own StoreHost is not set

	SegmentBytes int64       // size of a segment file; 256 MiB
	Flush        FlushPolicy // FlushAsync
	// FlushInterval bounds the time from a write to its sync under
	// FlushAsync; 500 ms.
	FlushInterval time.Duration
	// MaxPendingBytes bounds the records that wait for the committer; 128 MiB.
	MaxPendingBytes int64
	// MinFreeBytes is the free disk space below which appends fail with
	// ErrDiskFull; 256 MiB, negative for no check.
	MinFreeBytes int64
	// CheckpointBytes and CheckpointEvery say how often the indexes are moved
	// from memory to Pebble; 64 MiB and 5 s.
	CheckpointBytes int64
	CheckpointEvery time.Duration

	Now    func() time.Time // time.Now
	Logger *slog.Logger     // discards
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	o.SegmentBytes = min(max(o.SegmentBytes, minSegmentBytes), maxSegmentBytes)
	if o.FlushInterval <= 0 {
		o.FlushInterval = defaultFlushInterval
	}
	if o.MaxPendingBytes <= 0 {
		o.MaxPendingBytes = defaultMaxPendingBytes
	}
	if o.MinFreeBytes == 0 {
		o.MinFreeBytes = defaultMinFreeBytes
	}
	if o.CheckpointBytes <= 0 {
		o.CheckpointBytes = defaultCheckpointBytes
	}
	if o.CheckpointEvery <= 0 {
		o.CheckpointEvery = defaultCheckpointEvery
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Placed is where one message of an append was put.
type Placed struct {
	QueueOffset     int64
	PhysicalOffset  int64
	StoreTimeMillis int64
}

// Arrival tells of one message that can now be read.
type Arrival struct {
	Queue      mq.Queue
	Next       int64 // the message's offset + 1
	TagHash    int64
	Properties []byte // stored form; valid during the call only
}

// TrimPolicy says which segments the user no longer wants in the hot log. The
// zero policy wants none but the one being written.
type TrimPolicy struct {
	// KeepFor keeps segments whose newest message is younger.
	KeepFor time.Duration
	// KeepBytes, if not 0, drops the oldest segments while the log is larger,
	// whatever their age.
	KeepBytes int64
	// DropUnarchived drops messages that are in no archive snapshot yet. The
	// user has to choose it by name.
	DropUnarchived bool
	// MinAge may keep the messages of a topic for longer than KeepFor. It does
	// not hold against KeepBytes. Nil keeps none.
	MinAge func(topic string) time.Duration
}

// Stats is a snapshot of a store's figures.
type Stats struct {
	FirstPhysical    int64 // first position that the log holds
	DurablePhysical  int64 // synced up to here
	Confirmed        int64 // readable up to here
	ArchivedPhysical int64 // everything below is in a committed archive snapshot, or never will be
	Bytes            int64 // in segment files, spares not counted
	Segments, Spares int
	Topics, Queues   int
	PendingBytes     int64  // waiting for the committer
	LastStoreMillis  int64  // newest store time
	FreeBytes        int64  // free disk space at the last look; -1 where unknown
	Epoch            uint64 // number of this opening
	Appended         int64  // messages since Open
	AppendedBytes    int64
	Batches          int64 // commit batches since Open
	Syncs            int64 // log syncs since Open
	Checkpoints      int64
	OldestMillis     int64 // store time of the oldest segment's first message; 0 where there is none
	Failed           error // why the store takes no more appends; nil
}
