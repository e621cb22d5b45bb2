package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"varve/broker/filter"
	"varve/broker/group"
	"varve/broker/offset"
	"varve/broker/pop"
	"varve/broker/quota"
	"varve/broker/timer"
	"varve/broker/topic"
	"varve/broker/traffic"
	"varve/broker/txn"
	"varve/hot"
	"varve/internal/meta"
	"varve/internal/mq"
)

// Deps is what a Broker works on. It closes none of them.
type Deps struct {
	Log    *hot.Store
	Reader mq.Reader // hot and archive as one; Log where nil
	Finder mq.Finder // hot and archive as one; Log where nil
	Meta   *meta.Store
	// MayDelete says why a topic may not be deleted; nil lets every one go.
	MayDelete func(ctx context.Context, topic string) error
	// Clock is the time that messages are due by and get; Now where nil. Spans
	// that end with the process go by Now, whose readings are monotonic.
	Clock  func() time.Time
	Now    func() time.Time // time.Now
	Logger *slog.Logger     // discards
}

// Broker is one broker of a group: its leader.
type Broker struct {
	cfg    Config
	log    *hot.Store
	reader mq.Reader
	finder mq.Finder
	now    func() time.Time
	clock  func() time.Time
	logger *slog.Logger

	mayDelete func(ctx context.Context, topic string) error

	topics  *topic.Table
	groups  *group.Configs
	clients *group.Registry
	locks   *group.Locks
	offsets *offset.Table
	filters *filter.Cache
	timers  *timer.Store
	txns    *txn.Store
	asks    atomic.Uint32 // turns the questions over a group's producers
	traffic *traffic.Table
	quotas  *quota.Table
	pops    *pop.Store
	modes   *meta.Settings[RequestMode]

	uniq     *uniqMaker
	ownProps []byte // stored form of the properties that every message gets
	sendings *sync.Pool
	waits    *waits
	popWaits *popWaits
	shares   struct {
		sync.RWMutex
		m map[shareKey]*popShare
	}
	routed   coldRoutes
	first    firstOffsets
	stats    counters
	mornings mornings
	live     atomic.Pointer[Live]

	coldWaiting, coldReads chan struct{} // tokens

	closed     atomic.Bool
	spawning   sync.Mutex // orders spawn and Close
	background sync.WaitGroup
	base       context.Context // ends at Close
	endBase    context.CancelFunc
}

// counters are what Stats gives.
type counters struct {
	sends, sendErrors, sentBytes       atomic.Int64
	pulls, pulledMessages, pulledBytes atomic.Int64
	coldReads, coldRouted              atomic.Int64
	sendBacks, deadLetters, recalls    atomic.Int64
	pops, poppedMessages, poppedBytes  atomic.Int64
	acks, popRetries                   atomic.Int64
}

// New makes a broker from what the meta store and the log hold. It serves at
// once; Run does what has to be done over time: without it held pulls and
// delayed messages wait.
func New(cfg Config, d Deps) (*Broker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("broker settings: %w", err)
	}
	if d.Log == nil || d.Meta == nil {
		return nil, errors.New("broker needs a log and a meta store")
	}
	b := &Broker{
		cfg: cfg.withDefaults(), log: d.Log, reader: d.Reader, finder: d.Finder,
		now: d.Now, logger: d.Logger, mayDelete: d.MayDelete, filters: filter.NewCache(),
	}
	if b.reader == nil {
		b.reader = d.Log
	}
	if b.finder == nil {
		b.finder = d.Log
	}
	if b.now == nil {
		b.now = time.Now
	}
	if b.clock = d.Clock; b.clock == nil {
		b.clock = b.now
	}
	if b.logger == nil {
		b.logger = slog.New(slog.DiscardHandler)
	}
	b.base, b.endBase = context.WithCancel(context.Background())
	b.coldWaiting = make(chan struct{}, maxColdWaiting)
	b.coldReads = make(chan struct{}, b.cfg.MaxColdReads)
	b.sendings = b.newSendings()
	b.uniq = newUniqMaker(b.cfg.StoreHost, rand.Uint32())
	b.ownProps = mq.AppendProperty(nil, mq.PropMsgRegion, b.cfg.Region)
	b.ownProps = mq.AppendProperty(b.ownProps, mq.PropTraceOn, strconv.FormatBool(b.cfg.TraceOn))
	b.ownProps = mq.AppendProperty(b.ownProps, mq.PropCluster, b.cfg.Cluster)
	b.waits = newWaits(b.now, b.cfg.MaxHeldPulls, b.cfg.SweepInterval)
	b.live.Store(b.cfg.live())
	b.traffic = traffic.NewTable(b.now())
	b.mornings.day = midnight(b.now())
	b.popWaits = newPopWaits(b.now, b.cfg.MaxHeldPulls)
	b.shares.m = map[shareKey]*popShare{}
	if err := b.load(d.Meta); err != nil {
		return nil, err
	}
	d.Log.OnArrival(b.arrived)
	return b, nil
}

func (b *Broker) load(m *meta.Store) (err error) {
	if b.topics, err = topic.Load(m); err != nil {
		return err
	}
	if err = b.seedTopics(); err != nil {
		return err
	}
	if b.groups, err = group.Load(m); err != nil {
		return err
	}
	if b.offsets, err = offset.Load(m); err != nil {
		return err
	}
	if err = b.clampOffsets(); err != nil {
		return err
	}
	if b.quotas, err = quota.Load(m, b.now); err != nil {
		return err
	}
	b.clients = group.NewRegistry(b.filters.Compile)
	b.locks = group.NewLocks(b.cfg.LockLease)
	levels, err := timer.ParseLevels(b.cfg.DelayLevels)
	if err != nil {
		return err
	}
	b.timers, err = timer.Open(timer.Options{
		Broker: b.cfg.Broker, Levels: levels, Now: b.clock, Logger: b.logger,
		Wanted: func(name string) bool { _, ok := b.topics.Get(name); return ok },
	}, b.log, m)
	if err != nil {
		return err
	}
	if b.txns, err = b.openTransactions(m); err != nil {
		return err
	}
	if b.modes, err = loadRequestModes(m); err != nil {
		return err
	}
	b.pops, err = b.openPops(m)
	return err
}

