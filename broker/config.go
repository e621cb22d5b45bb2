package broker

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"varve/broker/timer"
	"varve/internal/mq"
)

// Config is the settings of one broker. The zero value of a field means its
// default, but for booleans; DefaultConfig sets those as RocketMQ does.
type Config struct {
	Cluster   string         // DefaultCluster
	Broker    string         // broker group name; varve-a
	StoreHost netip.AddrPort // where clients reach this broker; part of every message id
	Region    string         // put in messages as MSG_REGION; DefaultRegion
	TraceOn   bool           // put in messages as TRACE_ON

	AutoCreateTopics bool  // a send to an unknown topic creates it
	AutoCreateGroups bool  // a heartbeat of an unknown group creates it
	DefaultQueues    int32 // most queues that a send may create; 8

	// CheckTypes says whose messages must be of their topic's type; CheckTyped.
	CheckTypes TypeCheck

	MaxBodyBytes  int           // body of one message or batch; 4 MiB
	DelayLevels   string        // "1s 5s 10s …"; RocketMQ's 18
	MaxTimerDelay time.Duration // longest any-time delay; 0 is no bound

	MaxPullMessages int // messages of one pull; 32, as RocketMQ gives
	MaxPullBytes    int // bytes of one pull, first message apart; 4 MiB
	MaxHeldPulls    int // held at once; 100,000
	// MaxPopQueue and MaxPopGroup bound the messages that POP consumers of one
	// group have been given and not acked: of one queue, and in all.
	MaxPopQueue  int // 10,000
	MaxPopGroup  int // 200,000
	MaxColdReads int // reads of the archive at once, for clients that can't be routed; 16

	// HistoryBrokerID is the broker id that a history node has in this broker
	// group's route. 0 means that there is none and cold reads are served here.
	HistoryBrokerID int64

	ClientExpiry  time.Duration // silence after which a client is gone; 120 s
	LockLease     time.Duration // life of a queue lock; 60 s
	OffsetFlush   time.Duration // how often progress is saved; 5 s
	SweepInterval time.Duration // how often a held pull that refused arrivals is run anyway; 5 s
	// TransactionTimeout is the age at which a producer is first asked what
	// became of its transaction; 6 s. It is asked TransactionMaxChecks times,
	// 15, every TransactionCheckInterval, 30 s; then the half message is given
	// up, and so it is at TransactionMaxAge, 3 days, if no producer came. It is
	// kept for TransactionKeepGivenUp, 7 days from its send.
	TransactionTimeout, TransactionCheckInterval time.Duration
	TransactionMaxChecks                         int
	TransactionMaxAge, TransactionKeepGivenUp    time.Duration
	TransactionsPerTopic                         int // half messages in doubt; 100,000

	// FreshBytes bounds the log behind a queue's first message for the queue to
	// count as new: a group without progress then starts at 0, whatever its
	// ConsumeFrom, so that messages sent just before it came are not skipped.
	FreshBytes int64 // 1 GiB
}

// Defaults of Config.
const (
	defaultCluster     = "DefaultCluster"
	defaultBroker      = "varve-a"
	defaultRegion      = "DefaultRegion"
	defaultQueues      = 8
	defaultMaxHeld     = 100_000
	defaultPullBytes   = 4 << 20
	defaultPopQueue    = 10_000
	defaultPopGroup    = 200_000
	defaultColdReads   = 16
	defaultExpiry      = 120 * time.Second
	defaultLease       = 60 * time.Second
	defaultOffsetFlush = 5 * time.Second
	defaultSweep       = 5 * time.Second
	defaultFreshBytes  = 1 << 30

	defaultTransactionTimeout = 6 * time.Second
	defaultCheckInterval      = 30 * time.Second
	defaultMaxChecks          = 15
	defaultTransactionAge     = 72 * time.Hour
	defaultKeepGivenUp        = 7 * 24 * time.Hour
	defaultPerTopic           = 100_000
)

