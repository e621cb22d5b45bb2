package pop

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"varve/hot"
	"varve/internal/meta"
	"varve/internal/mq"
)

// Tables in the meta store.
const (
	windowTable = "pop"       // group@topic@queue → window, as encode makes it
	stateTable  = "pop-state" // positionKey → position
	positionKey = "position"
)

// doneTopic has the records that name messages which were copied elsewhere. Its
// prefix keeps it out of the archive.
const doneTopic = "rmq_sys_pop_done"

// Limits and intervals.
const (
	// SaveEvery is how often windows that changed are saved.
	SaveEvery = 500 * time.Millisecond
	// syncEvery is how often the meta store is synced while they do.
	syncEvery = 2 * time.Second
	// unitMessages and unitBytes bound one unit of copies.
	unitMessages = 256
	unitBytes    = 1 << 20
	// maxUnits is how many windows may copy at once.
	maxUnits = 8
	// retryAfter is the wait after a copy failed.
	retryAfter = time.Second
	// tellEvery is the least time between two failures that are logged.
	tellEvery = 10 * time.Second
	// maxSleep bounds a wait for a deadline, so that a clock that is set
	// forward is noticed.
	maxSleep = time.Second
	// minSleep bounds how often a window is looked through.
	minSleep = 10 * time.Millisecond
)

// ErrExpired says that a handle is good for nothing any more.
var ErrExpired = errors.New("message was taken back or given out again")

// Options say how to run a Store. All but Now and Logger must be there.
type Options struct {
	Broker string
	Reader mq.Reader // of the messages to be copied
	// QueueLimit and GroupLimit bound the messages in flight of one window,
	// and of one group in all its windows.
	QueueLimit, GroupLimit int
	// Commit notes a group's progress.
	Commit func(k Key, base int64)
	// Progress is the progress as it is noted; reset says that it was set by
	// somebody and no consumer knows yet.
	Progress func(k Key) (off int64, known, reset bool)
	// Tries is how often a group's message is given out again.
	Tries func(group string) int32
	// Copy makes, of a message that was not acked in time, the one to be stored
	// in its place: nil where there is none to be. What it aliases must stay.
	Copy func(e Expired) (*mq.Message, error)
	// Wake tells that a window has room again, or a batch to give again. It is
	// false where nobody waited for that.
	Wake   func(k Key) bool
	Now    func() time.Time // time.Now
	Logger *slog.Logger     // discards
}

// Expired is a message that was not acked in time.
type Expired struct {
	Key
	Record     mq.Record
	PopMillis  int64
	Suspended  bool // the delivery doesn't count as a try
	DeadLetter bool // to be given up
	// MaxAttempts is what a client says is its limit, 0 where it doesn't.
	MaxAttempts int
}

// Store is the windows of one broker.
type Store struct {
	o     Options
	log   *hot.Store
	meta  *meta.Store
	table meta.Table
	state meta.Table

	inFlight atomic.Int64
	moves    atomic.Int64
	wake     chan struct{}
	places   chan struct{} // tokens of units under way
	release  func()

	windows struct {
		sync.RWMutex
		m      map[Key]*Window
		groups map[string]*group
	}

	saving   sync.Mutex
	saves    int64 // number of the last save
	synced   atomic.Int64
	looked   look // Run's own
	syncedAt time.Time
	savedAt  time.Time

	mu      sync.Mutex
	dirty   []*Window
	agenda  agenda
	next    int64      // first done record that the saved windows don't reflect
	pending []doneMark // done records from next on that the log has, by offset
	units   int        // handed to the log, and not in pending yet
	low     int64      // the log is held from here on
	failed  int        // copies of windows that failed, since it was logged
	toldAt  time.Time  // when it was logged
}

// doneMark is where a done record lies.
type doneMark struct{ off, physical int64 }

// position is the record in stateTable.
type position struct {
	Next int64 `json:"next"` // first offset of the queue of done records not followed
}

// Open reads what the meta store has, and what the log says since. Nothing
// expires until Run.
func Open(o Options, log *hot.Store, m *meta.Store) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		o: o, log: log, meta: m, table: m.Table(windowTable), state: m.Table(stateTable),
		wake: make(chan struct{}, 1), places: make(chan struct{}, maxUnits),
	}
	s.windows.m, s.windows.groups = map[Key]*Window{}, map[string]*group{}
	s.low = log.Stats().FirstPhysical
	s.syncedAt, s.savedAt = time.Now(), time.Now()
	if err := s.load(); err != nil {
		return nil, err
	}
	if err := s.follow(context.Background()); err != nil {
		return nil, err
	}
	if err := s.Save(true); err != nil {
		return nil, err
	}
	s.release = log.Hold("pop", s.lowest)
	return s, nil
}

// InFlight is the number of messages that were given out and are not done.
func (s *Store) InFlight() int64 { return s.inFlight.Load() }

// Moves is the number of messages that were copied elsewhere since Open.
func (s *Store) Moves() int64 { return s.moves.Load() }

// GroupFull reports whether a group has as much in flight as it may.
func (s *Store) GroupFull(group string) bool {
	g := s.group(group)
	return g != nil && g.live.Load() >= int64(s.o.GroupLimit)
}

func (s *Store) find(k Key) *Window {
	s.windows.RLock()
	defer s.windows.RUnlock()
	return s.windows.m[k]
}

