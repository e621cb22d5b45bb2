package http

import (
	"strconv"
	"strings"

	"varve/broker"
	"varve/internal/inflate"
	"varve/internal/mq"
)

// maxInflated bounds the body that a compressed one may become.
const maxInflated = 64 << 20

// popped writes one message that a consumer is given.
func (x *xmlWriter) popped(m *broker.Popped) {
	h := &m.Handle
	first := h.PopMillis
	if v, ok := mq.Property(m.Record.Properties(), mq.PropFirstPopTime); ok {
		if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			first = n
		}
	}
	x.message(m.Record, h.String(), delivery{first: first, next: h.PopMillis + h.InvisibleMillis, times: int64(m.Deliveries) + 1})
}

// delivery is what is said of when a message is given out, in milliseconds.
type delivery struct{ first, next, times int64 }

func (x *xmlWriter) message(rec mq.Record, handle string, d delivery) {
	body := rec.Body()
	// A body that can't be inflated is given as it is stored.
	if plain, err := inflate.Body(body, rec.SysFlag(), maxInflated); err == nil {
		body = plain
	}
	l := labelsOf(rec)
	x.open("Message")
	x.text("MessageId", l.id)
	x.text("ReceiptHandle", handle)
	x.text("MessageBodyMD5", digest(body))
	x.bytes("MessageBody", body)
	if !isXML(body) {
		// SDKs pass over an element that they don't know, or hand it on.
		x.base64("MessageBodyBase64", body)
	}
	x.number("PublishTime", rec.BornTimeMillis())
	x.number("NextConsumeTime", d.next)
	x.number("FirstConsumeTime", d.first)
	x.number("ConsumedTimes", d.times)
	if l.tag != "" {
		x.text("MessageTag", l.tag)
	}
	if l.properties != "" {
		x.text("Properties", l.properties)
	}
	x.close("Message")
}

// labels are what is said of a message besides its body.
type labels struct{ id, tag, properties string }

func labelsOf(rec mq.Record) labels {
	var l labels
	var b strings.Builder
	for name, value := range mq.Properties(rec.Properties()) {
		switch name {
		case mq.PropUniqKey:
			l.id = value
			continue
		case mq.PropTags:
			l.tag = value
			continue
		case mq.PropTimerDeliverMs:
			name = propStartDeliver
		case mq.PropCheckImmunity:
			name = propTransCheck
		case mq.PropKeys, mq.PropShardingKey:
		default:
			if mq.SystemProperty(name) {
				continue
			}
		}
		// The protocol has no way to say that these are part of a text.
		if name == "" || strings.ContainsAny(name, ":|") || strings.ContainsRune(value, '|') {
			continue
		}
		b.WriteString(name + ":" + value + "|")
	}
	l.properties = b.String()
	if l.id == "" {
		if m, err := rec.Decode(); err == nil {
			l.id = mq.OffsetMsgID(m.StoreHost, m.PhysicalOffset)
		}
	}
	return l
}
