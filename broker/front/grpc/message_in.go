package grpc

import (
	"bytes"
	"compress/gzip"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"varve/broker"
	"varve/internal/mq"
)

// Limits of one message, as RocketMQ's proxy has them.
const (
	maxUserProperties    = 128
	maxUserPropertyBytes = 16 << 10
	maxMessageGroup      = 64 // exclusive
	maxRecoveryDelay     = time.Hour
)

// Properties of stored messages that only this protocol writes.
const (
	propBornHost     = "__BORNHOST"
	propTraceContext = "TRACE_CONTEXT"
	propDLQTopic     = "DLQ_ORIGIN_TOPIC"
	propDLQMessageID = "DLQ_ORIGIN_MESSAGE_ID"
)

// buildSend makes a send of a message. t is nil where the topic doesn't exist.
func (f *Front) buildSend(s *send, m *v2.Message, topic string, t *broker.Topic) error {
	sys := m.GetSystemProperties()
	s.msgType = typeOf(sys)
	if err := checkType(s.msgType, sys); err != nil {
		return err
	}
	body, err := f.bodyOf(m)
	if err != nil {
		return err
	}
	props, err := propertiesOf(m, s.msgType, topic)
	if err != nil {
		return err
	}
	s.req = broker.SendRequest{Group: topic, MaxReconsumeTimes: -1, Typed: true}
	msg := &s.req.Message
	msg.Topic, msg.QueueID, msg.Body, msg.Properties = topic, broker.AnyQueue, body, props
	msg.BornTimeMillis = f.cfg.Now().UnixMilli()
	if at := sys.GetBornTimestamp(); at.IsValid() {
		msg.BornTimeMillis = at.AsTime().UnixMilli()
	}
	if s.msgType == v2.MessageType_TRANSACTION {
		msg.SysFlag = mq.SysPrepared
	}
	if g := sys.GetMessageGroup(); g != "" && t != nil && t.WriteQueues > 0 {
		msg.QueueID = mq.QueueOfGroup(g, t.WriteQueues)
	}
	return nil
}

// typeOf is the type that a message is by what it carries.
func typeOf(sys *v2.SystemProperties) v2.MessageType {
	switch {
	case sys.GetMessageType() == v2.MessageType_TRANSACTION:
		return v2.MessageType_TRANSACTION
	case sys.GetDeliveryTimestamp() != nil:
		return v2.MessageType_DELAY
	case sys.GetMessageGroup() != "":
		return v2.MessageType_FIFO
	}
	return v2.MessageType_NORMAL
}

// checkType holds a message to the type that it says. Its topic's is the core's
// to check.
func checkType(is v2.MessageType, sys *v2.SystemProperties) error {
	says := sys.GetMessageType()
	if says > v2.MessageType_TRANSACTION {
		return refused(v2.Code_UNSUPPORTED, "messages of type %s are not supported", says)
	}
	if is == v2.MessageType_TRANSACTION && (sys.GetDeliveryTimestamp() != nil || sys.GetMessageGroup() != "") {
		return refused(v2.Code_MESSAGE_PROPERTY_CONFLICT_WITH_TYPE, "a transaction's message has a delivery time or a message group")
	}
	return nil
}

func (f *Front) bodyOf(m *v2.Message) ([]byte, error) {
	body, limit := m.GetBody(), f.broker.Live().MaxBodyBytes
	if len(body) == 0 {
		return nil, refused(v2.Code_MESSAGE_BODY_EMPTY, "the message has no body")
	}
	if m.GetSystemProperties().GetBodyEncoding() == v2.Encoding_GZIP {
		var err error
		if body, err = gunzip(body, limit); err != nil {
			return nil, err
		}
	}
	if len(body) > limit {
		return nil, refused(v2.Code_MESSAGE_BODY_TOO_LARGE, "body of %d bytes is over the limit of %d", len(body), limit)
	}
	return body, nil
}

// gunzip inflates a body to at most one byte more than the limit.
func gunzip(body []byte, limit int) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, refused(v2.Code_MESSAGE_CORRUPTED, "body is said to be gzip: %v", err)
	}
	plain, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, refused(v2.Code_MESSAGE_CORRUPTED, "body is said to be gzip: %v", err)
	}
	return plain, nil
}

