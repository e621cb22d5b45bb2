package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/dbcheck"
)

// Key spaces. All numbers are big-endian.
const (
	spaceQueue   = 'q' // uid → start, end, queue id, topic
	spaceMark    = 'a' // uid → archived mark
	spaceDropped = 'u' // uid → first offset above what was dropped unarchived
	spaceRemoved = 'r' // uid → offset below which the archive's retention has removed
	spaceBlock   = 'b' // uid, block number → entries
	spaceSegment = 's' // segment base, uid → first offset after the segment; uid 0 → newest store time
	spaceDeleted = 'd' // topic → position up to which its records are forgotten
	spaceEnding  = 'e' // topic → position of a deletion that the archive has not heard of
	spaceState   = 'm' // name → number
)

// Names in spaceState.
const (
	stateCheckpoint = "checkpoint"
	stateLastTime   = "last-time"
	stateEpoch      = "epoch"
	stateFirst      = "first"
	stateArchived   = "archived"
	stateNextUID    = "next-uid"
	stateClean      = "clean"
)

// Memory of the Pebble of one store.
const (
	memTableBytes = 8 << 20
	cacheBytes    = 8 << 20
	cachedBlocks  = 256 // full queue blocks kept for readers, 12 KiB each
	aheadBlocks   = 8   // read at once for who reads along a queue
	maxOpenFiles  = 256
)

// ErrBad says that an index holds what was never written to it.
var ErrBad = errors.New("index is damaged")

// Queue is a queue's state at a checkpoint.
type Queue struct {
	UID        uint64
	Topic      string
	ID         int32
	Start, End int64
	Archived   int64
	Dropped    int64 // offsets below it may have been dropped unarchived; 0 where none were
	Removed    int64 // offsets below it went from the archive by retention; 0 where none did
}

// State is everything but the blocks, as the last checkpoint left it.
type State struct {
	Checkpoint int64 // everything below is in the index; 0 before the first one
	LastTime   int64 // newest store time below Checkpoint
	Epoch      uint64
	First      int64 // base of the first segment that is kept
	Archived   int64 // archived position
	NextUID    uint64
	Clean      int64 // where the log ended when it was last closed; -1 while it is open
	Queues     []Queue
	Deleted    map[string]int64
	Endings    map[string]int64 // topic → position of a deletion that the archive has not heard of
	Segments   map[int64]int64  // base → newest store time, for segments below Checkpoint
}

// DB is the queue index. Its methods may be called concurrently, but updates
// are made by one goroutine at a time.
type DB struct {
	p      *pebble.DB
	cache  blockCache
	loaded *atomic.Bool // Load had its answer
}

// OpenDB opens or creates the index in dir.
func OpenDB(fs vfs.FS, dir string, l *slog.Logger) (*DB, error) {
	c := pebble.NewCache(cacheBytes)
	defer c.Unref()
	o := &pebble.Options{
		FS:                          fs,
		Cache:                       c,
		DisableWAL:                  true,
		MemTableSize:                memTableBytes,
		MemTableStopWritesThreshold: 4,
		MaxOpenFiles:                maxOpenFiles,
		FormatMajorVersion:          pebble.FormatNewest,
		Logger:                      pebbleLogger{l},
	}
	d := &DB{loaded: new(atomic.Bool)}
	// Damage that opening and Load meet is their error. Later it is met by
	// background work too, and without the index nothing can go on.
	o.EventListener = &pebble.EventListener{DataCorruption: func(i pebble.DataCorruptionInfo) {
		if d.loaded.Load() {
			l.Error("queue index is damaged; the server stops", "file", i.Path, "error", i.Details.Error(), "remedy", remedy)
			os.Exit(1)
		}
	}}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("creating the queue index in %s: %w", dir, err)
	}
	if err := dbcheck.Logs(fs, dir); err != nil {
		return nil, fmt.Errorf("opening the queue index in %s: %w", dir, explain(err))
	}
	// Positions and times of a block hardly compress, and every append would
	// pay for the attempt.
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	o.Levels[0].FilterPolicy = bloom.FilterPolicy(10)
	p, err := pebble.Open(dir, o)
	if err != nil {
		return nil, fmt.Errorf("opening the queue index in %s: %w", dir, explain(err))
	}
	d.p = p
	return d, nil
}

