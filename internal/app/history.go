package app

import (
	"cmp"
	"context"
	"fmt"

	"varve/broker/filter"
	"varve/broker/quota"
	"varve/broker/route"
	"varve/history"
	"varve/hot"
	"varve/internal/archive"
	"varve/internal/config"
	"varve/internal/tier"
	"varve/query"
)

// openReader makes the reader of every tier that this process has. A broker
// without the history role reads the archive all the same: its consumers'
// old offsets are there.
func (n *Node) openReader(context.Context) error {
	var cold tier.Source
	if n.archive != nil {
		h := n.cfg.History
		var hotEnd func() int64
		if n.store != nil {
			hotEnd = n.store.Confirmed
		}
		var err error
		n.history, err = history.New(history.Config{
			Dir: n.dir.path("cache"), MemoryBytes: int64(h.Memory), DiskBytes: int64(h.Cache), FileBytes: int64(h.Files), Logger: n.log,
			DecodedBytes: int64(h.Memory) / 2, Reader: archive.ReaderOptions{CursorBytes: int64(h.Memory)}, HotEnd: hotEnd,
		}, n.archive)
		if err != nil {
			return fmt.Errorf("start the history node: %w", err)
		}
		n.onRun("history", n.history.Run)
		n.health.Watch("history", func() string { return cmp.Or(damagedTables(n.history.Damaged()), badFiles(n.history.BadFiles())) })
		cold = n.history
		if err := n.openHolds(); err != nil {
			return err
		}
	}
	switch {
	case n.store != nil && cold != nil:
		t := tier.NewReader(n.store, cold, tier.Options{Marks: n.store.Marks, Damaged: hot.Damaged, Logger: n.log})
		n.tiers = t
		n.reader, n.finder = t, t
	case n.store != nil:
		n.reader, n.finder = n.store, n.store
	case cold != nil:
		n.reader, n.finder = cold, cold
	}
	return nil
}

// badFiles says which data files can't be read, "" where all can, as far as is
// known.
func badFiles(list []history.BadFile) string {
	if len(list) == 0 {
		return ""
	}
	f := list[0]
	return fmt.Sprintf("%d data files can't be read, such as %s of %v, from offset %d on: %s", len(list), f.File.Name, f.File.Queue, f.At, f.Why)
}

// queryFiles gives the query engine data files as local paths, held until
// they are released.
type queryFiles struct{ h *history.Node }

func (f queryFiles) Local(ctx context.Context, files []archive.DataFile) (paths []string, release func(), err error) {
	var held []func()
	release = func() {
		for _, r := range held {
			r()
		}
	}
	for _, df := range files {
		path, r, err := f.h.LocalFile(ctx, df)
		if err != nil {
			release()
			return nil, nil, &query.MissingFileError{Name: df.Name, Err: err}
		}
		paths, held = append(paths, path), append(held, r)
	}
	return paths, release, nil
}

// openHistory serves the archive to clients, as a follower in the route of the
// broker group.
func (n *Node) openHistory(context.Context) error {
	if !n.cfg.Has(config.RoleHistory) {
		return nil
	}
	h := n.cfg.History
	addr, err := advertised("history.advertise", h.Advertise, n.ports.history)
	if err != nil {
		return err
	}
	cfg := history.ServerConfig{
		Broker: n.cfg.Broker.Name, BrokerID: int64(h.BrokerID), Leader: n.leader, Compile: filter.Compile,
		Conn: n.conns(), Peers: n.peers(), MayRead: n.mayRead, Logger: n.log,
	}
	if n.store != nil {
		cfg.Hot = n.store.Range
	}
	if n.broker == nil {
		if n.readQuotas, err = quota.Load(n.meta, n.clock.Now); err != nil {
			return fmt.Errorf("quotas: %w", err)
		}
		cfg.Quotas = readQuotas{n.readQuotas}
	}
	if n.broker != nil {
		cfg.SharesUsers, cfg.Quotas = true, n.broker
		cfg.Subscription = func(group, topic string) (history.Subscription, bool) {
			s, err := n.broker.SubscriptionOf(group, topic)
			if err != nil {
				return history.Subscription{}, false
			}
			return history.Subscription{Kind: s.Type, Expression: s.Expression, Version: s.Version}, true
		}
	}
	srv, err := history.NewServer(cfg, n.history)
	if err != nil {
		return fmt.Errorf("start the history node: %w", err)
	}
	n.onRun("history port", func(ctx context.Context) error { return srv.Serve(ctx, n.ports.history) })
	n.announce("history", route.Member{
		Cluster: n.cfg.Cluster, Broker: n.cfg.Broker.Name, ID: int64(h.BrokerID), Addr: addr.String(),
	}, nil)
	return nil
}

// leader is where a broker group's id 0 is, "" where this process doesn't know.
func (n *Node) leader(broker string) string {
	if n.broker != nil && broker == n.cfg.Broker.Name {
		return n.advertise.String()
	}
	if n.routes == nil {
		return ""
	}
	for _, b := range n.routes.Brokers() {
		if b.Broker != broker {
			continue
		}
		for _, a := range b.Addrs {
			if a.ID == 0 {
				return a.Addr
			}
		}
	}
	return ""
}