// DefaultConfig is RocketMQ's behaviour.
func DefaultConfig() Config {
	c := Config{TraceOn: true, AutoCreateTopics: true, AutoCreateGroups: true}
	return c.withDefaults()
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (c Config) withDefaults() Config {
	orDefault(&c.Cluster, defaultCluster)
	orDefault(&c.Broker, defaultBroker)
	orDefault(&c.Region, defaultRegion)
	orDefault(&c.DefaultQueues, defaultQueues)
	orDefault(&c.CheckTypes, CheckTyped)
	orDefault(&c.MaxBodyBytes, mq.MaxBodyLen)
	orDefault(&c.DelayLevels, timer.DefaultLevels)
	orDefault(&c.MaxPullMessages, defaultPullMessages)
	orDefault(&c.MaxPullBytes, defaultPullBytes)
	orDefault(&c.MaxHeldPulls, defaultMaxHeld)
	orDefault(&c.MaxPopQueue, defaultPopQueue)
	orDefault(&c.MaxPopGroup, defaultPopGroup)
	orDefault(&c.MaxColdReads, defaultColdReads)
	orDefault(&c.ClientExpiry, defaultExpiry)
	orDefault(&c.LockLease, defaultLease)
	orDefault(&c.OffsetFlush, defaultOffsetFlush)
	orDefault(&c.SweepInterval, defaultSweep)
	orDefault(&c.FreshBytes, defaultFreshBytes)
	orDefault(&c.TransactionTimeout, defaultTransactionTimeout)
	orDefault(&c.TransactionCheckInterval, defaultCheckInterval)
	orDefault(&c.TransactionMaxChecks, defaultMaxChecks)
	orDefault(&c.TransactionMaxAge, defaultTransactionAge)
	orDefault(&c.TransactionKeepGivenUp, defaultKeepGivenUp)
	orDefault(&c.TransactionsPerTopic, defaultPerTopic)
	return c
}

// Validate reports what is wrong with the settings, nil if nothing is.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.MaxBodyBytes < 0 || c.MaxBodyBytes > mq.MaxBodyLen {
		errs = append(errs, fmt.Errorf("max body of %d bytes, want 1 to %d", c.MaxBodyBytes, mq.MaxBodyLen))
	}
	if !slices.Contains(TypeChecks, c.CheckTypes) {
		errs = append(errs, fmt.Errorf("check of message types %q is none of %v", c.CheckTypes, TypeChecks))
	}
	if _, err := timer.ParseLevels(c.DelayLevels); err != nil {
		errs = append(errs, err)
	}
	for name, n := range map[string]int64{
		"default queues": int64(c.DefaultQueues), "pull messages": int64(c.MaxPullMessages),
		"pull bytes": int64(c.MaxPullBytes), "held pulls": int64(c.MaxHeldPulls),
		"cold reads": int64(c.MaxColdReads), "unacked messages of a queue": int64(c.MaxPopQueue),
		"unacked messages of a group": int64(c.MaxPopGroup), "client expiry": int64(c.ClientExpiry),
		"lock lease": int64(c.LockLease), "offset flush": int64(c.OffsetFlush),
		"sweep interval": int64(c.SweepInterval), "timer delay": int64(c.MaxTimerDelay),
		"transaction timeout": int64(c.TransactionTimeout), "transaction check interval": int64(c.TransactionCheckInterval),
		"transaction checks": int64(c.TransactionMaxChecks), "transaction age": int64(c.TransactionMaxAge),
		"time to keep given up transactions": int64(c.TransactionKeepGivenUp), "transactions per topic": int64(c.TransactionsPerTopic),
	} {
		if n < 0 {
			errs = append(errs, fmt.Errorf("%s is negative", name))
		}
	}
	if c.HistoryBrokerID < 0 {
		errs = append(errs, fmt.Errorf("history broker id %d is negative", c.HistoryBrokerID))
	}
	return errors.Join(errs...)
}
