package http

import (
	"encoding/xml"
	"strconv"
	"strings"
	"time"

	"varve/broker"
	"varve/internal/mq"
)

// Limits of one message.
const (
	// escaped is how much longer a character may be in XML.
	escaped = 6
	// roomForProperties is what a request may be longer than its body.
	roomForProperties = escaped * mq.MaxPropertiesLen
	// Bounds of the age at which a producer is first asked about a transaction.
	leastCheck, mostCheck = time.Second, time.Hour
)

// Properties that the protocol gives a meaning to.
const (
	propStartDeliver = "__STARTDELIVERTIME" // milliseconds
	propTransCheck   = "__TransCheckT"      // seconds; makes the message a transaction's
)

// posted is a message as it is posted.
type posted struct {
	XMLName    xml.Name `xml:"Message"`
	Body       string   `xml:"MessageBody"`
	Tag        string   `xml:"MessageTag"`
	Properties string   `xml:"Properties"`
}

// sending is a message on its way to the core.
type sending struct {
	req      broker.SendRequest
	half     bool
	sharding string
}

// messageOf reads a request's message.
func (f *Front) messageOf(c *call) (*sending, error) {
	limit := f.broker.Live().MaxBodyBytes
	var p posted
	if err := decodeXML(c, int64(escaped*limit+roomForProperties), &p); err != nil {
		return nil, err
	}
	switch {
	case p.Body == "":
		return nil, refused(invalidArgument, "the message has no MessageBody")
	case len(p.Body) > limit:
		return nil, refused(invalidArgument, "MessageBody has %d bytes, want 1 to %d", len(p.Body), limit)
	}
	s := &sending{req: broker.SendRequest{MaxReconsumeTimes: -1, Typed: true}}
	m := &s.req.Message
	m.Topic, m.QueueID, m.Body, m.BornHost = c.topic, broker.AnyQueue, []byte(p.Body), c.from
	m.BornTimeMillis = f.cfg.Now().UnixMilli()
	if err := s.properties(&p); err != nil {
		return nil, err
	}
	t, _ := f.broker.Topic(c.topic) // a missing one is made or refused by the core
	if s.sharding != "" && t != nil && t.WriteQueues > 0 {
		m.QueueID = mq.QueueOfGroup(s.sharding, t.WriteQueues)
	}
	return s, nil
}

// properties takes over tag and properties ("name:value|name:value|").
func (s *sending) properties(p *posted) error {
	m := &s.req.Message
	if p.Tag != "" {
		if strings.ContainsRune(p.Tag, '|') {
			return refused(invalidArgument, "MessageTag %q has a '|'", p.Tag)
		}
		if err := s.property(mq.PropTags, p.Tag); err != nil {
			return err
		}
	}
	for pair := range strings.SplitSeq(p.Properties, "|") {
		if pair == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, ":")
		if !ok || name == "" {
			return refused(invalidArgument, "property %q, want NAME:VALUE", pair)
		}
		if value == "" { // remoting's decoders drop a pair without a value
			continue
		}
		if _, has := mq.Property(m.Properties, name); has {
			return refused(invalidArgument, "property %q is there twice", name)
		}
		if err := s.named(name, value); err != nil {
			return err
		}
	}
	return nil
}

// named takes one property that the client named.
func (s *sending) named(name, value string) error {
	switch name {
	case propStartDeliver:
		if n, err := strconv.ParseInt(value, 10, 64); err != nil || n < 0 {
			return refused(invalidArgument, "property %s is %q, want a time in milliseconds", name, value)
		}
		return s.property(mq.PropTimerDeliverMs, value)
	case propTransCheck:
		return s.transaction(value)
	case mq.PropShardingKey:
		s.sharding = value
	case mq.PropKeys:
	default:
		if mq.SystemProperty(name) {
			return refused(invalidArgument, "property name %q is the broker's own", name)
		}
	}
	return s.property(name, value)
}

func (s *sending) property(name, value string) error {
	m := &s.req.Message
	if err := mq.CheckProperty(name, value); err != nil {
		return refused(invalidArgument, "%v", err)
	}
	m.Properties = mq.AppendProperty(m.Properties, name, value)
	return nil
}

// transaction marks a half message. A publish names no producer group, so the
// topic stands for it: any producer of the topic may say what became of it.
func (s *sending) transaction(seconds string) error {
	n, err := strconv.Atoi(seconds)
	if d := time.Duration(n) * time.Second; err != nil || d < leastCheck || d > mostCheck {
		return refused(invalidArgument, "property %s is %q, want %d to %d seconds", propTransCheck, seconds,
			leastCheck/time.Second, mostCheck/time.Second)
	}
	m := &s.req.Message
	s.half, s.req.Group, m.SysFlag = true, m.Topic, mq.SysPrepared
	for _, p := range [...][2]string{{mq.PropTransaction, "true"}, {mq.PropProducerGroup, m.Topic}, {mq.PropCheckImmunity, seconds}} {
		if err := s.property(p[0], p[1]); err != nil {
			return err
		}
	}
	return nil
}