// propertiesOf is a message's properties in stored form: the user's by name,
// then the system's.
func propertiesOf(m *v2.Message, is v2.MessageType, topic string) ([]byte, error) {
	user, sys := m.GetUserProperties(), m.GetSystemProperties()
	size, err := checkUser(user)
	if err != nil {
		return nil, err
	}
	props := make([]byte, 0, size+256)
	for _, name := range slices.Sorted(maps.Keys(user)) {
		if user[name] != "" { // remoting's decoders drop a pair without a value
			props = mq.AppendProperty(props, name, user[name])
		}
	}
	if sys.GetMessageId() == "" || blank(sys.GetMessageId()) || control(sys.GetMessageId()) {
		return nil, refused(v2.Code_ILLEGAL_MESSAGE_ID, "message id %q is empty or has control characters", sys.GetMessageId())
	}
	props = mq.AppendProperty(props, mq.PropUniqKey, sys.GetMessageId())
	if props, size, err = appendLabels(props, size, sys); err != nil {
		return nil, err
	}
	if size > maxUserPropertyBytes {
		return nil, refused(v2.Code_MESSAGE_PROPERTIES_TOO_LARGE, "properties of %d bytes are over the limit of %d", size, maxUserPropertyBytes)
	}
	if at := sys.GetDeliveryTimestamp(); at != nil {
		props = mq.AppendProperty(props, mq.PropTimerDeliverMs, strconv.FormatInt(at.AsTime().UnixMilli(), 10))
	}
	if is == v2.MessageType_TRANSACTION {
		if props, err = appendTransaction(props, sys, topic); err != nil {
			return nil, err
		}
	}
	for name, value := range map[string]string{propTraceContext: sys.GetTraceContext(), propBornHost: sys.GetBornHost()} {
		if value != "" && !control(value) {
			props = mq.AppendProperty(props, name, value)
		}
	}
	return props, nil
}

// appendLabels adds tag, keys and message group. size counts the first two.
func appendLabels(props []byte, size int, sys *v2.SystemProperties) ([]byte, int, error) {
	if tag := sys.GetTag(); tag != "" {
		if blank(tag) || control(tag) || strings.Contains(tag, "|") {
			return nil, 0, refused(v2.Code_ILLEGAL_MESSAGE_TAG, "tag %q is blank or has '|' or control characters", tag)
		}
		props, size = mq.AppendProperty(props, mq.PropTags, tag), size+len(tag)
	}
	for _, key := range sys.GetKeys() {
		if blank(key) || control(key) {
			return nil, 0, refused(v2.Code_ILLEGAL_MESSAGE_KEY, "key %q is blank or has control characters", key)
		}
		size += len(key)
	}
	if keys := strings.Join(sys.GetKeys(), " "); keys != "" {
		props = mq.AppendProperty(props, mq.PropKeys, keys)
	}
	if g := sys.GetMessageGroup(); g != "" {
		if blank(g) || control(g) || len(g) >= maxMessageGroup {
			return nil, 0, refused(v2.Code_ILLEGAL_MESSAGE_GROUP, "message group %q is blank, has control characters, or has %d bytes or more", g, maxMessageGroup)
		}
		props = mq.AppendProperty(props, mq.PropShardingKey, g)
	}
	return props, size, nil
}

// appendTransaction marks a half message. Its topic stands for its producer
// group: any producer of the topic may be asked what became of it.
func appendTransaction(props []byte, sys *v2.SystemProperties, topic string) ([]byte, error) {
	props = mq.AppendProperty(props, mq.PropTransaction, "true")
	props = mq.AppendProperty(props, mq.PropProducerGroup, topic)
	if d := sys.GetOrphanedTransactionRecoveryDuration(); d != nil {
		if d.AsDuration() < 0 || d.AsDuration() > maxRecoveryDelay {
			return nil, refused(v2.Code_BAD_REQUEST, "recovery of an orphaned transaction after %s, want at most %s", d.AsDuration(), maxRecoveryDelay)
		}
		props = mq.AppendProperty(props, mq.PropCheckImmunity, strconv.FormatInt(int64(d.AsDuration()/time.Second), 10))
	}
	return props, nil
}

// checkUser holds the user's properties to the protocol and counts their bytes.
func checkUser(user map[string]string) (size int, err error) {
	if len(user) > maxUserProperties {
		return 0, refused(v2.Code_MESSAGE_PROPERTIES_TOO_LARGE, "%d properties are over the limit of %d", len(user), maxUserProperties)
	}
	for name, value := range user {
		why := ""
		switch {
		case name == "":
			why = "is empty"
		case mq.SystemProperty(name):
			why = "is the system's"
		case control(name), control(value):
			why = "or its value has control characters"
		}
		if why != "" {
			return 0, refused(v2.Code_ILLEGAL_MESSAGE_PROPERTY_KEY, "property name %q %s", name, why)
		}
		size += len(name) + len(value)
	}
	return size, nil
}
