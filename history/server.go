package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"varve/internal/mq"
	"varve/internal/remoting"
)

// Store is what a Server serves and a Client reads: a Node, in one process or
// behind a port.
type Store interface {
	mq.Reader
	mq.Finder
}

var (
	_ Store = (*Node)(nil)
	_ Store = (*Client)(nil)
)

// Bounds of one reply.
const (
	replyBytes    = 4 << 20
	replyMessages = 4096
	findReplies   = 1024
	maxLeaders    = 1024
)

// ServerConfig sets up a Server. Broker is required.
type ServerConfig struct {
	// Broker is the broker group of a request that names none (the clients of
	// RocketMQ 4.x and Go), BrokerID the id that this server has in routes.
	Broker   string
	BrokerID int64 // 1000
	// Leader gives the address of a broker group's id 0, "" where it is not
	// known. What only the broker knows is forwarded there.
	Leader func(broker string) string
	// Hot gives the range of a queue in the hot log, where this process can
	// tell: readers are sent back to the broker at the hot start, and otherwise
	// at the end of the archive. Nil where it can't.
	Hot func(ctx context.Context, q mq.Queue) (mq.Range, error)
	// Subscription gives what a group wants of a topic where no heartbeat that
	// says it came here yet: clients beat every 30 s, and a reader should not
	// wait for that. Nil where nobody else knows.
	Subscription func(group, topic string) (Subscription, bool)
	// Compile makes filters of expression types other than TAG; nil refuses
	// them.
	Compile func(kind, expression string) (mq.Filter, error)
	Conn    remoting.Config
	// Peers is how leaders are called.
	Peers remoting.ClientConfig
	// MayRead reports why the sender of a request that names a message by its
	// place may not read the topic that it turns out to be of. Nil lets all.
	MayRead func(req *remoting.Command, topic string) error
	// Quotas bounds what tenants read, where this process knows that. Nil has no
	// bounds.
	Quotas Quotas
	// SharesUsers says that the leader keeps its users and policies for this
	// process too.
	SharesUsers bool
	Logger      *slog.Logger
}

// Quotas is what tenants may read.
type Quotas interface {
	// MayRead reports why a topic may not be read now.
	MayRead(topic string) error
	// NoteRead counts what was read.
	NoteRead(topic string, messages int, bytes int64)
}

// Server answers RocketMQ's remoting protocol from a Store, as a follower of
// every broker group that registers it: pulls below the border, searches, and
// what clients say to every broker.
type Server struct {
	cfg   ServerConfig
	from  Store
	ready readier // from, where it can; else nil
	subs  *subscriptions

	started time.Time

	mu      sync.Mutex
	leaders map[string]*remoting.Client
}

// NewServer makes a server of a store.
func NewServer(cfg ServerConfig, from Store) (*Server, error) {
	if cfg.Broker == "" {
		return nil, errors.New("history server: broker is empty")
	}
	cfg.BrokerID = cmp.Or(cfg.BrokerID, 1000)
	if cfg.Leader == nil {
		cfg.Leader = func(string) string { return "" }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	ready, _ := from.(readier)
	return &Server{
		cfg: cfg, from: from, ready: ready, subs: newSubscriptions(cfg), started: time.Now(), leaders: map[string]*remoting.Client{},
	}, nil
}

// Serve answers connections until ctx ends or the listener fails.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	defer s.close()
	return remoting.Serve(ctx, ln, s.handle, s.cfg.Conn)
}

func (s *Server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.leaders {
		_ = c.Close()
	}
	clear(s.leaders)
}

// handlers are what the server answers itself, on the connection's workers.
var handlers = map[int]func(*Server, context.Context, *remoting.Command) (*remoting.Command, error){
	remoting.PullMessage:             (*Server).pull,
	remoting.LitePullMessage:         (*Server).pull,
	remoting.QueryMessage:            (*Server).queryMessage,
	remoting.SearchOffsetByTimestamp: (*Server).searchOffset,
	remoting.GetMaxOffset:            (*Server).maxOffset,
	remoting.GetMinOffset:            (*Server).minOffset,
	remoting.GetEarliestMsgStoreTime: (*Server).earliestTime,
	remoting.ViewMessageByID:         (*Server).viewMessage,
	remoting.QueryConsumerOffset:     (*Server).forward,
	remoting.UpdateConsumerOffset:    (*Server).forward,
	remoting.GetConsumerListByGroup:  (*Server).forward,
	remoting.CheckClientConfig:       (*Server).checkConfig,
	remoting.Heartbeat:               (*Server).heartbeat,
	remoting.UnregisterClient:        (*Server).unregister,
	remoting.GetBrokerRuntimeInfo:    (*Server).runtimeInfo,
	remoting.GetBrokerConfig:         (*Server).config,
	remoting.DeleteTopicInBroker:     (*Server).deleteTopic,
	remoting.AuthCreateUser:          (*Server).changeAccess,
	remoting.AuthUpdateUser:          (*Server).changeAccess,
	remoting.AuthDeleteUser:          (*Server).changeAccess,
	remoting.AuthCreateACL:           (*Server).changeAccess,
	remoting.AuthUpdateACL:           (*Server).changeAccess,
	remoting.AuthDeleteACL:           (*Server).changeAccess,
	remoting.AuthGetUser:             (*Server).forward,
	remoting.AuthListUsers:           (*Server).forward,
	remoting.AuthGetACL:              (*Server).forward,
	remoting.AuthListACLs:            (*Server).forward,
}