// Find gives a window, nil where the group never popped from the queue.
func (s *Store) Find(k Key) *Window { return s.find(k) }

// Window gives a window, a new one where there is none. k's strings are copied.
func (s *Store) Window(k Key) *Window {
	if w := s.find(k); w != nil {
		return w
	}
	s.windows.Lock()
	defer s.windows.Unlock()
	if w := s.windows.m[k]; w != nil {
		return w
	}
	k.Group, k.Topic = strings.Clone(k.Group), strings.Clone(k.Topic)
	g := s.windows.groups[k.Group]
	if g == nil {
		g = &group{}
		s.windows.groups[k.Group] = g
	}
	w := &Window{Key: k, store: s, group: g, wake: never}
	s.windows.m[k] = w
	return w
}

// Forget drops the windows that match, durably: their topic or their group was
// deleted. Where that can't be saved they stay.
func (s *Store) Forget(match func(Key) bool) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	list := map[Key]*Window{}
	s.windows.Lock()
	for k, w := range s.windows.m {
		if match(k) {
			list[k] = w
		}
	}
	s.windows.Unlock()
	b := s.meta.Batch()
	for _, w := range list {
		w.mu.Lock()
		if w.hasSaved {
			b.Delete(s.table, w.id())
		}
		w.mu.Unlock()
	}
	if b.Empty() {
		if err := b.Discard(); err != nil {
			return err
		}
	} else if err := b.Commit(true); err != nil {
		return fmt.Errorf("pop: forget windows: %w", err)
	}
	s.windows.Lock()
	for k := range list {
		delete(s.windows.m, k)
	}
	s.windows.Unlock()
	for _, w := range list {
		w.mu.Lock()
		w.Stop()
		w.gone = true
		w.mu.Unlock()
		s.feedGroup(w.group) // what it had in flight is room for the rest of its group
	}
	return nil
}

// Changed ends a change of a window that the caller holds: its progress is
// noted and it will be saved.
func (s *Store) Changed(w *Window) {
	w.trim()
	if base := w.Base(); base != w.committed && w.started {
		w.committed = base
		s.o.Commit(w.Key, base)
	}
	s.enlist(w)
}

func (s *Store) enlist(w *Window) {
	if w.dirty || w.gone {
		return
	}
	w.dirty = true
	s.mu.Lock()
	s.dirty = append(s.dirty, w)
	first := len(s.dirty) == 1
	s.mu.Unlock()
	if first {
		s.signal()
	}
}

func (s *Store) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// feed calls Options.Wake where somebody was told to wait, at this window or at
// another one of its group. The window is unlocked.
func (s *Store) feed(w *Window, starved bool) {
	if starved {
		s.o.Wake(w.Key)
	}
	s.feedGroup(w.group)
}

// Ack ends a delivery. It is a success where that delivery was acked before, as
// far as is remembered: up to a restart, and up to the next message of the queue
// that is taken back. A window keeps no entry of what was acked: what was given
// out once and has none was acked, unless it is older than what was taken back.
func (s *Store) Ack(k Key, off, popMillis, until int64) error {
	w := s.find(k)
	if w == nil {
		return ErrExpired
	}
	w.mu.Lock()
	e := w.find(off)
	if e == nil || e.pop != popMillis || e.state != live {
		acked := e != nil && e.pop == popMillis && e.state == done ||
			e == nil && w.started && off < w.next && off >= w.lost && s.o.Now().UnixMilli() <= until
		w.mu.Unlock()
		if acked {
			return nil
		}
		return ErrExpired
	}
	starved := s.ack(w, e)
	w.mu.Unlock()
	s.feed(w, starved)
	return nil
}

// ack ends a live entry. An ordered window wakes who waits when its batch is
// done, another one when it has room.
func (s *Store) ack(w *Window, e *entry) (starved bool) {
	w.finish(e)
	if w.ordered == 0 {
		starved, w.starved = w.starved, false
	}
	s.Changed(w)
	return starved
}

// Change gives a live message a new deadline, and its delivery a new name.
func (s *Store) Change(k Key, off, popMillis, newPop, due int64, suspend bool) (named int64, err error) {
	w := s.find(k)
	if w == nil {
		return 0, ErrExpired
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.find(off)
	if e == nil || e.pop != popMillis || e.state != live {
		return 0, ErrExpired
	}
	e.pop, e.due, e.suspended = max(newPop, e.pop+1), due, suspend
	w.expect(due)
	s.enlist(w)
	return e.pop, nil
}

// schedule puts a window on the agenda. Its lock is held.
func (s *Store) schedule(w *Window, at int64) {
	s.mu.Lock()
	first := len(s.agenda) == 0 || at < s.agenda[0].at
	heap.Push(&s.agenda, visit{at, w})
	s.mu.Unlock()
	if first {
		s.signal()
	}
}

// visit is a window's place on the agenda; void where Window.wake says
// otherwise.
type visit struct {
	at int64
	w  *Window
}

// agenda is a heap, soonest first.
type agenda []visit

func (h agenda) Len() int           { return len(h) }
func (h agenda) Less(i, j int) bool { return h[i].at < h[j].at }
func (h agenda) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *agenda) Push(x any) { *h = append(*h, x.(visit)) }

// Pop implements heap.Interface.
func (h *agenda) Pop() any {
	old := *h
	v := old[len(old)-1]
	old[len(old)-1] = visit{}
	*h = old[:len(old)-1]
	return v
}
