package txn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"varve/hot"
	"varve/internal/meta"
	"varve/internal/mq"
)

// Tables in the meta store. Keys but positionKey are half messages' positions.
const (
	openTable    = "txn"          // record of each open half, as in the log
	checksTable  = "txn-checks"   // asking
	givenUpTable = "txn-given-up" // record of each half that was given up
	stateTable   = "txn-state"    // positionKey → position
)

const positionKey = "position"

// Limits and intervals.
const (
	// readBytes bounds one read of a queue.
	readBytes = 1 << 20
	// maxFreshBytes is how many record bytes may wait in memory for the meta
	// store; beyond that they are read from the log again when needed.
	maxFreshBytes = 32 << 20
	// saveEvery is how often is saved what the log had made durable the time
	// before: a transaction that ends within it costs the meta store nothing.
	saveEvery = 500 * time.Millisecond
	// syncEvery is how often the meta store is synced while it changes.
	syncEvery = 2 * time.Second
	// maxSleep bounds a wait, so that a clock that is set forward is noticed.
	maxSleep = time.Second
	// retryAfter is the wait after the log refused to give a half up.
	retryAfter = 5 * time.Second
	// offlineRetry is when a group without a producer is looked for again.
	offlineRetry = 5 * time.Second
	// checksPerTurn bounds the questions between two looks at the log.
	checksPerTurn = 256
	// pruneEvery is how often given up halves are looked through.
	pruneEvery = time.Hour
)

// What End and Restore can fail with.
var (
	ErrNoHalf  = errors.New("no half message in doubt")
	ErrEnded   = errors.New("its end is another one")
	ErrLate    = errors.New("only an answer to a question counts now")
	ErrTooMany = errors.New("too many transactions in doubt")
)

// Options say how to run a Store.
type Options struct {
	Broker string
	// FirstCheck is the age at which a producer is asked first, CheckInterval
	// the time between two questions, MaxChecks their number.
	FirstCheck, CheckInterval time.Duration
	MaxChecks                 int
	// MaxAge is the time in doubt after which a half is given up even if no
	// producer ever came.
	MaxAge time.Duration
	// KeepGivenUp is how long a half that was given up is kept, from when it
	// was sent.
	KeepGivenUp time.Duration
	MaxPerTopic int // open halves; more are refused
	// Ask puts a question to a producer of the group: asked is false where none
	// can be asked. load gives what to ask about.
	Ask func(ctx context.Context, group string, load func() (*Half, error)) (asked bool, err error)
	// Place readdresses a committed message where its topic says so; delayed
	// says that it has a delay.
	Place func(m *mq.Message, delayed bool) error
	// GiveUp is called before a half is put into GivenUpTopic.
	GiveUp func() error
	Now    func() time.Time // time.Now
	Logger *slog.Logger     // discards
}

// Half is a half message for those outside the Store.
type Half struct {
	Record           mq.Record // as its producer is shown it
	Group, Topic     string
	QueueID          int32
	Offset, Physical int64
	MsgID            string
	OffsetMsgID      string
	StoreTimeMillis  int64
	Checks           int
	LastCheckMillis  int64
	NextCheckMillis  int64
	GivenUp          bool
}

// Store is the transactions of one broker.
type Store struct {
	o       Options
	log     *hot.Store
	meta    *meta.Store
	open    meta.Table
	asking  meta.Table
	givenUp meta.Table
	state   meta.Table
	wake    chan struct{}
	release func()

	// Run's own.
	halfQueue, endQueue follow
	fresh               []*half // read and not saved, in the order of the log
	ends                []end   // the same of end records
	mark                int64   // what was durable and followed at the last save
	marked              time.Time
	synced              time.Time
	pruned              time.Time
	lookedClock         int64 // the clock when it was looked at last, in milliseconds
	lookedAt            time.Time
	seen                int64 // end of the log when the queues were last followed to their end
	unsaved             bool  // the meta store has changes that are not synced

	mu     sync.Mutex
	next   int64 // Invariant: halves of the queue below it are followed
	halves map[int64]*half
	topics tallies
	groups tallies
	queue  schedule
	dirty  []*half // asked since the last save
	freshN int64   // bytes of records in halves
	count  Counts
	low    int64 // Invariant: everything below it is durable in the meta store
	// What the meta store durably has, for lowest.
	durableHalf, durableEnd int64
}

