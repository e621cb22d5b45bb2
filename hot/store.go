package hot

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"varve/hot/index"
	"varve/internal/mq"
)

// Store is the log of one broker group. Its methods may be called concurrently.
type Store struct {
	o     Options
	dir   string
	lock  io.Closer
	db    *index.DB
	files *files
	// blocks is what readers have read of the log a short while ago.
	blocks blocks
	epoch  uint64
	keys   pendingKeys
	c      committer

	// Positions, in the order in which they are reached.
	written      atomic.Int64 // in the file
	confirmed    atomic.Int64 // can be read
	durable      atomic.Int64 // synced; under FlushSync it is reached before confirmed
	checkpointed atomic.Int64 // in the indexes on disk
	archived     atomic.Int64
	lastTime     atomic.Int64

	endingsVersion atomic.Uint64

	mu         sync.RWMutex
	topics     map[string]*topic
	queueCount int
	deleted    map[string]int64 // topic → its records below the position are forgotten
	endings    map[string]int64 // topic → position of its ending
	holds      map[string]func() int64
	tails      map[*Tail]struct{}

	subMu        sync.Mutex
	subCond      *sync.Cond
	pending      []*unit
	pendingBytes int64
	committing   bool // somebody commits: the committer goroutine or a Commit
	asked        bool // the committer goroutine has something to do
	closing      bool
	committed    chan struct{} // closed when the committer is gone

	dirtyMu sync.Mutex
	dirty   []*queue

	syncMu       sync.Mutex
	flushCh      chan struct{}
	flushAsked   atomic.Bool
	checkpointCh chan struct{}
	ckptMu       sync.Mutex
	ckptCond     *sync.Cond
	ckptErr      error
	quit         chan struct{}
	loops        sync.WaitGroup

	// trimMu orders what changes the index: checkpoints, marks, trims,
	// deletions of topics.
	trimMu         sync.Mutex
	indexFlushed   int64 // up to here the index is durable, since then
	indexFlushedAt time.Time
	highUID        uint64 // highest uid in the index

	// life is held for reading by every reading call, and by Close alone.
	life   sync.RWMutex
	closed atomic.Bool
	failed atomic.Pointer[error]

	onArrival atomic.Pointer[[]func([]Arrival)]
	tailCount atomic.Int32

	freeBytes                                            atomic.Int64
	appended, appendedBytes, batches, syncs, checkpoints atomic.Int64
}

var (
	_ mq.Reader = (*Store)(nil)
	_ mq.Finder = (*Store)(nil)
)

// Close writes what is waiting, syncs and releases the directory. Appends that
// are waiting are completed; later calls fail with ErrClosed.
func (s *Store) Close() error {
	s.subMu.Lock()
	if s.closing {
		s.subMu.Unlock()
		<-s.committed
		return nil
	}
	s.closing = true
	s.subCond.Signal()
	s.subMu.Unlock()
	<-s.committed
	close(s.quit)
	s.loops.Wait()
	var err error
	if s.failure() == nil {
		err = s.settleAll()
	}
	s.closed.Store(true)
	s.wakeTails()
	s.life.Lock()
	defer s.life.Unlock()
	if err = errors.Join(err, s.db.Close(), s.files.close(), s.lock.Close()); err != nil {
		return fmt.Errorf("closing the hot log in %s: %w", s.dir, err)
	}
	return nil
}

// settleAll makes everything durable, so that the next Open need not scan.
func (s *Store) settleAll() error {
	if err := s.checkpoint(); err != nil {
		return err
	}
	s.trimMu.Lock()
	defer s.trimMu.Unlock()
	segs := s.files.acquireAll()
	defer s.letGo(segs)
	if err := s.flushKeys(segs, s.checkpointed.Load(), true); err != nil {
		return err
	}
	u := s.db.Update()
	u.Clean(s.checkpointed.Load())
	return errors.Join(u.Commit(), s.db.Flush())
}

// enter begins a reading call; leave ends it.
func (s *Store) enter() error {
	s.life.RLock()
	if s.closed.Load() {
		s.life.RUnlock()
		return ErrClosed
	}
	return nil
}

func (s *Store) leave() { s.life.RUnlock() }

// Confirmed is the end of the part of the log that can be read.
func (s *Store) Confirmed() int64 { return s.confirmed.Load() }

// Stats gives the store's figures.
func (s *Store) Stats() Stats {
	st := Stats{
		FirstPhysical:    s.files.first(),
		DurablePhysical:  s.durable.Load(),
		Confirmed:        s.confirmed.Load(),
		ArchivedPhysical: s.archived.Load(),
		LastStoreMillis:  s.lastTime.Load(),
		FreeBytes:        s.freeBytes.Load(),
		Epoch:            s.epoch,
		Appended:         s.appended.Load(),
		AppendedBytes:    s.appendedBytes.Load(),
		Batches:          s.batches.Load(),
		Syncs:            s.syncs.Load(),
		Checkpoints:      s.checkpoints.Load(),
		Failed:           s.failure(),
	}
	st.Bytes, st.Segments, st.Spares = s.files.bytes()
	st.OldestMillis = s.files.oldest()
	s.mu.RLock()
	st.Topics, st.Queues = len(s.topics), s.queueCount
	s.mu.RUnlock()
	s.subMu.Lock()
	st.PendingBytes = s.pendingBytes
	s.subMu.Unlock()
	return st
}

// oldest is the store time of the first segment's first record.
func (fl *files) oldest() int64 {
	fl.mu.RLock()
	defer fl.mu.RUnlock()
	i := slices.IndexFunc(fl.segs, func(g *seg) bool { return g.firstTime.Load() != 0 })
	if i < 0 {
		return 0
	}
	return fl.segs[i].firstTime.Load()
}