func (s *Server) handle(c *remoting.Conn, req *remoting.Command) {
	h := handlers[req.Code]
	if h == nil {
		if _, none := remoting.Unsupported(req.Code); none {
			c.ReplyError(req.From(), remoting.RequestCodeNotSupported, remoting.NotSupported(req.Code))
			return
		}
		c.ReplyError(req.From(), remoting.RequestCodeNotSupported, fmt.Sprintf("this is a history node, which serves what is archived: request %d belongs to the leader of its broker group", req.Code))
		return
	}
	if resp, ok := s.pullReady(c.Context(), req); ok {
		c.Reply(req.From(), resp)
		return
	}
	c.Go(req, func(c *remoting.Conn, req *remoting.Command) {
		resp, err := h(s, c.Context(), req)
		if err != nil {
			resp = s.refusal(req, err)
		}
		c.Reply(req.From(), resp)
	})
}

// refused is an error that has a reply code.
type refused struct {
	code   int
	reason string
}

func (e *refused) Error() string { return e.reason }

// The field that tells a Client which error of mq a reply stands for.
const errorField = "varveError"

var wireErrors = map[string]error{
	"no-queue": mq.ErrNoQueue, "too-low": mq.ErrTooLow, "too-high": mq.ErrTooHigh, "not-found": mq.ErrNotFound,
}

func (s *Server) refusal(req *remoting.Command, err error) *remoting.Command {
	resp := &remoting.Command{Code: remoting.SystemError, Remark: err.Error()}
	var r *refused
	if errors.As(err, &r) {
		resp.Code = r.code
	}
	for name, e := range wireErrors {
		if errors.Is(err, e) {
			resp.Ext.Set(errorField, name)
			if e == mq.ErrNotFound {
				resp.Code = remoting.QueryNotFound
			}
			return resp
		}
	}
	if r == nil && !errors.Is(err, context.Canceled) {
		s.cfg.Logger.Warn("history request", slog.Int("code", req.Code), slog.Any("err", err))
	}
	return resp
}

// queue reads which queue a request is about.
func (s *Server) queue(req *remoting.Command) (mq.Queue, error) {
	p := req.Ext.Parse()
	q := mq.Queue{Broker: s.broker(req), Topic: p.Str("topic"), ID: p.Int32("queueId")}
	return q, p.Err()
}

// broker is the group that a request names (bname; 5.x clients), or the
// server's own.
func (s *Server) broker(req *remoting.Command) string {
	if b := req.Ext.Get("bname"); b != "" {
		return b
	}
	return s.cfg.Broker
}

// forward asks the leader of the broker group.
func (s *Server) forward(ctx context.Context, req *remoting.Command) (*remoting.Command, error) {
	broker := s.broker(req)
	addr := s.cfg.Leader(broker)
	if addr == "" {
		return nil, &refused{remoting.ServiceNotAvailable, fmt.Sprintf("request %d: the leader of %s is not known", req.Code, broker)}
	}
	s.mu.Lock()
	c := s.leaders[addr]
	if c == nil {
		if len(s.leaders) >= maxLeaders {
			s.mu.Unlock()
			return nil, &refused{remoting.SystemBusy, "too many leaders"}
		}
		c = remoting.NewClient(addr, s.cfg.Peers)
		s.leaders[addr] = c
	}
	s.mu.Unlock()
	if req.IsOneWay() {
		return &remoting.Command{}, c.OneWay(ctx, req)
	}
	resp, err := c.Call(ctx, req)
	if err != nil {
		return nil, &refused{remoting.ServiceNotAvailable, fmt.Sprintf("request %d to the leader of %s: %v", req.Code, broker, err)}
	}
	return resp, nil
}