// Counts is what became of transactions since the start.
type Counts struct {
	Open                                int64 // now
	Commits, Rollbacks, Checks, GivenUp int64
}

// follow is one queue of the log.
type follow struct {
	queue mq.Queue
	next  int64 // first offset not read
	saved int64 // first offset not in the meta store
}

// end is one end record that was read.
type end struct {
	offset, physical int64
	half             int64
	verdict          Verdict
}

// position is the record in stateTable: the first offsets not followed.
type position struct {
	Half int64 `json:"half"`
	End  int64 `json:"end"`
}

// asked is the record in checksTable.
type asked struct {
	Checks int   `json:"checks"`
	Last   int64 `json:"last"`
	Due    int64 `json:"due"`
	Since  int64 `json:"since"`
}

// Follows reports whether the Store wants to be woken (Wake) when messages
// arrive in a topic.
func Follows(topic string) bool { return topic == mq.HalfTopic || topic == mq.OpHalfTopic }

// Wake tells that messages arrived. It never blocks.
func (s *Store) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Counts gives the Store's figures.
func (s *Store) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// Admit reports whether a topic may have another half message: ErrTooMany.
func (s *Store) Admit(topic string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.topics[topic]; t != nil && t.open >= s.o.MaxPerTopic {
		return fmt.Errorf("%w: topic %q has %d, the limit", ErrTooMany, topic, t.open)
	}
	return nil
}

// lowest is where the log must be kept from: the end, if both queues are saved
// to their end.
func (s *Store) lowest() int64 {
	end := s.log.Confirmed()
	s.mu.Lock()
	low, half, ends := s.low, s.durableHalf, s.durableEnd
	s.mu.Unlock()
	for _, q := range []struct {
		queue mq.Queue
		next  int64
	}{{s.halfQueue.queue, half}, {s.endQueue.queue, ends}} {
		r, err := s.log.Range(context.Background(), q.queue)
		if errors.Is(err, mq.ErrNoQueue) {
			continue
		}
		if err != nil || r.To != q.next {
			return low
		}
	}
	return max(low, end)
}

// Run follows, saves and asks until ctx ends; then it saves once more.
func (s *Store) Run(ctx context.Context) error {
	defer s.release()
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		wait, err := s.turn(ctx)
		if ctx.Err() != nil {
			return s.stop()
		}
		if err != nil {
			s.o.Logger.Error("transactions failed, will try again", "error", err, "wait", maxSleep)
			wait = maxSleep
		}
		t.Reset(wait)
		select {
		case <-ctx.Done():
			return s.stop()
		case <-s.wake:
		case <-t.C:
		}
	}
}

// turn does all that can be done now and gives the time to the next thing to
// do.
func (s *Store) turn(ctx context.Context) (time.Duration, error) {
	if err := s.read(ctx); err != nil {
		return 0, err
	}
	now := time.Now()
	s.watch(s.o.Now())
	if now.Sub(s.marked) >= saveEvery {
		s.marked = now
		if err := s.save(s.mark, false); err != nil {
			return 0, err
		}
		s.mark = min(s.log.Stats().DurablePhysical, s.seen)
	}
	if now.Sub(s.pruned) >= pruneEvery {
		s.pruned = now
		if err := s.prune(s.o.Now()); err != nil {
			return 0, err
		}
	}
	wait, err := s.ask(ctx)
	if err != nil {
		return 0, err
	}
	if len(s.fresh) > 0 || len(s.ends) > 0 || s.unsaved || s.anyDirty() {
		wait = min(wait, saveEvery)
	}
	return wait, nil
}

func (s *Store) anyDirty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.dirty) > 0
}

// stop saves all that there is.
func (s *Store) stop() error {
	ctx := context.Background()
	if err := errors.Join(s.log.Flush(ctx), s.read(ctx)); err != nil {
		if errors.Is(err, hot.ErrClosed) {
			return nil
		}
		return fmt.Errorf("transactions: stop: %w", err)
	}
	return s.save(min(s.log.Stats().DurablePhysical, s.seen), true)
}
