package timer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"varve/hot"
	"varve/internal/meta"
	"varve/internal/mq"
)

// Tables in the bulk store.
const (
	bulkName   = "timer"
	entryTable = "timer"       // entry key → record, as in the log
	stateTable = "timer-state" // positionKey → position
)

const positionKey = "position"

// Limits and intervals.
const (
	// unitMessages and unitBytes bound one unit of deliveries.
	unitMessages = 256
	unitBytes    = 1 << 20
	// maxUnits is the number of units that the log may have at once.
	maxUnits = 8
	// readBytes bounds one read of a queue.
	readBytes = 1 << 20
	// maxFreshBytes is how many record bytes may wait in memory for the log to
	// become durable before following stops.
	maxFreshBytes = 32 << 20
	// readTurn bounds what one turn reads, so that what is due doesn't wait
	// for a backlog.
	readTurn = 4 << 20
	// saveTurn bounds how much of the log one save covers.
	saveTurn = 8 << 20
	// flushBytes is how much is written to the store before it is flushed. As
	// much again may be written meanwhile, then saving waits.
	flushBytes = 12 << 20
	// clearAfter is how many entries go before their place is cleared at once.
	clearAfter = 10_000
	// saveEvery is how often what the log has made durable is looked for while
	// something waits for it.
	saveEvery = 100 * time.Millisecond
	// flushEvery is how often the store is flushed while it changes.
	flushEvery = 5 * time.Second
	// maxSleep bounds a wait for the next due time, so that a clock that is
	// set forward is noticed.
	maxSleep = time.Second
	// minPrune is the length from which on the heap of fresh entries is looked
	// through for void ones.
	minPrune = 1024
	// retryAfter is the wait after the log refused deliveries.
	retryAfter = 200 * time.Millisecond
)

// Options say how to run a Store.
type Options struct {
	Broker string
	Levels []time.Duration
	// Wanted reports whether a topic still takes messages; those for a topic
	// that was deleted meanwhile are dropped when they are due. Nil wants all.
	Wanted func(topic string) bool
	Now    func() time.Time // time.Now
	Logger *slog.Logger     // discards
}

// Store is the timer of one broker.
type Store struct {
	o     Options
	log   *hot.Store
	meta  *meta.Store // the timer's own
	table meta.Table
	state meta.Table

	wake    chan struct{}
	results chan result
	pending atomic.Int64 // entries not delivered yet
	release func()

	// The rest, up to mu, is Run's own.
	recalling  []*recall // asked and not decided
	recallUnit bool      // the log has a unit of recalls
	queues     []*follow
	started    bool // the queues were followed to their end once
	behind     bool // the last read left some for the next
	first      int  // queue that the next read begins with
	readBytes  int64
	fresh      map[entry]mq.Record // read and not in the table
	freshN     int64               // bytes in fresh
	soon       entries             // entries of fresh; those no longer in fresh are void
	taken      map[entry]bool      // submitted or delivered; true once its done record was read
	cursor     entry               // entries of the table before it are in taken
	nextDue    int64               // due time of the table's first entry from cursor on; -1 unknown
	units      int                 // units that the log has
	paused     time.Time           // no delivery before
	rescue     rescue
	entries    int64 // in the table
	floor      entry // nothing is in the table before it
	deleted    int   // entries deleted since floor was raised

	unflushed int64     // bytes written since the last flush began
	since     time.Time // when the first of them was, zero where there is none
	flushing  *flush    // the flush under way

	mu  sync.Mutex
	low int64            // Invariant: everything of the timer below it is durable in the meta store
	at  map[string]saved // by queue name

	asked []*recall
	ended bool // Run has ended: nothing may be asked
}

// saved is a queue's position in the meta store.
type saved struct {
	queue mq.Queue
	next  int64
}

// position is the record in stateTable.
type position struct {
	// Entries is the number of entries.
	Entries int64 `json:"entries"`
	// Next is by topic and queue id ("SCHEDULE_TOPIC_XXXX/3") the first offset
	// not followed.
	Next map[string]int64 `json:"next"`
}

// follow is one queue of the log that the Store follows.
type follow struct {
	queue mq.Queue
	name  string
	next  int64 // first offset not read
	read  int64 // position below which everything of the queue was read
	saved int64 // first offset not in the meta store
	ops   []op  // read and not saved, in order
}

// op is one record that was read.
type op struct {
	offset   int64
	physical int64
	add      entry // of a timer queue
	skip     bool  // a record that makes no entry
	done     []entry
}

