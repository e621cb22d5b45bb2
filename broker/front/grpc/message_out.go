package grpc

import (
	"bytes"
	"crypto/md5" //nolint:gosec // the protocol's digest
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"varve/internal/inflate"
	"varve/internal/mq"
)

// outgoing is one message on its way to a client, with all that it points to,
// so that it costs one allocation.
type outgoing struct {
	msg            v2.Message
	sys            v2.SystemProperties
	digest         v2.Digest
	born, stored   timestamppb.Timestamp
	offset         int64
	attempt        int32
	tag, handle    string
	group, context string
	kept           durationpb.Duration
}

// invisible notes for how long nobody else gets the message.
func (o *outgoing) invisible(d time.Duration) {
	o.kept.Seconds, o.kept.Nanos = int64(d/time.Second), int32(d%time.Second)
	o.sys.InvisibleDuration = &o.kept
}

// outgoingOf makes a message of a stored one. It aliases rec. topic is the
// topic that the client asked for: a retry's own is the broker's affair. handle
// is "" for a message that nobody has to ack.
func outgoingOf(rec mq.Record, topic *v2.Resource, handle string) *outgoing {
	o := &outgoing{
		offset: rec.QueueOffset(), attempt: rec.ReconsumeTimes() + 1, handle: handle,
		born:   timestamppb.Timestamp{Seconds: rec.BornTimeMillis() / 1000, Nanos: int32(rec.BornTimeMillis()%1000) * 1e6},
		stored: timestamppb.Timestamp{Seconds: rec.StoreTimeMillis() / 1000, Nanos: int32(rec.StoreTimeMillis()%1000) * 1e6},
	}
	s := &o.sys
	o.msg.Topic, o.msg.SystemProperties = topic, s
	s.BornTimestamp, s.StoreTimestamp = &o.born, &o.stored
	s.QueueId, s.QueueOffset, s.DeliveryAttempt = rec.QueueID(), &o.offset, &o.attempt
	if handle != "" {
		s.ReceiptHandle = &o.handle
	}
	s.StoreHost = hostOf(rec.StoreHost())
	s.MessageType = v2.MessageType_NORMAL
	o.properties(rec.Properties())
	if s.BornHost == "" {
		s.BornHost = hostOf(rec.BornHost())
	}
	if s.MessageId == "" {
		if m, err := rec.Decode(); err == nil {
			s.MessageId = mq.OffsetMsgID(m.StoreHost, m.PhysicalOffset)
		}
	}
	o.body(rec)
	sum := md5.Sum(o.msg.Body) //nolint:gosec // the protocol's digest
	o.digest.Type, o.digest.Checksum = v2.DigestType_MD5, strings.ToUpper(hex.EncodeToString(sum[:]))
	s.BodyDigest = &o.digest
	return o
}

// replacement stands for bytes that are no text.
var replacement = []byte("\uFFFD")

// properties parts the stored properties into the system's and the user's.
func (o *outgoing) properties(stored []byte) {
	for len(stored) > 0 {
		pair := stored
		if i := bytes.IndexByte(stored, 0x02); i >= 0 {
			pair, stored = stored[:i], stored[i+1:]
		} else {
			stored = nil
		}
		i := bytes.IndexByte(pair, 0x01)
		if i <= 0 {
			continue
		}
		name, value := pair[:i], pair[i+1:]
		if !utf8.Valid(name) || !utf8.Valid(value) { // which the protocol can't carry
			name, value = bytes.ToValidUTF8(name, replacement), bytes.ToValidUTF8(value, replacement)
		}
		o.property(name, value)
	}
}

func (o *outgoing) property(name, value []byte) {
	s := &o.sys
	switch string(name) {
	case mq.PropTags:
		o.tag = string(value)
		s.Tag = &o.tag
	case mq.PropKeys:
		s.Keys = strings.Fields(string(value))
	case mq.PropUniqKey:
		s.MessageId = string(value)
	case mq.PropShardingKey:
		o.group = string(value)
		s.MessageGroup = &o.group
		if s.MessageType == v2.MessageType_NORMAL {
			s.MessageType = v2.MessageType_FIFO
		}
	case mq.PropTransaction:
		if string(value) == "true" {
			s.MessageType = v2.MessageType_TRANSACTION
		}
	case mq.PropDelay, mq.PropTimerDelaySec, mq.PropTimerDelayMs:
		o.delayed()
	case mq.PropTimerDeliverMs:
		o.delayed()
		if ms, err := strconv.ParseInt(string(value), 10, 64); err == nil {
			s.DeliveryTimestamp = &timestamppb.Timestamp{Seconds: ms / 1000, Nanos: int32(ms%1000) * 1e6}
		}
	case propBornHost:
		s.BornHost = string(value)
	case propTraceContext:
		o.context = string(value)
		s.TraceContext = &o.context
	case propDLQTopic:
		o.deadLetter().Topic = string(value)
	case propDLQMessageID:
		o.deadLetter().MessageId = string(value)
	default:
		if mq.SystemProperty(string(name)) {
			return
		}
		if o.msg.UserProperties == nil {
			o.msg.UserProperties = map[string]string{}
		}
		o.msg.UserProperties[string(name)] = string(value)
	}
}

func (o *outgoing) delayed() {
	if o.sys.MessageType != v2.MessageType_TRANSACTION {
		o.sys.MessageType = v2.MessageType_DELAY
	}
}

func (o *outgoing) deadLetter() *v2.DeadLetterQueue {
	if o.sys.DeadLetterQueue == nil {
		o.sys.DeadLetterQueue = &v2.DeadLetterQueue{}
	}
	return o.sys.DeadLetterQueue
}

// body gives the body as it is stored, but for compressions that this protocol
// has no name for. Its clients tell gzip and zlib apart by themselves.
func (o *outgoing) body(rec mq.Record) {
	o.msg.Body, o.sys.BodyEncoding = rec.Body(), v2.Encoding_IDENTITY
	flag := rec.SysFlag()
	if flag&mq.SysCompressed == 0 {
		return
	}
	o.sys.BodyEncoding = v2.Encoding_GZIP
	if how := flag & mq.SysCompressionMask; how != inflate.LZ4 && how != inflate.Zstd {
		return
	}
	if plain, err := inflate.Body(rec.Body(), flag, maxInflated); err == nil {
		o.msg.Body, o.sys.BodyEncoding = plain, v2.Encoding_IDENTITY
	}
}

// maxInflated bounds the body that a compressed one may become.
const maxInflated = 64 << 20

// hostOf writes a stored host: 4 or 16 bytes and a port of 4.
func hostOf(b []byte) string {
	n := len(b) - 4
	addr, ok := netip.AddrFromSlice(b[:n])
	if !ok {
		return ""
	}
	port := uint16(b[n+2])<<8 | uint16(b[n+3])
	return netip.AddrPortFrom(addr, port).String()
}
