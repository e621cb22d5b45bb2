package remoting

import (
	"strconv"
	"strings"
	"time"

	"varve/broker"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// initAtEnd is initMode of a group that begins at the end of a queue.
const initAtEnd = 1

// 200050 POP_MESSAGE (3442 where the code has 16 bits): messages from no place
// in particular, to be acked one by one.
//
// Versions: 5.0 on; attemptId came with 5.1.
//
// Behaviours: 0 with messages, 210 where none came within pollTime, 209 where
// too many wait or the group has too many unacked messages. queueId -1 is any
// queue; at most 32 messages. startOffsetInfo and msgOffsetInfo say where the
// messages are from, in their order; retried ones carry their handle in POP_CK
// and the topic that was asked for. orderCountInfo says which messages of an
// ordered pop were given out before, and how often.
func (f *Front) popMessage(s *session, req *wire.Command) {
	from := req.From()
	pop, err := s.parsePop(req)
	if err == nil {
		err = f.broker.Use(s, pop.Topic)
	}
	if err != nil {
		f.refuse(s, "POP_MESSAGE", from, err)
		return
	}
	ns, may := req.Namespace, f.stillMay(req, pop.Topic)
	s.conn.Do(from, func() {
		f.broker.Pop(s.conn.Context(), pop, func(r broker.PopResult, err error) {
			if err == nil && may != nil && r.Status == broker.PopFound {
				err = may() // what was given out comes again
			}
			if err != nil {
				f.refuse(s, "POP_MESSAGE", from, err)
				return
			}
			s.replyPop(from, ns, pop, &r)
		})
	})
}

func (s *session) parsePop(req *wire.Command) (*broker.PopRequest, error) {
	p := req.Ext.Parse()
	r := &broker.PopRequest{
		QueueID:        p.Int32("queueId"),
		MaxMessages:    int(p.Int32("maxMsgNums")),
		Invisible:      time.Duration(p.Int("invisibleTime")) * time.Millisecond,
		Wait:           time.Duration(p.OptInt("pollTime", 0)) * time.Millisecond,
		FromMin:        p.OptInt32("initMode", 0) != initAtEnd,
		Expression:     p.OptStr("exp"),
		ExpressionType: p.OptStr("expType"),
		Ordered:        p.OptBool("order"),
		AttemptID:      p.OptStr("attemptId"),
		Client:         s,
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	var err error
	r.Group, r.Topic, err = s.groupAndTopic(req)
	return r, err
}

// groupAndTopic reads the two names that every POP request needs.
func (s *session) groupAndTopic(req *wire.Command) (group, topic string, err error) {
	g, _ := req.Ext.Lookup("consumerGroup")
	t, _ := req.Ext.Lookup("topic")
	if g == "" || t == "" {
		return "", "", refused(wire.SystemError, "request %d: the fields consumerGroup and topic are required", req.Code)
	}
	return s.own(g), s.own(t), nil
}

var popCodes = [...]int{
	broker.PopFound: wire.Success,
	broker.PopNone:  wire.PollingTimeout,
	broker.PopFull:  wire.PollingFull,
}

func (s *session) replyPop(from wire.From, ns string, req *broker.PopRequest, r *broker.PopResult) {
	resp := wire.Command{Code: popCodes[r.Status], Body: mq.WithoutTenant(r.Body, ns), Free: r.Free}
	x := &resp.Ext
	x.Grow(7)
	x.SetInt("popTime", r.PopMillis)
	x.SetInt("invisibleTime", r.InvisibleMillis)
	revive := int64(0)
	if req.Ordered {
		revive = orderedRevive
	}
	x.SetInt("reviveQid", revive)
	x.SetInt("restNum", r.Rest)
	if len(r.Messages) > 0 {
		start, offsets, counts := popInfo(r.Messages)
		x.Set("startOffsetInfo", start)
		x.Set("msgOffsetInfo", offsets)
		if counts != "" {
			x.Set("orderCountInfo", counts)
		}
	}
	if r.Here {
		s.conn.ReplyHere(from, &resp)
		return
	}
	s.conn.Reply(from, &resp)
}

// orderedRevive is reviveQid of an ordered pop.
const orderedRevive = 999

// popInfo tells where messages are from: by kind of topic and queue the first
// offset ("0 3 17;…") and all offsets ("0 3 17,18;…"), and how often ordered
// ones were given out before ("0 qo3%17 1;…").
func popInfo(msgs []broker.Popped) (start, offsets, counts string) {
	var all, first, again []byte
	for i := range msgs {
		h := &msgs[i].Handle
		if last := i - 1; last < 0 || msgs[last].Handle.QueueID != h.QueueID || msgs[last].Handle.Retry != h.Retry {
			if i > 0 {
				all, first = append(all, ';'), append(first, ';')
			}
			at := len(all)
			all = strconv.AppendInt(all, int64(h.Retry), 10)
			all = strconv.AppendInt(append(all, ' '), int64(h.QueueID), 10)
			all = append(all, ' ')
			first = append(first, all[at:]...)
			first = strconv.AppendInt(first, h.Offset, 10)
		} else {
			all = append(all, ',')
		}
		all = strconv.AppendInt(all, h.Offset, 10)
		if h.Ordered() && msgs[i].Deliveries > 0 {
			again = appendCount(again, h, msgs[i].Deliveries)
		}
	}
	return string(first), string(all), string(again)
}

func appendCount(b []byte, h *broker.Handle, times int32) []byte {
	if len(b) > 0 {
		b = append(b, ';')
	}
	b = strconv.AppendInt(b, int64(h.Retry), 10)
	b = strconv.AppendInt(append(b, " qo"...), int64(h.QueueID), 10)
	b = strconv.AppendInt(append(b, '%'), h.Offset, 10)
	return strconv.AppendInt(append(b, ' '), int64(times), 10)
}

// parseHandle reads the fields that name a delivery. With keep the handle
// outlives the request.
func parseHandle(req *wire.Command, keep bool) (group string, h broker.Handle, err error) {
	p := req.Ext.Parse()
	queue, offset := p.Int32("queueId"), p.Int("offset")
	if err := p.Err(); err != nil {
		return "", h, err
	}
	group, _ = req.Ext.Lookup("consumerGroup")
	topic, _ := req.Ext.Lookup("topic")
	info, _ := req.Ext.Lookup("extraInfo")
	if group == "" || topic == "" || info == "" {
		return "", h, refused(wire.SystemError, "request %d: the fields consumerGroup, topic and extraInfo are required", req.Code)
	}
	if keep {
		group, topic, info = strings.Clone(group), strings.Clone(topic), strings.Clone(info)
	}
	if h, err = broker.ParseHandle(group, topic, info); err != nil {
		return "", h, err
	}
	h.QueueID, h.Offset = queue, offset
	return group, h, nil
}
