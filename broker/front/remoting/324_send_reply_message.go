package remoting

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// replyToClient is the property that names the client that waits for a reply.
const replyToClient = "REPLY_TO_CLIENT"

// 324 SEND_REPLY_MESSAGE and 325 SEND_REPLY_MESSAGE_V2: answer a message that
// was sent as a request.
//
// Versions: Java from 4.7 on, rocketmq-client-go; header of code 10 or 310.
//
// Behaviours: pushed to the client that the property REPLY_TO_CLIENT names, by
// code 326 with the header's long names, and stored in its topic too. 1 where
// that client isn't connected here or doesn't take it; a reply that can't be
// stored is logged, since the client that waits has it.
func (f *Front) sendReplyMessage(s *session, req *wire.Command) (*wire.Command, error) {
	c := &sendCall{sess: s}
	if err := c.parse(req); err != nil {
		return nil, err
	}
	m := &c.req.Message
	if err := f.pushReply(s, c); err != nil {
		return nil, err
	}
	resp := &wire.Command{}
	resp.Ext.Set("msgId", "0") // clients decode it whatever became of the message
	resp.Ext.SetInt("queueId", int64(max(m.QueueID, 0)))
	resp.Ext.SetInt("queueOffset", 0)
	receipts, err := f.broker.Send(s.conn.Context(), &c.req)
	if err != nil {
		f.cfg.Logger.Warn("reply message not stored", slog.String("topic", m.Topic), slog.Any("err", err))
	} else {
		resp.Ext.Set("msgId", receipts[0].OffsetMsgID())
		resp.Ext.SetInt("queueId", int64(receipts[0].Queue.ID))
		resp.Ext.SetInt("queueOffset", receipts[0].QueueOffset)
	}
	resp.Ext.Set("MSG_REGION", f.region)
	resp.Ext.Set("TRACE_ON", f.traceOn)
	return resp, nil
}

// pushReply hands the reply to the client that waits for it.
func (f *Front) pushReply(s *session, c *sendCall) error {
	m := &c.req.Message
	id := m.Property(replyToClient)
	if id == "" {
		return refused(wire.SystemError, "reply message properties[%s] is null", replyToClient)
	}
	target, has := f.clients.Load(id)
	if !has {
		return refused(wire.SystemError, "push reply message fail, channel of <%s> not found.", id)
	}
	now := time.Now().UnixMilli()
	push := wire.NewRequest(wire.PushReplyMessage,
		"producerGroup", c.req.Group, "topic", m.Topic, "defaultTopic", c.req.DefaultTopic,
		"properties", string(mq.SetProperty(m.Properties, "PUSH_REPLY_TIME", strconv.FormatInt(now, 10))),
		"bornHost", m.BornHost.String(), "storeHost", f.broker.Config().StoreHost.String())
	x := &push.Ext
	x.SetInt("defaultTopicQueueNums", int64(c.req.DefaultQueues))
	x.SetInt("queueId", int64(m.QueueID))
	x.SetInt("sysFlag", int64(m.SysFlag))
	x.SetInt("bornTimestamp", m.BornTimeMillis)
	x.SetInt("flag", int64(m.Flag))
	x.SetInt("reconsumeTimes", int64(m.ReconsumeTimes))
	x.SetBool("unitMode", c.req.Unit)
	x.SetInt("storeTimestamp", now)
	push.Body = m.Body
	ctx, cancel := context.WithTimeout(s.conn.Context(), relayTimeout)
	defer cancel()
	reply, err := target.(*session).conn.Call(ctx, push)
	if err == nil {
		err = reply.Err()
	}
	if err != nil {
		return refused(wire.SystemError, "push reply message to %s fail: %v", id, err)
	}
	return nil
}
