package replay

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"

	"varve/internal/inflate"
	"varve/internal/mq"
)

// timeLayout is how times stand in NDJSON, in UTC.
const timeLayout = "2006-01-02T15:04:05.000Z"

// appendNDJSON adds one message as one line: docs/format/replay.md.
func appendNDJSON(b []byte, broker string, r mq.Record, in *inflate.Inflater) ([]byte, error) {
	m, err := r.Decode()
	if err != nil {
		return b, err
	}
	// A body that can't be inflated goes as it is stored.
	if body, err := in.Body(m.Body, m.SysFlag, mq.MaxBodyLen); err == nil {
		m.Body = body
		m.SysFlag &^= mq.SysCompressed | mq.SysCompressionMask
	}
	b = append(b, `{"topic":`...)
	b = appendString(b, m.Topic)
	b = append(b, `,"broker":`...)
	b = appendString(b, broker)
	b = appendInt(b, "queue_id", int64(m.QueueID))
	b = appendInt(b, "queue_offset", m.QueueOffset)
	b = appendTime(b, "store_time", m.StoreTimeMillis)
	b = appendTime(b, "born_time", m.BornTimeMillis)
	if id, ok := mq.Property(m.Properties, mq.PropUniqKey); ok {
		b = append(b, `,"msg_id":`...)
		b = appendString(b, string(id))
	}
	b = append(b, `,"offset_msg_id":`...)
	b = appendString(b, mq.OffsetMsgID(m.StoreHost, m.PhysicalOffset))
	b = append(b, `,"keys":[`...)
	for i, k := range mq.Keys(m.Properties) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, k)
	}
	b = append(b, ']')
	if tag, ok := mq.Property(m.Properties, mq.PropTags); ok {
		b = append(b, `,"tag":`...)
		b = appendString(b, string(tag))
	}
	b = append(b, `,"properties":{`...)
	first := true
	for k, v := range mq.Properties(m.Properties) {
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendString(b, k)
		b = append(b, ':')
		b = appendString(b, v)
	}
	b = append(b, '}')
	b = appendInt(b, "reconsume_times", int64(m.ReconsumeTimes))
	b = appendInt(b, "sys_flag", int64(m.SysFlag))
	b = appendInt(b, "flag", int64(m.Flag))
	b = appendInt(b, "body_crc", int64(mq.BodyCRC(m.Body)))
	b = append(b, `,"born_host":`...)
	b = appendString(b, m.BornHost.String())
	b = append(b, `,"store_host":`...)
	b = appendString(b, m.StoreHost.String())
	b = appendInt(b, "physical_offset", m.PhysicalOffset)
	b = appendInt(b, "prepared_transaction_offset", m.PreparedTransactionOffset)
	return append(appendBody(b, m.Body), '}', '\n'), nil
}

// appendBody adds the body as text where it is text, in base64 otherwise.
func appendBody(b, body []byte) []byte {
	if utf8.Valid(body) {
		return appendString(append(b, `,"body":`...), string(body))
	}
	b = append(b, `,"body_base64":"`...)
	b = base64.StdEncoding.AppendEncode(b, body)
	return append(b, '"')
}

func appendInt(b []byte, name string, v int64) []byte {
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	return strconv.AppendInt(b, v, 10)
}

func appendTime(b []byte, name string, millis int64) []byte {
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":"`...)
	b = time.UnixMilli(millis).UTC().AppendFormat(b, timeLayout)
	return append(b, '"')
}

// appendString quotes s as JSON. Bytes that are not UTF-8 become U+FFFD.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			var out bytes.Buffer
			e := json.NewEncoder(&out)
			e.SetEscapeHTML(false)
			if e.Encode(s) != nil {
				return append(b, `""`...)
			}
			return append(b, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
