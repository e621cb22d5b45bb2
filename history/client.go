package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"varve/internal/mq"
	"varve/internal/remoting"
)

// maxRanges bounds the ranges that a Client remembers.
const maxRanges = 1 << 16

// ClientConfig sets up a Client. Zero fields take the defaults.
type ClientConfig struct {
	// RangeFor is how long a queue's range is believed: a tier asks for it
	// with every read. 1 s, negative for not at all.
	RangeFor time.Duration
	// Calls bounds the requests at a time, and with it what cold reads may
	// cost their reader's process; 16.
	Calls    int
	Timeout  time.Duration // of one request; 30 s
	Now      func() time.Time
	Remoting remoting.ClientConfig
}

// Client reads a Server of another process. It implements mq.Reader and
// mq.Finder, and may be used concurrently.
type Client struct {
	cfg   ClientConfig
	calls chan struct{}
	conn  *remoting.Client

	mu     sync.Mutex
	ranges *lru[mq.Queue, knownRange]
}

// knownRange is a range, or that there is no queue, and until when that is
// believed.
type knownRange struct {
	r     mq.Range
	none  bool
	until time.Time
}

// NewClient makes a client of the server at an address. It connects with its
// first call.
func NewClient(addr string, cfg ClientConfig) *Client {
	cfg.RangeFor = cmp.Or(cfg.RangeFor, time.Second)
	cfg.Calls = cmp.Or(cfg.Calls, 16)
	cfg.Timeout = cmp.Or(cfg.Timeout, 30*time.Second)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Client{
		cfg: cfg, calls: make(chan struct{}, cfg.Calls), conn: remoting.NewClient(addr, cfg.Remoting),
		ranges: newLRU[mq.Queue, knownRange](maxRanges, nil),
	}
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// call makes a request and turns an error reply into mq's error.
func (c *Client) call(ctx context.Context, req *remoting.Command) (*remoting.Command, error) {
	select {
	case c.calls <- struct{}{}:
		defer func() { <-c.calls }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req.Ext.Set(tierField, "1")
	resp, err := c.conn.Call(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("history node: %w", err)
	}
	if known := wireErrors[resp.Ext.Get(errorField)]; known != nil {
		return nil, fmt.Errorf("history node %s: %s: %w", c.conn.Addr(), resp.Remark, known)
	}
	if err := resp.Err(); err != nil {
		return nil, fmt.Errorf("history node %s: %w", c.conn.Addr(), err)
	}
	return resp, nil
}

func about(code int, q mq.Queue, more ...string) *remoting.Command {
	return remoting.NewRequest(code, append([]string{
		"topic", q.Topic, "queueId", strconv.Itoa(int(q.ID)), "bname", q.Broker,
	}, more...)...)
}

// Range implements mq.Reader.
func (c *Client) Range(ctx context.Context, q mq.Queue) (mq.Range, error) {
	c.mu.Lock()
	k, ok := c.ranges.get(q)
	c.mu.Unlock()
	if ok && c.cfg.Now().Before(k.until) {
		if k.none {
			return mq.Range{}, fmt.Errorf("history node: %v: %w", q, mq.ErrNoQueue)
		}
		return k.r, nil
	}
	resp, err := c.call(ctx, about(remoting.GetMinOffset, q))
	if errors.Is(err, mq.ErrNoQueue) {
		c.know(q, knownRange{none: true})
	}
	if err != nil {
		return mq.Range{}, err
	}
	p := resp.Ext.Parse()
	r := mq.Range{From: p.Int("offset"), To: p.Int(endField)}
	if err := p.Err(); err != nil {
		return mq.Range{}, fmt.Errorf("history node: range of %v: %w", q, err)
	}
	c.know(q, knownRange{r: r})
	return r, nil
}

func (c *Client) know(q mq.Queue, k knownRange) {
	if c.cfg.RangeFor < 0 {
		return
	}
	k.until = c.cfg.Now().Add(c.cfg.RangeFor)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ranges.put(q, k, 1)
}

// Expression is a Filter that can be sent to where the records are.
type Expression interface {
	mq.Filter
	// Expression gives the expression type (TAG, SQL92) and the expression.
	Expression() (kind, expression string)
}

// Read implements mq.Reader. A filter that is an Expression is applied at the
// node, any other here.
func (c *Client) Read(ctx context.Context, q mq.Queue, at int64, lim mq.Limit) (mq.Batch, error) {
	req := about(remoting.PullMessage, q)
	x := &req.Ext
	x.SetInt("queueOffset", at)
	x.SetInt("maxMsgBytes", int64(min(max(lim.Bytes, 0), replyBytes)))
	x.SetInt(scanField, int64(min(max(lim.Scan, 0), 1<<30)))
	here := lim.Filter
	messages := min(max(lim.Messages, 0), replyMessages)
	if e, ok := here.(Expression); ok {
		kind, expr := e.Expression()
		x.SetInt("sysFlag", inlineSubscription)
		x.Set("expressionType", kind)
		x.Set("subscription", expr)
		here = nil
	} else if here != nil {
		messages = 0 // not all that comes is kept
	}
	x.SetInt("maxMsgNums", int64(messages))
	resp, err := c.call(ctx, req)
	if err != nil {
		return mq.Batch{}, err
	}
	p := resp.Ext.Parse()
	b := mq.Batch{
		Body: resp.Body, Count: int(p.Int(countField)), Next: p.Int("nextBeginOffset"),
		Range: mq.Range{From: p.Int("minOffset"), To: p.Int("maxOffset")},
	}
	if err := p.Err(); err != nil {
		return mq.Batch{}, fmt.Errorf("history node: read %v at %d: %w", q, at, err)
	}
	c.know(q, knownRange{r: b.Range})
	if here != nil {
		b = keep(b, at, lim)
	}
	return b, nil
}

// keep applies a filter to what was read without it. Where the limit is
// reached the rest is given up: it is read again.
func keep(all mq.Batch, at int64, lim mq.Limit) mq.Batch {
	out := mq.Batch{Next: at, Range: all.Range}
	for rec := range mq.Records(all.Body) {
		if lim.Messages > 0 && out.Count == lim.Messages {
			return out
		}
		tag, _ := mq.Property(rec.Properties(), mq.PropTags)
		if lim.Filter.MatchTag(mq.TagHash(string(tag))) && lim.Filter.MatchRecord(rec) {
			out.Body = append(out.Body, rec...)
			out.Count++
		}
		out.Next = rec.QueueOffset() + 1
	}
	out.Next = all.Next
	return out
}

// OffsetAt implements mq.Reader.
func (c *Client) OffsetAt(ctx context.Context, q mq.Queue, millis int64, b mq.Bound) (int64, error) {
	bound := "LOWER"
	if b == mq.Upper {
		bound = "UPPER"
	}
	resp, err := c.call(ctx, about(remoting.SearchOffsetByTimestamp, q,
		"timestamp", strconv.FormatInt(millis, 10), "boundaryType", bound))
	if err != nil {
		return 0, err
	}
	p := resp.Ext.Parse()
	off := p.Int("offset")
	return off, p.Err()
}

// FindPhysical implements mq.Finder.
func (c *Client) FindPhysical(ctx context.Context, broker string, physicalOffset int64) (mq.Record, error) {
	resp, err := c.call(ctx, remoting.NewRequest(remoting.ViewMessageByID,
		"offset", strconv.FormatInt(physicalOffset, 10), "bname", broker))
	if err != nil {
		return nil, err
	}
	rec, _, err := mq.NextRecord(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("history node: message at %d of %s: %w", physicalOffset, broker, err)
	}
	return rec, nil
}

// FindKey implements mq.Finder.
func (c *Client) FindKey(ctx context.Context, k mq.KeyQuery) (mq.Batch, error) {
	if k.Key == "" {
		return mq.Batch{}, nil
	}
	req := remoting.NewRequest(remoting.QueryMessage, "topic", k.Topic, "key", k.Key)
	req.Ext.SetInt("maxNum", int64(min(max(k.Max, 0), findReplies)))
	req.Ext.SetInt("beginTimestamp", k.FromMillis)
	req.Ext.SetInt("endTimestamp", k.ToMillis)
	req.Ext.SetBool(uniqueField, k.Unique)
	resp, err := c.call(ctx, req)
	if err != nil {
		return mq.Batch{}, err
	}
	p := resp.Ext.Parse()
	b := mq.Batch{Body: resp.Body, Count: int(p.Int(countField))}
	return b, p.Err()
}