func (s *Server) searchOffset(ctx context.Context, req *remoting.Command) (*remoting.Command, error) {
	q, err := s.queue(req)
	if err != nil {
		return nil, err
	}
	p := req.Ext.Parse()
	millis := p.Int("timestamp")
	if err := p.Err(); err != nil {
		return nil, err
	}
	bound := mq.Lower
	if req.Ext.Get("boundaryType") == "UPPER" || req.Ext.Get("boundaryType") == "upper" {
		bound = mq.Upper
	}
	off, err := s.from.OffsetAt(ctx, q, millis, bound)
	return offsetReply(off), err
}

func offsetReply(off int64) *remoting.Command {
	resp := &remoting.Command{}
	resp.Ext.SetInt("offset", off)
	return resp
}

// maxOffset is the hot end where it is known here, else the archive's end.
func (s *Server) maxOffset(ctx context.Context, req *remoting.Command) (*remoting.Command, error) {
	q, err := s.queue(req)
	if err != nil {
		return nil, err
	}
	if s.cfg.Hot != nil && req.Ext.Get(tierField) == "" {
		if r, err := s.cfg.Hot(ctx, q); err == nil {
			return offsetReply(r.To), nil
		}
	}
	r, err := s.from.Range(ctx, q)
	return offsetReply(r.To), err
}

func (s *Server) minOffset(ctx context.Context, req *remoting.Command) (*remoting.Command, error) {
	q, err := s.queue(req)
	if err != nil {
		return nil, err
	}
	r, err := s.from.Range(ctx, q)
	resp := offsetReply(r.From)
	resp.Ext.SetInt(endField, r.To)
	return resp, err
}

func (s *Server) earliestTime(ctx context.Context, req *remoting.Command) (*remoting.Command, error) {
	q, err := s.queue(req)
	if err != nil {
		return nil, err
	}
	r, err := s.from.Range(ctx, q)
	if err != nil {
		return nil, err
	}
	b, err := s.from.Read(ctx, q, r.From, mq.Limit{Messages: 1})
	if err != nil {
		return nil, err
	}
	resp := &remoting.Command{}
	resp.Ext.SetInt("timestamp", -1)
	for rec := range mq.Records(b.Body) {
		resp.Ext.SetInt("timestamp", rec.StoreTimeMillis())
	}
	return resp, nil
}

func (s *Server) viewMessage(ctx context.Context, req *remoting.Command) (*remoting.Command, error) {
	p := req.Ext.Parse()
	pos := p.Int("offset")
	if err := p.Err(); err != nil {
		return nil, err
	}
	rec, err := s.from.FindPhysical(ctx, s.broker(req), pos)
	if err == nil && s.cfg.MayRead != nil {
		if err := s.cfg.MayRead(req, string(rec.Topic())); err != nil {
			return nil, &refused{remoting.NoPermission, err.Error()}
		}
	}
	return &remoting.Command{Body: mq.WithoutTenant(rec, req.Namespace)}, err
}

// uniqueField asks for a UNIQ_KEY; then beginTimestamp is no floor, because
// clients compute it from an id that repeats its time every month.
const uniqueField = "_UNIQUE_KEY_QUERY"

func (s *Server) queryMessage(ctx context.Context, req *remoting.Command) (*remoting.Command, error) {
	p := req.Ext.Parse()
	k := mq.KeyQuery{
		Topic: p.Str("topic"), Key: p.OptStr("key"), Max: int(p.OptInt32("maxNum", 0)),
		FromMillis: max(0, p.OptInt("beginTimestamp", 0)), ToMillis: max(0, p.OptInt("endTimestamp", 0)),
		Unique: p.OptBool(uniqueField),
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	strict := req.Ext.Get(tierField) != ""
	if k.Unique && !strict {
		k.FromMillis = 0
	}
	if k.Max <= 0 || k.Max > findReplies {
		k.Max = findReplies
	}
	b, err := s.from.FindKey(ctx, k)
	if err != nil {
		return nil, err
	}
	if b.Count == 0 && !strict {
		return nil, &refused{remoting.QueryNotFound, fmt.Sprintf("no message of %s with key %q in the archive", k.Topic, k.Key)}
	}
	resp := &remoting.Command{Body: mq.WithoutTenant(b.Body, req.Namespace)}
	resp.Ext.Set("indexLastUpdateTimestamp", strconv.FormatInt(0, 10))
	resp.Ext.Set("indexLastUpdatePhyoffset", strconv.FormatInt(0, 10))
	resp.Ext.SetInt(countField, int64(b.Count))
	return resp, nil
}
