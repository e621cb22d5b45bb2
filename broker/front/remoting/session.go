package remoting

import (
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"

	"varve/internal/auth"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// namesKept is how many names a session remembers. A client sends to and pulls
// from few topics, over and over.
const namesKept = 16

// session is one connection as the core's broker.Client.
type session struct {
	front *Front
	conn  *wire.Conn

	clientID string // of the last heartbeat, for the connection's reader only
	sends    int    // enqueued since the last readAll, for the connection's reader only

	// waiting is the bytes of the sends that are not answered yet; turn wakes the
	// reader that waits for them to be fewer.
	waiting atomic.Int64
	stalled atomic.Bool
	turn    chan struct{}

	beater atomic.Pointer[auth.Caller] // who sent the last heartbeat

	namespace atomic.Pointer[string] // of the last heartbeat, where its client keeps it beside names

	// names is a ring of names that were seen lately, so that a request's
	// topic and group cost no allocation. For the connection's reader only.
	names    [namesKept]string
	nextName int
}

func (f *Front) session(c *wire.Conn) *session {
	if s, ok := f.sessions.Load(c); ok {
		return s.(*session)
	}
	s := &session{front: f, conn: c, turn: make(chan struct{}, 1)}
	f.sessions.Store(c, s)
	return s
}

// ended tells the core that a connection is gone.
func (f *Front) ended(c *wire.Conn) {
	v, ok := f.sessions.LoadAndDelete(c)
	if !ok {
		return
	}
	s := v.(*session)
	f.clients.CompareAndDelete(s.clientID, s)
	f.broker.Disconnect(s)
}

// identify notes the id that the client gives itself.
func (s *session) identify(clientID string) {
	if clientID != s.clientID {
		s.front.clients.CompareAndDelete(s.clientID, s)
		s.clientID = clientID
	}
	s.front.clients.Store(clientID, s)
}

// freeBytes of sends that are not answered never keep a connection waiting.
const freeBytes = 64 << 10

// takeTurn waits while the connection has more than its share of what may wait
// for the log: what it goes on sending stays with it, and the room is others'.
func (s *session) takeTurn() {
	for s.waiting.Load() > freeBytes && s.waiting.Load() > s.front.broker.SendShare() {
		s.stalled.Store(true)
		if s.waiting.Load() > freeBytes { // else its answer may have come before the flag
			if told := s.front.told; told != nil {
				told()
			}
			select {
			case <-s.turn:
			case <-s.conn.Context().Done():
				return
			}
		}
		s.stalled.Store(false)
	}
}

// answered takes a send's bytes off.
func (s *session) answered(bytes int64) {
	s.waiting.Add(-bytes)
	if s.stalled.Load() {
		select {
		case s.turn <- struct{}{}:
		default:
		}
	}
}

// RemoteAddr is where the client connects from.
func (s *session) RemoteAddr() netip.AddrPort { return s.conn.Remote() }

// NotifyMembersChanged pushes code 40, NOTIFY_CONSUMER_IDS_CHANGED: one-way,
// so that the client rebalances at once and not at its next turn, up to 20 s
// later.
func (s *session) NotifyMembersChanged(group string) {
	err := s.conn.Push(wire.NewRequest(wire.NotifyConsumerIDsChanged, "consumerGroup", s.called(group)))
	if err != nil {
		s.front.cfg.Logger.Debug("members' change not told", slog.String("group", group), slog.Any("err", err))
	}
}

// own gives a copy of a name that aliases the read buffer, the same copy for
// names that keep coming.
func (s *session) own(name string) string {
	for _, n := range s.names {
		if n == name {
			return n
		}
	}
	name = strings.Clone(name)
	s.names[s.nextName] = name
	s.nextName = (s.nextName + 1) % namesKept
	return name
}

// inNamespace gives a producer group's name the namespace of a client that sends
// it beside names. Topics and consumer groups have theirs already.
func inNamespace(req *wire.Command, group string) string {
	if req.Namespace == "" || group == "" {
		return group
	}
	return mq.InTenant(req.Namespace, group)
}

// queueFor is a queue as the client that sent a request names it.
func queueFor(req *wire.Command, q mq.Queue) messageQueue {
	if of, local := mq.SplitTenant(q.Topic); req.Namespace != "" && of == req.Namespace {
		q.Topic = local
	}
	return fromQueue(q)
}

// called is a topic or group as the session's client names it: without a
// namespace that it keeps beside names.
func (s *session) called(name string) string {
	ns := s.namespace.Load()
	if ns == nil || *ns == "" {
		return name
	}
	if of, local := mq.SplitTenant(name); of == *ns {
		return local
	}
	return name
}

// seen is records as the session's client names their topics.
func (s *session) seen(records []byte) []byte {
	if ns := s.namespace.Load(); ns != nil {
		return mq.WithoutTenant(records, *ns)
	}
	return records
}
