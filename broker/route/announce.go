package route

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"varve/internal/remoting"
)

// announceInterval is how often a server registers again.
const announceInterval = 30 * time.Second

// Announcer registers one server with name servers of other processes, at
// once, whenever it is kicked and every 30 s.
type Announcer struct {
	member  Member
	topics  Topics // nil for a server without topics of its own
	clients []*remoting.Client
	kick    chan struct{}
	logger  *slog.Logger
}

// NewAnnouncer makes an announcer for the name servers at addrs, which it calls
// as peers says.
func NewAnnouncer(m Member, topics Topics, addrs []string, peers remoting.ClientConfig, logger *slog.Logger) *Announcer {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	a := &Announcer{member: m, topics: topics, kick: make(chan struct{}, 1), logger: logger}
	for _, addr := range addrs {
		a.clients = append(a.clients, remoting.NewClient(addr, peers))
	}
	return a
}

// Kick has the server registered soon, such as after a change of its topics.
func (a *Announcer) Kick() {
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

// Run registers until ctx ends, then says goodbye.
func (a *Announcer) Run(ctx context.Context) error {
	tick := time.NewTicker(announceInterval)
	defer tick.Stop()
	for {
		a.each(ctx, a.Register)
		select {
		case <-a.kick:
		case <-tick.C:
		case <-ctx.Done():
			bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			a.each(bye, a.unregister)
			for _, c := range a.clients {
				_ = c.Close()
			}
			return nil
		}
	}
}

func (a *Announcer) each(ctx context.Context, f func(context.Context, *remoting.Client) error) {
	for _, c := range a.clients {
		if err := f(ctx, c); err != nil && ctx.Err() == nil {
			a.logger.Warn("name server", slog.String("addr", c.Addr()), slog.Any("err", err))
		}
	}
}

// Register announces the server to one name server.
func (a *Announcer) Register(ctx context.Context, c *remoting.Client) error {
	body, err := a.body()
	if err != nil {
		return err
	}
	req := a.request(remoting.RegisterBroker)
	req.Ext.Set("haServerAddr", a.member.HAAddr)
	req.Ext.SetBool("enableActingMaster", a.member.ActingMaster)
	req.Ext.SetInt("heartbeatTimeoutMillis", int64(defaultAlive/time.Millisecond))
	if a.member.Zone != "" {
		req.Ext.Set("zoneName", a.member.Zone)
	}
	req.Body = body
	return call(ctx, c, req)
}

func (a *Announcer) unregister(ctx context.Context, c *remoting.Client) error {
	return call(ctx, c, a.request(remoting.UnregisterBroker))
}

func (a *Announcer) request(code int) *remoting.Command {
	return remoting.NewRequest(code, "clusterName", a.member.Cluster, "brokerName", a.member.Broker,
		"brokerId", strconv.FormatInt(a.member.ID, 10), "brokerAddr", a.member.Addr)
}

func (a *Announcer) body() ([]byte, error) {
	now := time.Now().UnixMilli()
	version, err := json.Marshal(dataVersion{Timestamp: now, Counter: now})
	if err != nil {
		return nil, err
	}
	b := registerBody{FilterServerList: []string{}, Wrapper: wireWrapper{DataVersion: version, TopicConfigTable: map[string]wireTopic{}}}
	if a.topics != nil {
		for _, tp := range a.topics.All() {
			b.Wrapper.TopicConfigTable[tp.Name] = wireTopic{
				TopicName: tp.Name, ReadQueueNums: tp.ReadQueues, WriteQueueNums: tp.WriteQueues,
				Perm: tp.Perm, TopicFilterType: "SINGLE_TAG", TopicSysFlag: tp.SysFlag,
			}
		}
	}
	return json.Marshal(b)
}

func call(ctx context.Context, c *remoting.Client, req *remoting.Command) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	r, err := c.Call(ctx, req)
	if err != nil {
		return err
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("request %d to %s: %w", req.Code, c.Addr(), err)
	}
	return nil
}
