package migrate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"varve/internal/mq"
	wire "varve/internal/remoting"
)

const (
	// callTimeout bounds one request.
	callTimeout = 15 * time.Second
	// pullMessages is what a pull asks for; the broker gives as many as its own
	// limits let it.
	pullMessages = 1024
	// inlineSubscription is the flag of a pull that says itself what it wants, so
	// that no consumer has to be registered.
	inlineSubscription = 4
	// importGroup is the consumer group that pulls are made as. It commits nothing.
	importGroup = "CID_VARVE_IMPORT"
)

// source is one broker group of the cluster, asked at one of its brokers.
type source struct {
	name string
	conn *wire.Client
}

// findSources asks a name server for the broker groups and whom of each to ask:
// the leader, or the first of those that are there.
func findSources(ctx context.Context, nameServer string, c wire.ClientConfig) ([]source, map[string]bool, error) {
	ns := wire.NewClient(nameServer, c)
	defer func() { _ = ns.Close() }()
	body, err := call(ctx, ns, wire.NewRequest(wire.GetBrokerClusterInfo))
	if err != nil {
		return nil, nil, fmt.Errorf("ask the name server %s for its brokers: %w", nameServer, err)
	}
	var info struct {
		Brokers map[string]struct {
			Addrs map[string]string `json:"brokerAddrs"`
		} `json:"brokerAddrTable"`
		Clusters map[string][]string `json:"clusterAddrTable"`
	}
	if err := json.Unmarshal(quoteKeys(body), &info); err != nil {
		return nil, nil, fmt.Errorf("the name server %s lists its brokers as %.200q: %w", nameServer, body, err)
	}
	own := map[string]bool{}
	for name := range info.Clusters {
		own[name], own[name+"_REPLY_TOPIC"] = true, true
	}
	var out []source
	for _, name := range slices.Sorted(maps.Keys(info.Brokers)) {
		own[name] = true
		addrs := info.Brokers[name].Addrs
		if len(addrs) == 0 {
			continue
		}
		id := slices.MinFunc(slices.Collect(maps.Keys(addrs)), func(a, b string) int {
			x, _ := strconv.ParseInt(a, 10, 64)
			y, _ := strconv.ParseInt(b, 10, 64)
			return cmp.Compare(x, y)
		})
		out = append(out, source{name, wire.NewClient(addrs[id], c)})
	}
	return out, own, nil
}

func call(ctx context.Context, c *wire.Client, req *wire.Command) ([]byte, error) {
	resp, err := reply(ctx, c, req)
	if err != nil {
		return nil, err
	}
	return resp.Body, resp.Err()
}

func reply(ctx context.Context, c *wire.Client, req *wire.Command) (*wire.Command, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return c.Call(ctx, req)
}

// askJSON makes a request whose reply's body is JSON as Java brokers write it.
func (s source) askJSON(ctx context.Context, code int, into any) error {
	body, err := call(ctx, s.conn, wire.NewRequest(code))
	if err == nil {
		err = json.Unmarshal(quoteKeys(body), into)
	}
	if err != nil {
		return fmt.Errorf("ask %s at %s (request %d): %w", s.name, s.conn.Addr(), code, err)
	}
	return nil
}

// offset asks for one offset of a queue.
func (s source) offset(ctx context.Context, code int, q mq.Queue, more ...string) (int64, error) {
	ext := append([]string{"topic", q.Topic, "queueId", strconv.Itoa(int(q.ID))}, more...)
	resp, err := reply(ctx, s.conn, wire.NewRequest(code, ext...))
	if err == nil {
		err = resp.Err()
	}
	if err != nil {
		return 0, fmt.Errorf("offset of %v (request %d): %w", q, code, err)
	}
	p := resp.Ext.Parse()
	off := p.Int("offset")
	return off, p.Err()
}

// bounds is what a broker has of a queue.
func (s source) bounds(ctx context.Context, q mq.Queue) (mq.Range, error) {
	from, err := s.offset(ctx, wire.GetMinOffset, q)
	if err != nil {
		return mq.Range{}, err
	}
	to, err := s.offset(ctx, wire.GetMaxOffset, q)
	return mq.Range{From: max(from, 0), To: max(to, 0)}, err
}

// pull reads records from an offset on. Without any, next is where the broker
// would go on.
func (s source) pull(ctx context.Context, q mq.Queue, at int64, most int) (records []byte, next int64, err error) {
	req := wire.NewRequest(wire.PullMessage,
		"consumerGroup", importGroup, "topic", q.Topic, "queueId", strconv.Itoa(int(q.ID)), "queueOffset", strconv.FormatInt(at, 10),
		"maxMsgNums", strconv.Itoa(most), "sysFlag", strconv.Itoa(inlineSubscription), "commitOffset", "0",
		"suspendTimeoutMillis", "0", "subscription", "*", "subVersion", "0", "expressionType", "TAG")
	resp, err := reply(ctx, s.conn, req)
	if err != nil {
		return nil, 0, fmt.Errorf("pull %v at %d: %w", q, at, err)
	}
	switch resp.Code {
	case wire.Success:
		return resp.Body, at, nil
	case wire.PullNotFound, wire.PullRetryImmediately, wire.PullOffsetMoved:
		p := resp.Ext.Parse()
		return nil, p.OptInt("nextBeginOffset", at), p.Err()
	}
	return nil, 0, fmt.Errorf("pull %v at %d: %w", q, at, resp.Err())
}

// final tells what trying again doesn't help.
func final(err error) bool {
	var r *wire.ReplyError
	if errors.As(err, &r) {
		switch r.Code {
		case wire.NoPermission, wire.TopicNotExist, wire.SubscriptionGroupNotExist, wire.RequestCodeNotSupported:
			return true
		}
	}
	var syntax *json.SyntaxError
	return errors.As(err, &syntax)
}

// quoteKeys makes JSON of what Java brokers write, whose numbers stand as keys
// without quotes.
func quoteKeys(b []byte) []byte {
	out := make([]byte, 0, len(b)+len(b)/8)
	text, key := false, false
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case text:
			if c == '\\' && i+1 < len(b) {
				out = append(out, c)
				i++
				c = b[i]
			} else if c == '"' {
				text = false
			}
		case c == '"':
			text, key = true, false
		case c == '{' || c == ',':
			key = true
		case key && (c == '-' || c >= '0' && c <= '9'):
			j := i + 1
			for j < len(b) && b[j] >= '0' && b[j] <= '9' {
				j++
			}
			if key = false; j < len(b) && b[j] == ':' {
				out = append(append(append(out, '"'), b[i:j]...), '"')
				i = j - 1
				continue
			}
		case c != ' ' && c != '\n' && c != '\t' && c != '\r':
			key = false
		}
		out = append(out, c)
	}
	return out
}