// arrived is called by the log's committer.
func (b *Broker) arrived(arrivals []hot.Arrival) {
	b.waits.arrive(arrivals)
	b.popWaits.arrive(arrivals)
	var timers, txns bool
	for i := range arrivals {
		topic := arrivals[i].Queue.Topic
		timers = timers || timer.Follows(topic)
		txns = txns || txn.Follows(topic)
	}
	if timers {
		b.timers.Wake()
	}
	if txns {
		b.txns.Wake()
	}
}

// Config is the broker's settings as they are now, defaults filled in.
func (b *Broker) Config() Config {
	c, l := b.cfg, b.live.Load()
	c.AutoCreateTopics, c.AutoCreateGroups, c.MaxBodyBytes = l.AutoCreateTopics, l.AutoCreateGroups, l.MaxBodyBytes
	return c
}

// clientSweep is how often silent clients and old leases are looked for.
const clientSweep = 10 * time.Second

// Run saves progress, expires clients, attempts held pulls and delivers what
// is due, until ctx ends. Then held requests are answered with ErrClosed, and no
// more are held.
func (b *Broker) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range max(2, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			b.waits.runWork(ctx, func(p *pull) { b.attempt(p, false) })
		})
		wg.Go(func() {
			b.popWaits.runWork(ctx, func(p *popping) { b.attemptPop(p, false) })
		})
	}
	wg.Go(func() { b.waits.runDeadlines(ctx) })
	wg.Go(func() { b.popWaits.runDeadlines(ctx) })
	wg.Go(func() { b.runTicks(ctx) })
	var txnErr, popErr error
	wg.Go(func() { txnErr = b.txns.Run(ctx) })
	wg.Go(func() { popErr = b.pops.Run(ctx) })
	err := b.timers.Run(ctx)
	wg.Wait()
	b.answerHeld()
	if err = errors.Join(err, txnErr, popErr); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	return nil
}

func (b *Broker) runTicks(ctx context.Context) {
	flush, clients, counts := time.NewTicker(b.cfg.OffsetFlush), time.NewTicker(clientSweep), time.NewTicker(traffic.Interval)
	defer flush.Stop()
	defer clients.Stop()
	defer counts.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-flush.C:
			if err := b.save(); err != nil {
				b.logger.Error("progress not saved, will try again", "error", err)
			}
		case <-clients.C:
			b.expireClients()
		case <-counts.C:
			b.tickTraffic(b.now())
		}
	}
}

// spawn runs fn on a goroutine that Close waits for; false after Close.
func (b *Broker) spawn(fn func(ctx context.Context)) bool {
	b.spawning.Lock()
	defer b.spawning.Unlock()
	if b.closed.Load() {
		return false
	}
	b.background.Go(func() { fn(b.base) })
	return true
}

// Close refuses further requests, answers the held ones with ErrClosed, and
// saves progress. Run must have ended; the log and the meta store must still be
// open.
func (b *Broker) Close() error {
	b.spawning.Lock()
	b.closed.Store(true)
	b.spawning.Unlock()
	b.endBase()
	b.background.Wait()
	b.answerHeld()
	if err := b.save(); err != nil {
		return fmt.Errorf("close broker: %w", err)
	}
	return nil
}

// answerHeld answers what is held with ErrClosed, and holds no more: nobody
// would attempt it again.
func (b *Broker) answerHeld() {
	b.waits.close(func(p *pull) { p.done(PullResult{}, ErrClosed) })
	b.popWaits.close(func(p *popping) { b.answerPop(p, PopResult{}, ErrClosed) })
}

// save saves what is in memory only: progress, and the groups and retry topics
// that a full disk didn't take.
func (b *Broker) save() error {
	return errors.Join(b.pops.Save(true), b.offsets.Flush(), b.groups.Flush(), b.topics.Flush())
}

// Stats gives the broker's figures.
func (b *Broker) Stats() Stats {
	c, t := &b.stats, b.txns.Counts()
	return Stats{
		Sends: c.sends.Load(), SendErrors: c.sendErrors.Load(), SentBytes: c.sentBytes.Load(),
		Pulls: c.pulls.Load(), PulledMessages: c.pulledMessages.Load(), PulledBytes: c.pulledBytes.Load(),
		ColdReads: c.coldReads.Load(), ColdRouted: c.coldRouted.Load(),
		SendBacks: c.sendBacks.Load(), DeadLetters: c.deadLetters.Load(),
		HeldPulls: int(b.waits.count.Load()),
		Pops:      c.pops.Load(), PoppedMessages: c.poppedMessages.Load(), PoppedBytes: c.poppedBytes.Load(),
		Acks: c.acks.Load(), PopRetries: c.popRetries.Load(), PopInFlight: b.pops.InFlight(),
		HeldPops: int(b.popWaits.count.Load()),
		Topics:   b.topics.Len(), Groups: b.groups.Len(), GroupsDiffering: b.clients.DifferingGroups(),
		TimersPending: b.timers.Pending(), Recalls: c.recalls.Load(),
		TransactionsOpen: t.Open, TransactionCommits: t.Commits, TransactionRollbacks: t.Rollbacks,
		TransactionChecks: t.Checks, TransactionsGivenUp: t.GivenUp,
	}
}
