package history

import (
	"context"
	"errors"
	"math"

	"varve/internal/mq"
	"varve/internal/remoting"
)

// Fields by which a Client and a Server speak more exactly than the protocol:
// a request that carries tierField gets a Reader's errors and figures.
const (
	tierField  = "varveTier"
	scanField  = "varveScan"
	countField = "varveCount"
	endField   = "varveEnd"
)

// inlineSubscription is the bit of a pull's sysFlag that says that the
// subscription is in the header.
const inlineSubscription = 1 << 2

// pullRequest is what a pull asks for.
type pullRequest struct {
	q          mq.Queue
	at         int64
	lim        mq.Limit
	group      string
	version    int64 // of the subscription
	inline     bool  // the subscription is in the header
	kind, expr string
	strict     bool // from a Client
}

func (s *Server) parsePull(req *remoting.Command) (r pullRequest, err error) {
	if r.q, err = s.queue(req); err != nil {
		return r, err
	}
	p := req.Ext.Parse()
	r.group, r.at, r.version = p.OptStr("consumerGroup"), p.Int("queueOffset"), p.OptInt("subVersion", 0)
	r.lim = mq.Limit{
		Messages: int(p.OptInt32("maxMsgNums", 32)),
		Bytes:    int(p.OptInt32("maxMsgBytes", 0)),
		Scan:     int(p.OptInt32(scanField, 0)),
		Lend:     true,
	}
	r.inline = p.OptInt32("sysFlag", 0)&inlineSubscription != 0
	if r.inline {
		r.kind, r.expr = p.OptStr("expressionType"), p.OptStr("subscription")
	}
	r.strict = req.Ext.Get(tierField) != ""
	bound(&r.lim, r.strict)
	return r, p.Err()
}

// pull serves offsets that the archive holds. What it doesn't hold is the
// broker's: 20 with suggestWhichBrokerId 0 and the offset unchanged, never 21.
func (s *Server) pull(ctx context.Context, req *remoting.Command) (*remoting.Command, error) {
	r, err := s.parsePull(req)
	if err != nil {
		return nil, err
	}
	if r.inline {
		r.lim.Filter, err = s.subs.compile(r.kind, r.expr)
	} else if !r.strict {
		r.lim.Filter, err = s.subs.filter(r.group, r.q.Topic, r.version)
	}
	if err != nil {
		return nil, err
	}
	if err := s.mayRead(&r); err != nil {
		return nil, err
	}
	b, err := s.read(ctx, r.q, r.at, r.lim)
	return s.pullAnswer(ctx, req, &r, b, err)
}

func (s *Server) pullAnswer(ctx context.Context, req *remoting.Command, r *pullRequest, b mq.Batch, err error) (*remoting.Command, error) {
	if r.strict {
		if err != nil {
			return nil, err
		}
		resp := s.pulled(b, b.Range, s.cfg.BrokerID)
		resp.Code = remoting.Success
		return resp, nil
	}
	resp, err := s.pullReply(ctx, r.q, r.at, b, err)
	if err != nil {
		return nil, err
	}
	if s.cfg.Quotas != nil {
		s.cfg.Quotas.NoteRead(r.q.Topic, b.Count, int64(len(resp.Body)))
	}
	resp.Body = mq.WithoutTenant(resp.Body, req.Namespace)
	return resp, nil
}

// mayRead holds a pull to its tenant's quota. A Client's reads are counted by who
// answers with them.
func (s *Server) mayRead(r *pullRequest) error {
	if s.cfg.Quotas == nil || r.strict {
		return nil
	}
	if err := s.cfg.Quotas.MayRead(r.q.Topic); err != nil {
		return &refused{remoting.FlowControl, err.Error()}
	}
	return nil
}

// readier is a Store that decodes ahead of its readers.
type readier interface {
	Ready(q mq.Queue, at int64, lim mq.Limit) (mq.Batch, bool)
}

