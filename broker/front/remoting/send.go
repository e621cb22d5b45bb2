package remoting

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"varve/broker"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// sendCall is one send on its way through the log. It is pooled, and done is
// bound once, so that a send costs no allocation here.
type sendCall struct {
	front *Front
	sess  *session
	from  wire.From
	req   broker.SendRequest
	resp  wire.Command
	bytes int64 // of session.waiting
	done  func([]broker.Receipt, error)
}

var sendCalls sync.Pool

func newSendCall() *sendCall {
	if c, ok := sendCalls.Get().(*sendCall); ok {
		return c
	}
	c := new(sendCall)
	c.done = c.finish
	return c
}

// submit puts a request of any send code into the log's queue.
func (f *Front) submit(s *session, req *wire.Command, batch bool) {
	c := newSendCall()
	c.front, c.sess, c.from = f, s, req.From()
	c.req = broker.SendRequest{Batch: batch, MaxReconsumeTimes: -1}
	err := c.parse(req)
	if err == nil {
		err = f.broker.Use(s, c.req.Message.Topic)
	}
	if err != nil {
		c.finish(nil, err)
		return
	}
	s.sends++
	c.bytes = int64(len(c.req.Message.Body) + len(c.req.Message.Properties))
	s.waiting.Add(c.bytes)
	f.broker.Enqueue(&c.req, c.done) // Front.readAll commits
}

// parse reads the header in its long names (code 10) or in its short ones.
func (c *sendCall) parse(req *wire.Command) error {
	m := &c.req.Message
	m.Body, m.BornHost = req.Body, c.sess.conn.Remote()
	m.QueueID = broker.AnyQueue
	var seen int
	var born, maxTimes int64 = 0, -1
	for i := range req.Ext.Len() {
		name, v := req.Ext.At(i)
		var err error
		switch name {
		case "a", "producerGroup":
			c.req.Group = c.sess.own(v)
			seen |= 1
		case "b", "topic":
			m.Topic = c.sess.own(v)
			seen |= 2
		case "c", "defaultTopic":
			c.req.DefaultTopic = c.sess.own(v)
		case "d", "defaultTopicQueueNums":
			err = setInt32(&c.req.DefaultQueues, v)
		case "e", "queueId":
			err = setInt32(&m.QueueID, v)
			seen |= 4
		case "f", "sysFlag":
			err = setInt32(&m.SysFlag, v)
		case "g", "bornTimestamp":
			born, err = strconv.ParseInt(v, 10, 64)
		case "h", "flag":
			err = setInt32(&m.Flag, v)
		case "i", "properties":
			m.Properties = req.Ext.Bytes(i)
		case "j", "reconsumeTimes":
			err = setInt32(&m.ReconsumeTimes, v)
		case "k", "unitMode":
			c.req.Unit = v == "true"
		case "l", "maxReconsumeTimes":
			maxTimes, err = optInt(v, -1)
		case "m", "batch":
			c.req.Batch = c.req.Batch || v == "true"
		}
		if err != nil {
			return refused(wire.SystemError, "send: field <%s>: %v", strings.Clone(name), err)
		}
	}
	if seen != 7 {
		return refused(wire.SystemError, "send: the fields producerGroup, topic and queueId are required")
	}
	m.BornTimeMillis, c.req.MaxReconsumeTimes = born, int32(maxTimes)
	if req.Namespace != "" {
		c.req.Group = inNamespace(req, c.req.Group)
		if g, ok := mq.Property(m.Properties, mq.PropProducerGroup); ok {
			m.Properties = mq.SetProperty(m.Properties, mq.PropProducerGroup, inNamespace(req, string(g)))
		}
	}
	return nil
}

func setInt32(into *int32, v string) error {
	n, err := optInt(v, int64(*into))
	*into = int32(n)
	return err
}

func optInt(v string, absent int64) (int64, error) {
	if v == "" || v == "null" {
		return absent, nil
	}
	return strconv.ParseInt(v, 10, 32)
}

// finish answers the send, from the goroutine that commits as a rule.
func (c *sendCall) finish(receipts []broker.Receipt, err error) {
	switch {
	case err == nil && len(receipts) == 0:
		err = fmt.Errorf("send of %d bytes gave no receipt", len(c.req.Message.Body))
		fallthrough
	case err != nil:
		c.front.refuse(c.sess, "SEND_MESSAGE", c.from, err)
	case !c.from.OneWay:
		c.acknowledge(receipts)
	}
	if c.bytes > 0 {
		c.sess.answered(c.bytes)
	}
	ext := c.resp.Ext
	ext.Reset()
	*c = sendCall{done: c.done, resp: wire.Command{Ext: ext}}
	sendCalls.Put(c)
}

func (c *sendCall) acknowledge(receipts []broker.Receipt) {
	first := &receipts[0]
	x := &c.resp.Ext
	if len(receipts) == 1 {
		x.Set("msgId", first.OffsetMsgID())
		x.Set("transactionId", first.MsgID)
		if first.RecallHandle != "" {
			x.Set("recallHandle", first.RecallHandle)
		}
	} else {
		ids, keys := make([]string, len(receipts)), make([]string, len(receipts))
		for i := range receipts {
			ids[i], keys[i] = receipts[i].OffsetMsgID(), receipts[i].MsgID
		}
		x.Set("msgId", strings.Join(ids, ","))
		x.Set("transactionId", strings.Join(keys, ","))
	}
	x.SetInt("queueId", int64(first.Queue.ID))
	x.SetInt("queueOffset", first.QueueOffset)
	x.Set("MSG_REGION", c.front.region)
	x.Set("TRACE_ON", c.front.traceOn)
	c.sess.conn.Reply(c.from, &c.resp)
}