const remedy = "copy the data directory, then put this file back as it was, from a backup or a snapshot of the disk; " +
	"don't delete the index: it alone knows the offsets of queues whose messages have left the log"

// explain names the file of damage that Pebble met, and what can be done.
func explain(err error) error {
	if err = dbcheck.Explain(err); !errors.Is(err, dbcheck.ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w: %w; %s", ErrBad, err, remedy)
}

// Close closes the index; what no Flush made durable may be lost.
func (d *DB) Close() error { return d.p.Close() }

// Flush makes every update so far durable.
func (d *DB) Flush() error {
	if err := d.p.Flush(); err != nil {
		return fmt.Errorf("flushing the queue index: %w", err)
	}
	return nil
}

// FlushSoon is Flush without waiting.
func (d *DB) FlushSoon() error {
	if _, err := d.p.AsyncFlush(); err != nil {
		return fmt.Errorf("flushing the queue index: %w", err)
	}
	return nil
}

// Load reads the state.
func (d *DB) Load() (State, error) {
	st := State{
		Deleted: make(map[string]int64), Endings: make(map[string]int64), Segments: make(map[int64]int64),
		NextUID: 1, Clean: -1,
	}
	numbers := map[string]*int64{
		stateCheckpoint: &st.Checkpoint, stateLastTime: &st.LastTime, stateFirst: &st.First, stateArchived: &st.Archived,
		stateClean: &st.Clean,
	}
	unsigned := map[string]*uint64{stateEpoch: &st.Epoch, stateNextUID: &st.NextUID}
	err := errors.Join(
		d.scan(spaceState, func(k, v []byte) error {
			n, err := number(v)
			if to := numbers[string(k)]; to != nil {
				*to = n
			} else if to := unsigned[string(k)]; to != nil {
				*to = uint64(n)
			}
			return err
		}),
		d.scan(spaceDeleted, func(k, v []byte) (err error) {
			st.Deleted[string(k)], err = number(v)
			return err
		}),
		d.scan(spaceEnding, func(k, v []byte) (err error) {
			st.Endings[string(k)], err = number(v)
			return err
		}),
		d.scan(spaceSegment, func(k, v []byte) (err error) {
			if base, uid := int64(u64(k)), u64(k[8:]); uid == 0 {
				st.Segments[base], err = number(v)
			}
			return err
		}),
		d.loadQueues(&st),
	)
	if err != nil {
		return st, explain(err)
	}
	d.loaded.Store(true)
	return st, nil
}

func (d *DB) loadQueues(st *State) error {
	marks, dropped, removed := make(map[uint64]int64), make(map[uint64]int64), make(map[uint64]int64)
	for space, into := range map[byte]map[uint64]int64{spaceMark: marks, spaceDropped: dropped, spaceRemoved: removed} {
		if err := d.scan(space, func(k, v []byte) (err error) {
			into[u64(k)], err = number(v)
			return err
		}); err != nil {
			return err
		}
	}
	return d.scan(spaceQueue, func(k, v []byte) error {
		if len(v) < 20 {
			return fmt.Errorf("%w: queue %x has %d bytes", ErrBad, k, len(v))
		}
		q := Queue{
			UID: u64(k), Start: int64(u64(v)), End: int64(u64(v[8:])),
			ID: int32(binary.BigEndian.Uint32(v[16:])), Topic: string(v[20:]),
		}
		q.Archived, q.Dropped, q.Removed = marks[q.UID], dropped[q.UID], removed[q.UID]
		st.Queues = append(st.Queues, q)
		return nil
	})
}

// SegmentEnds gives, for each queue that has messages in a segment, the first
// offset after it.
func (d *DB) SegmentEnds(base int64) (map[uint64]int64, error) {
	out := make(map[uint64]int64)
	err := d.scanPrefix(binary.BigEndian.AppendUint64([]byte{spaceSegment}, uint64(base)), func(k, v []byte) (err error) {
		if uid := u64(k); uid != 0 {
			out[uid], err = number(v)
		}
		return err
	})
	return out, err
}

// Block gives a block of a queue, empty where there is none. The caller may
// keep it but not change it.
func (d *DB) Block(uid uint64, n int64) (Block, error) {
	b, along := d.cache.get(uid, n)
	if b != nil {
		return b, nil
	}
	var err error
	if along {
		b, err = d.blocks(uid, n)
	} else {
		b, err = d.block(uid, n)
	}
	if err != nil {
		return nil, fmt.Errorf("reading block %d of queue %d: %w", n, uid, err)
	}
	return b, nil
}

// CachedBlock is Block where that needs no look at the disk, nil where it would.
func (d *DB) CachedBlock(uid uint64, n int64) Block {
	b, _ := d.cache.get(uid, n)
	return b
}

// block reads one block.
func (d *DB) block(uid uint64, n int64) (Block, error) {
	v, closer, err := d.p.Get(blockKey(nil, uid, n))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := d.keep(uid, n, v)
	return b, errors.Join(err, closer.Close())
}

// blocks reads a block and keeps those that follow it: most of what one costs
// is to find its place.
func (d *DB) blocks(uid uint64, n int64) (first Block, err error) {
	it, err := d.p.NewIter(&pebble.IterOptions{LowerBound: blockKey(nil, uid, n), UpperBound: blockKey(nil, uid, n+aheadBlocks)})
	if err != nil {
		return nil, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, errors.Join(err, it.Close())
		}
		no := int64(u64(it.Key()[len(it.Key())-8:]))
		b, err := d.keep(uid, no, v)
		if err != nil && no == n { // what is wrong further on is found out there
			return nil, errors.Join(err, it.Close())
		}
		if no == n {
			first = b
		}
	}
	return first, it.Close()
}

