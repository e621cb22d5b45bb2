package app

import (
	"context"
	"errors"
	"fmt"

	"varve/broker"
	"varve/broker/front/remoting"
	"varve/broker/route"
	"varve/hot"
	"varve/internal/config"
	"varve/internal/meta"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// openState opens the state store.
func (n *Node) openState(context.Context) error {
	var err error
	if n.meta, err = meta.Open(n.dir.path("meta"), nil); err != nil {
		return dataError(err, "open the state in %s", n.dir.path("meta"))
	}
	n.onClose("state", n.meta.Close)
	return nil
}

// openRoute makes the name server, and serves it where the role is run. A
// broker in this process joins the same table.
func (n *Node) openRoute(context.Context) error {
	if !n.cfg.Has(config.RoleRoute) {
		return nil
	}
	n.routes = route.New(route.Config{KV: n.meta.Table("route"), Logger: n.log})
	n.onRun("route", n.routes.Run)
	conns := n.conns()
	conns.OnClose = n.routes.ConnectionEnded
	n.onRun("route port", func(ctx context.Context) error {
		return wire.Serve(ctx, n.ports.route, n.routes.Serve, conns)
	})
	return nil
}

// openLog opens the hot log.
func (n *Node) openLog(context.Context) error {
	if !n.cfg.Has(config.RoleBroker) {
		return nil
	}
	host, err := advertised("broker.advertise", n.cfg.Broker.Advertise, n.ports.broker)
	if err != nil {
		return err
	}
	n.advertise = host
	h := n.cfg.Hot
	policy := hot.FlushAsync
	if h.Flush == "sync" {
		policy = hot.FlushSync
	}
	dir := n.dir.path("log")
	n.store, err = hot.Open(dir, hot.Options{
		Broker: n.cfg.Broker.Name, StoreHost: host, SegmentBytes: int64(h.Segment), Flush: policy,
		FlushInterval: h.FlushInterval, MaxPendingBytes: int64(h.MaxPending), MinFreeBytes: int64(h.MinFree), Now: n.clock.Now, Logger: n.log,
	})
	if err != nil {
		return dataError(err, "open the log in %s", dir)
	}
	n.onClose("log", n.store.Close)
	n.watchLog()
	n.onRun("trim", n.trimLoop)
	return nil
}

// watchLog has the log's failure and a full disk seen as soon as somebody asks.
func (n *Node) watchLog() {
	n.health.Watch("log", func() string {
		if err := n.store.Stats().Failed; err != nil {
			return "it takes no more messages: " + err.Error()
		}
		if err := n.store.Room(); err != nil {
			return "sends are refused: " + err.Error()
		}
		return ""
	})
}

// dataError says which data can't be used.
func dataError(err error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	switch {
	case errors.Is(err, hot.ErrFormat), errors.Is(err, meta.ErrFormat):
		return &config.Error{Key: "data-dir", Reason: fmt.Sprintf("%s: it was written by a newer Varve (%v)", what, err)}
	case errors.Is(err, hot.ErrLocked):
		return &config.Error{Key: "data-dir", Reason: fmt.Sprintf("%s: another process uses it", what)}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// openBroker makes the broker and its remoting front.
func (n *Node) openBroker(context.Context) error {
	if n.store == nil {
		return nil
	}
	c := broker.DefaultConfig()
	b := n.cfg.Broker
	c.Cluster, c.Broker, c.StoreHost = n.cfg.Cluster, b.Name, n.advertise
	c.MaxPullMessages = b.PullMessages
	c.AutoCreateTopics, c.DefaultQueues, c.MaxBodyBytes = b.AutoCreateTopics, int32(b.DefaultQueues), int(b.MaxMessage)
	c.MaxTimerDelay, c.CheckTypes = b.MaxDelay, broker.TypeCheck(b.CheckTypes)
	c.MaxPopQueue, c.MaxPopGroup = b.PopQueue, b.PopGroup
	t := n.cfg.Transactions
	c.TransactionTimeout, c.TransactionCheckInterval, c.TransactionMaxChecks = t.Timeout, t.CheckInterval, t.MaxChecks
	c.TransactionMaxAge, c.TransactionKeepGivenUp, c.TransactionsPerTopic = t.MaxAge, t.KeepGivenUp, t.MaxPerTopic
	if b.RouteCold && (n.cfg.Has(config.RoleHistory) || len(n.cfg.Route.Addresses) > 0) {
		c.HistoryBrokerID = int64(n.cfg.History.BrokerID)
	}
	var err error
	n.broker, err = broker.New(c, broker.Deps{
		MayDelete: n.mayDelete, Log: n.store, Reader: n.reader, Finder: n.finder, Meta: n.meta, Clock: n.clock.Now, Logger: n.log,
	})
	if err != nil {
		return fmt.Errorf("start the broker: %w", err)
	}
	n.onClose("broker", n.broker.Close)
	n.onRun("broker", n.broker.Run)
	topics := remoting.Topics(n.broker)
	member := route.Member{Cluster: n.cfg.Cluster, Broker: b.Name, Addr: n.advertise.String()}
	if a := n.announce("broker", member, topics); a != nil {
		n.broker.OnTopicsChange(a.Kick)
	}
	front := remoting.New(n.broker, remoting.Config{
		Conn: n.conns(), Auth: n.auth, Logger: n.log, Queues: n.routedQueues(),
	})
	n.onRun("broker port", func(ctx context.Context) error { return front.Serve(ctx, n.ports.broker) })
	if n.ports.vip != nil {
		n.onRun("VIP port", func(ctx context.Context) error { return front.Serve(ctx, n.ports.vip) })
	}
	return nil
}

// routedQueues gives a topic's queues to read in all broker groups that the name
// server of this process knows; nil where there is none here.
func (n *Node) routedQueues() func(context.Context, string) ([]mq.Queue, error) {
	if n.routes == nil {
		return nil
	}
	return func(_ context.Context, topic string) (out []mq.Queue, _ error) {
		r, _ := n.routes.Route(topic)
		for _, s := range r.Queues {
			if s.Perm&topicReadable == 0 {
				continue
			}
			for id := range s.ReadQueues {
				out = append(out, mq.Queue{Broker: s.Broker, Topic: topic, ID: id})
			}
		}
		return out, nil
	}
}

// topicReadable is the bit of a topic's permissions that lets consumers read.
const topicReadable = 4

// announce puts a server of this process into the routes: those of this
// process, and the name servers that the settings name.
func (n *Node) announce(name string, m route.Member, topics route.Topics) *route.Announcer {
	if n.routes != nil {
		leave := n.routes.Join(m, topics)
		n.onClose(name+" route", func() error { leave(); return nil })
	}
	if len(n.cfg.Route.Addresses) == 0 {
		return nil
	}
	a := route.NewAnnouncer(m, topics, n.cfg.Route.Addresses, n.peers(), n.log)
	n.onRun(name+" route", a.Run)
	return a
}