// pullReady answers a pull that asks for what is in memory already; ok is false
// where it doesn't, or has a filter.
func (s *Server) pullReady(ctx context.Context, req *remoting.Command) (resp *remoting.Command, ok bool) {
	if s.ready == nil || req.Code != remoting.PullMessage && req.Code != remoting.LitePullMessage {
		return nil, false
	}
	r, err := s.parsePull(req)
	if err != nil || !r.strict && !s.keepsAll(&r) {
		return nil, false
	}
	if err := s.mayRead(&r); err != nil { // asked once: each refusal is counted
		return s.refusal(req, err), true
	}
	b, ok := s.ready.Ready(r.q, r.at, r.lim)
	if !ok {
		return nil, false
	}
	resp, err = s.pullAnswer(ctx, req, &r, b, nil)
	return resp, err == nil
}

// keepsAll says that a pull's subscription is known to have no filter.
func (s *Server) keepsAll(r *pullRequest) bool {
	if r.inline {
		return keepsAll(r.kind, r.expr)
	}
	sub, ok := s.subs.get(subscriber{r.group, r.q.Topic})
	return ok && sub.version >= r.version && sub.filter == nil && sub.err == nil
}

// renewer is a Store that may lag behind other processes' commits.
type renewer interface {
	Renew(ctx context.Context, topic string) bool
}

// read reads what is known, and looks for more where that has nothing at the
// offset: the broker sends readers here as soon as it has trimmed, which may be
// before the next look by the clock. Beside the hot log nothing is ever late.
func (s *Server) read(ctx context.Context, q mq.Queue, at int64, lim mq.Limit) (mq.Batch, error) {
	b, err := s.from.Read(ctx, q, at, lim)
	beyond := err == nil && b.Next == at || errors.Is(err, mq.ErrTooHigh) || errors.Is(err, mq.ErrNoQueue)
	if r, ok := s.from.(renewer); ok && beyond && s.cfg.Hot == nil && r.Renew(ctx, q.Topic) {
		return s.from.Read(ctx, q, at, lim)
	}
	return b, err
}

// bound keeps one reply within the protocol's frames.
func bound(lim *mq.Limit, strict bool) {
	if lim.Messages <= 0 || lim.Messages > replyMessages {
		lim.Messages = replyMessages
	}
	if lim.Bytes <= 0 || lim.Bytes > replyBytes {
		lim.Bytes = replyBytes
	}
	if !strict {
		lim.Scan = 0
	}
}

func (s *Server) pullReply(ctx context.Context, q mq.Queue, at int64, b mq.Batch, err error) (*remoting.Command, error) {
	border, whole := s.border(ctx, q)
	switch {
	case errors.Is(err, mq.ErrNoQueue), errors.Is(err, mq.ErrTooLow), errors.Is(err, mq.ErrTooHigh),
		err == nil && b.Next == at:
		return s.pulled(mq.Batch{Next: at}, whole, 0), nil
	case err != nil:
		return nil, err
	case b.Next >= border:
		return s.pulled(b, whole, 0), nil
	}
	return s.pulled(b, whole, s.cfg.BrokerID), nil
}

// border is the offset from which on the broker serves a queue, and the range
// of the queue as far as it is known here.
func (s *Server) border(ctx context.Context, q mq.Queue) (int64, mq.Range) {
	whole, err := s.from.Range(ctx, q)
	border := whole.To
	if err != nil {
		border = math.MaxInt64
	}
	if s.cfg.Hot == nil {
		return border, whole
	}
	hot, err := s.cfg.Hot(ctx, q)
	if err != nil {
		return border, whole
	}
	whole.To = max(whole.To, hot.To)
	return min(border, hot.From), whole
}

func (s *Server) pulled(b mq.Batch, r mq.Range, suggest int64) *remoting.Command {
	resp := &remoting.Command{Code: remoting.Success, Body: b.Body, Free: b.Free}
	if b.Count == 0 {
		resp.Code = remoting.PullRetryImmediately
	}
	resp.Ext.SetInt("suggestWhichBrokerId", suggest)
	resp.Ext.SetInt("nextBeginOffset", b.Next)
	resp.Ext.SetInt("minOffset", r.From)
	resp.Ext.SetInt("maxOffset", r.To)
	resp.Ext.SetInt(countField, int64(b.Count))
	return resp
}