// keep checks a stored block and keeps it for others if it is full.
func (d *DB) keep(uid uint64, n int64, v []byte) (Block, error) {
	if len(v)%entryLen != 0 || len(v) > BlockEntries*entryLen {
		return nil, fmt.Errorf("%w: it has %d bytes", ErrBad, len(v))
	}
	b := Block(append([]byte(nil), v...))
	if b.Len() == BlockEntries {
		d.cache.put(uid, n, b)
	}
	return b, nil
}

func (d *DB) scan(space byte, f func(k, v []byte) error) error {
	return d.scanPrefix([]byte{space}, f)
}

// scanPrefix calls f with each key under prefix, without the prefix.
func (d *DB) scanPrefix(prefix []byte, f func(k, v []byte) error) error {
	it, err := d.p.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return fmt.Errorf("reading the queue index: %w", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, verr := it.ValueAndErr()
		if verr == nil {
			verr = f(it.Key()[len(prefix):], v)
		}
		if verr != nil {
			return errors.Join(verr, it.Close())
		}
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("reading the queue index: %w", err)
	}
	return nil
}

// after gives the first key that is above all that begin with prefix.
func after(prefix []byte) []byte {
	out := append([]byte(nil), prefix...)
	for i := len(out) - 1; i >= 0; i-- {
		if out[i]++; out[i] != 0 {
			return out[:i+1]
		}
	}
	return nil
}

func u64(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func number(v []byte) (int64, error) {
	if len(v) != 8 {
		return 0, fmt.Errorf("%w: a number of %d bytes", ErrBad, len(v))
	}
	return int64(binary.BigEndian.Uint64(v)), nil
}

func blockKey(dst []byte, uid uint64, n int64) []byte {
	dst = append(dst, spaceBlock)
	dst = binary.BigEndian.AppendUint64(dst, uid)
	return binary.BigEndian.AppendUint64(dst, uint64(n))
}

// pebbleLogger passes what Pebble says on. Fatalf is what Pebble calls when it
// cannot go on, a manifest that can't be written above all; it may not return.
type pebbleLogger struct{ l *slog.Logger }

func (p pebbleLogger) Infof(format string, args ...any) {
	p.l.Debug("queue index", "text", fmt.Sprintf(format, args...))
}

func (p pebbleLogger) Errorf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if strings.Contains(text, "corruption detail") {
		return // DataCorruption had it
	}
	p.l.Error("queue index", "text", text)
}

func (p pebbleLogger) Fatalf(format string, args ...any) {
	p.l.Error("queue index cannot go on", "text", fmt.Sprintf(format, args...))
	os.Exit(1)
}
