package remoting

import (
	"strings"
	"time"

	"varve/broker"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// Bits of a pull's sysFlag.
const (
	pullCommits  = 1 << 0 // commitOffset is to be noted
	pullSuspends = 1 << 1 // hold the pull where there is nothing yet
	pullInline   = 1 << 2 // the subscription is in the header
)

// sdkSource is requestSource of a client's own pull. Proxies, and tools that
// want the messages from here whatever tier holds them, say another.
const sdkSource = -1

// 11 PULL_MESSAGE and 361 LITE_PULL_MESSAGE: read a queue from an offset on.
//
// Versions: all; requestSource and maxMsgBytes came with 5.x.
//
// Behaviours: 0 with messages, 19 nothing new (held for suspendTimeoutMillis
// where bit 1 of sysFlag is set), 20 nothing matched or, with
// suggestWhichBrokerId, another broker id has the offset, 21 the offset was
// out of range or reset. The commit offset counts only with bit 0; without bit
// 2 the subscription is that of the heartbeat. A pull with a requestSource
// other than -1 is never sent elsewhere. bit 3 (class filter) has nothing to
// filter by and is ignored, as RocketMQ does without filter servers.
func (f *Front) pullMessage(s *session, req *wire.Command) {
	from := req.From()
	pull, err := s.parsePull(req)
	if err == nil {
		err = f.broker.Use(s, pull.Topic)
	}
	if err != nil {
		f.refuse(s, "PULL_MESSAGE", from, err)
		return
	}
	ns, may := req.Namespace, f.stillMay(req, pull.Topic)
	pull.Elsewhere = func(f func()) { s.conn.Do(from, f) }
	f.broker.Pull(s.conn.Context(), pull, func(r broker.PullResult, err error) {
		if err == nil && may != nil && r.Status == broker.PullFound && !r.Here {
			if err = may(); err != nil {
				r.Batch.Release()
			}
		}
		if err != nil {
			f.refuse(s, "PULL_MESSAGE", from, err)
			return
		}
		s.replyPull(from, ns, &r)
	})
}

func (s *session) parsePull(req *wire.Command) (*broker.PullRequest, error) {
	p := req.Ext.Parse()
	flag := p.Int32("sysFlag")
	r := &broker.PullRequest{
		QueueID:      p.Int32("queueId"),
		Offset:       p.Int("queueOffset"),
		MaxMessages:  int(p.Int32("maxMsgNums")),
		MaxBytes:     int(p.OptInt32("maxMsgBytes", 0)),
		CommitOffset: -1,
		SubVersion:   p.OptInt("subVersion", 0),
		Inline:       flag&pullInline != 0,
		Routable:     p.OptInt("requestSource", sdkSource) == sdkSource,
		Client:       s,
	}
	group, _ := req.Ext.Lookup("consumerGroup")
	topic, _ := req.Ext.Lookup("topic")
	if flag&pullCommits != 0 {
		r.CommitOffset = p.OptInt("commitOffset", -1)
	}
	if flag&pullSuspends != 0 {
		r.Suspend = time.Duration(p.OptInt("suspendTimeoutMillis", 0)) * time.Millisecond
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	if group == "" || topic == "" {
		return nil, refused(wire.SystemError, "pull: the fields consumerGroup and topic are required")
	}
	r.Group, r.Topic = s.own(group), s.own(topic)
	if r.Inline {
		expr, _ := req.Ext.Lookup("subscription")
		r.Expression = strings.Clone(expr)
		r.ExpressionType = p.OptStr("expressionType")
	}
	return r, nil
}

func (s *session) replyPull(from wire.From, ns string, r *broker.PullResult) {
	resp := wire.Command{Code: pullCodes[r.Status]}
	if r.Status == broker.PullFound {
		resp.Body, resp.Free = mq.WithoutTenant(r.Batch.Body, ns), r.Batch.Free
	}
	x := &resp.Ext
	x.Grow(6)
	x.SetInt("suggestWhichBrokerId", r.Suggest)
	x.SetInt("nextBeginOffset", r.Next)
	x.SetInt("minOffset", r.Min)
	x.SetInt("maxOffset", r.Max)
	x.SetInt("topicSysFlag", int64(r.TopicSysFlag))
	x.SetInt("groupSysFlag", int64(r.GroupSysFlag))
	if r.Here {
		s.conn.ReplyHere(from, &resp)
		return
	}
	s.conn.Reply(from, &resp)
}

var pullCodes = [...]int{
	broker.PullFound:     wire.Success,
	broker.PullNoNew:     wire.PullNotFound,
	broker.PullNoMatch:   wire.PullRetryImmediately,
	broker.PullMoved:     wire.PullOffsetMoved,
	broker.PullElsewhere: wire.PullRetryImmediately,
}