// result is what became of one unit.
type result struct {
	entries []entry
	recalls []*recall // that made the unit
	err     error
}

// Open reads what the meta store has. Nothing happens until Run.
func Open(o Options, log *hot.Store, m *meta.Store) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if len(o.Levels) == 0 || len(o.Levels) > MaxLevels {
		return nil, fmt.Errorf("timer: %d delay levels, want 1 to %d", len(o.Levels), MaxLevels)
	}
	bulk, err := m.Bulk(bulkName)
	if err != nil {
		return nil, fmt.Errorf("timer: %w", err)
	}
	s := &Store{
		o: o, log: log, meta: bulk, table: bulk.Table(entryTable), state: bulk.Table(stateTable),
		wake: make(chan struct{}, 1), results: make(chan result, maxUnits+1),
		fresh: map[entry]mq.Record{}, taken: map[entry]bool{}, nextDue: -1,
		at: map[string]saved{},
	}
	pos, err := s.load(m)
	if err != nil {
		return nil, err
	}
	for i := range o.Levels {
		s.follow(mq.ScheduleTopic, int32(i), pos)
	}
	for _, q := range log.Queues() { // of levels that the settings had once
		if q.Topic == mq.ScheduleTopic && int(q.ID) >= len(o.Levels) {
			s.follow(q.Topic, q.ID, pos)
		}
	}
	s.follow(mq.TimerTopic, 0, pos)
	s.follow(doneTopic, 0, pos)
	s.entries = pos.Entries
	s.pending.Store(pos.Entries)
	s.low, s.rescue.seen = log.Stats().FirstPhysical, log.Stats().LastStoreMillis
	s.release = log.Hold("timer", s.lowest)
	return s, nil
}

func (s *Store) follow(topic string, id int32, pos position) {
	name := fmt.Sprintf("%s/%d", topic, id)
	f := &follow{queue: mq.Queue{Broker: s.o.Broker, Topic: topic, ID: id}, name: name}
	f.next, f.saved = pos.Next[name], pos.Next[name]
	s.queues = append(s.queues, f)
	s.at[name] = saved{f.queue, f.next}
}

// Pending is the number of messages held back.
func (s *Store) Pending() int64 { return s.pending.Load() }

// Follows reports whether the Store wants to be woken (Wake) when messages
// arrive in a topic.
func Follows(topic string) bool {
	return topic == mq.ScheduleTopic || topic == mq.TimerTopic || topic == doneTopic
}

// Wake tells that messages arrived. It never blocks.
func (s *Store) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// lowest is where the log must be kept from: the end, if all queues are saved
// to their end.
func (s *Store) lowest() int64 {
	end := s.log.Confirmed()
	s.mu.Lock()
	low, at := s.low, make([]saved, 0, len(s.at))
	for _, q := range s.at {
		at = append(at, q)
	}
	s.mu.Unlock()
	for _, q := range at {
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

// Run follows, saves and delivers until ctx ends; then it saves once more.
func (s *Store) Run(ctx context.Context) error {
	defer s.release()
	defer s.refuseRecalls()
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		wait, err := s.turn(ctx)
		if err != nil && ctx.Err() == nil {
			s.o.Logger.Error("timer failed, will try again", "error", err, "wait", maxSleep)
			wait = maxSleep
		}
		if ctx.Err() != nil {
			return s.stop()
		}
		var due <-chan time.Time
		if wait >= 0 {
			t.Reset(wait)
			due = t.C
		}
		select {
		case <-ctx.Done():
			return s.stop()
		case <-s.wake:
		case <-due:
		case <-s.flushing.done():
		case r := <-s.results:
			s.settle(r)
		}
	}
}

// turn does all that can be done now and gives the time to the next thing to
// do, -1 where only an arrival brings one.
func (s *Store) turn(ctx context.Context) (time.Duration, error) {
	for {
		select {
		case r := <-s.results:
			s.settle(r)
			continue
		default:
		}
		break
	}
	if err := s.read(ctx); err != nil {
		return 0, err
	}
	more, err := s.save()
	if err == nil {
		err = s.flush(false)
	}
	if err != nil {
		return 0, err
	}
	s.recalls()
	next, err := s.deliver()
	if err != nil {
		return 0, err
	}
	switch {
	case more || s.behind:
		next = 0
	case (s.waiting() || !s.since.IsZero()) && (next < 0 || next > saveEvery):
		next = saveEvery
	}
	return next, nil
}

func (s *Store) waiting() bool {
	for _, f := range s.queues {
		if len(f.ops) > 0 {
			return true
		}
	}
	return false
}
