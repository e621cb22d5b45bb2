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

// pull serves offsets that the archive holds. What it doesn't hold is the
// broker's: 20 with suggestWhichBrokerId 0 and the offset unchanged, never 21.
func (s *Server) pull(ctx context.Context, req *remoting.Command) (*remoting.Command, error) {
	q, err := s.queue(req)
	if err != nil {
		return nil, err
	}
	p := req.Ext.Parse()
	group, at := p.OptStr("consumerGroup"), p.Int("queueOffset")
	lim := mq.Limit{
		Messages: int(p.OptInt32("maxMsgNums", 32)),
		Bytes:    int(p.OptInt32("maxMsgBytes", 0)),
		Scan:     int(p.OptInt32(scanField, 0)),
		Lend:     true,
	}
	flag, version := p.OptInt32("sysFlag", 0), p.OptInt("subVersion", 0)
	if err := p.Err(); err != nil {
		return nil, err
	}
	strict := req.Ext.Get(tierField) != ""
	bound(&lim, strict)
	if flag&inlineSubscription != 0 {
		lim.Filter, err = s.subs.compile(req.Ext.Get("expressionType"), req.Ext.Get("subscription"))
	} else if !strict {
		lim.Filter, err = s.subs.filter(group, q.Topic, version)
	}
	if err != nil {
		return nil, err
	}
	b, err := s.read(ctx, q, at, lim)
	if strict {
		if err != nil {
			return nil, err
		}
		resp := s.pulled(b, b.Range, s.cfg.BrokerID)
		resp.Code = remoting.Success
		return resp, nil
	}
	resp, err := s.pullReply(ctx, q, at, b, err)
	if err != nil {
		return nil, err
	}
	resp.Body = mq.WithoutTenant(resp.Body, req.Namespace)
	return resp, nil
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
