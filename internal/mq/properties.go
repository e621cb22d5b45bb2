package mq

import (
	"bytes"
	"iter"
	"strings"
)

// Property names that the broker reads or writes
// (apache/rocketmq: common/message/MessageConst.java).
const (
	PropKeys              = "KEYS"
	PropTags              = "TAGS"
	PropWait              = "WAIT"
	PropDelay             = "DELAY"
	PropRetryTopic        = "RETRY_TOPIC"
	PropRealTopic         = "REAL_TOPIC"
	PropRealQueueID       = "REAL_QID"
	PropTransaction       = "TRAN_MSG"
	PropProducerGroup     = "PGROUP"
	PropUniqKey           = "UNIQ_KEY"
	PropErased            = "VARVE_ERASED" // of a message whose body was erased: the erasure's id
	PropMinOffset         = "MIN_OFFSET"
	PropMaxOffset         = "MAX_OFFSET"
	PropReconsumeTime     = "RECONSUME_TIME"
	PropMaxReconsumeTimes = "MAX_RECONSUME_TIMES"
	PropOriginMessageID   = "ORIGIN_MESSAGE_ID"
	PropMsgRegion         = "MSG_REGION"
	PropTraceOn           = "TRACE_ON"
	PropCluster           = "CLUSTER"
	PropShardingKey       = "__SHARDINGKEY"
	PropTimerDeliverMs    = "TIMER_DELIVER_MS"
	PropTimerDelayMs      = "TIMER_DELAY_MS"
	PropTimerDelaySec     = "TIMER_DELAY_SEC"
	PropTimerOutMs        = "TIMER_OUT_MS"
	PropTimerDelete       = "TIMER_DEL_UNIQKEY"
	PropPopCK             = "POP_CK"
	PropFirstPopTime      = "1ST_POP_TIME"
	PropInnerBatch        = "INNER_BATCH"
	PropCheckImmunity     = "CHECK_IMMUNITY_TIME_IN_SECONDS"
)

// SystemProperty reports whether a name is RocketMQ's own, and so no user's.
func SystemProperty(name string) bool { return systemProperties[name] }

var systemProperties = func() map[string]bool {
	m := map[string]bool{}
	for _, name := range strings.Fields(`
		KEYS TAGS WAIT DELAY RETRY_TOPIC REAL_TOPIC REAL_QID TRAN_MSG PGROUP MIN_OFFSET MAX_OFFSET BUYER_ID
		ORIGIN_MESSAGE_ID TRANSFER_FLAG CORRECTION_FLAG MQ2_FLAG RECONSUME_TIME MSG_REGION TRACE_ON UNIQ_KEY
		EXTEND_UNIQ_INFO MAX_RECONSUME_TIMES CONSUME_START_TIME TRAN_PREPARED_QUEUE_OFFSET DUP_INFO INSTANCE_ID
		CORRELATION_ID REPLY_TO_CLIENT TTL ARRIVE_TIME PUSH_REPLY_TIME CLUSTER MSG_TYPE POP_CK POP_CK_OFFSET
		1ST_POP_TIME INNER_MULTI_QUEUE_OFFSET TIMER_DELAY_MS TIMER_DELAY_SEC TIMER_DELIVER_MS TIMER_ENQUEUE_MS
		TIMER_DEQUEUE_MS TIMER_ROLL_TIMES TIMER_OUT_MS TIMER_DEL_UNIQKEY TIMER_DELAY_LEVEL BORN_TIMESTAMP
		__BORNHOST DLQ_ORIGIN_TOPIC DLQ_ORIGIN_MESSAGE_ID __CRC32# __SHARDINGKEY TRACE_CONTEXT
		CHECK_IMMUNITY_TIME_IN_SECONDS TRANSACTION_CHECK_TIMES __transactionId__`) {
		m[name] = true
	}
	return m
}()

const (
	propNameEnd  = 0x01
	propValueEnd = 0x02
)

// PropertyError tells which property cannot be written and why.
type PropertyError struct{ Name, Reason string }

func (e *PropertyError) Error() string { return "property " + e.Name + ": " + e.Reason }

// Properties iterates over stored properties ("name 0x01 value 0x02 …") in
// their order. A pair without 0x01 is skipped, as RocketMQ's decoder does;
// the last pair needs no 0x02.
func Properties(stored []byte) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for len(stored) > 0 {
			pair := stored
			if i := bytes.IndexByte(stored, propValueEnd); i >= 0 {
				pair, stored = stored[:i], stored[i+1:]
			} else {
				stored = nil
			}
			i := bytes.IndexByte(pair, propNameEnd)
			if i < 0 {
				continue
			}
			if !yield(string(pair[:i]), string(pair[i+1:])) {
				return
			}
		}
	}
}

// Property finds one stored property; ok is false where it is absent. The
// value aliases stored.
func Property(stored []byte, name string) (value []byte, ok bool) {
	for len(stored) > 0 {
		pair := stored
		if i := bytes.IndexByte(stored, propValueEnd); i >= 0 {
			pair, stored = stored[:i], stored[i+1:]
		} else {
			stored = nil
		}
		if len(pair) > len(name) && pair[len(name)] == propNameEnd && string(pair[:len(name)]) == name {
			return pair[len(name)+1:], true
		}
	}
	return nil, false
}

// AppendProperty adds one pair to stored properties.
func AppendProperty(stored []byte, name, value string) []byte {
	if n := len(stored); n > 0 && stored[n-1] != propValueEnd {
		stored = append(stored, propValueEnd)
	}
	stored = append(stored, name...)
	stored = append(stored, propNameEnd)
	stored = append(stored, value...)
	return append(stored, propValueEnd)
}

// RemoveProperty gives the properties without name, in a new slice; the others
// keep their order.
func RemoveProperty(stored []byte, name string) []byte {
	out := make([]byte, 0, len(stored))
	for k, v := range Properties(stored) {
		if k != name {
			out = AppendProperty(out, k, v)
		}
	}
	return out
}

// SetProperty gives the properties with name replaced (at the end) or added,
// in a new slice.
func SetProperty(stored []byte, name, value string) []byte {
	return AppendProperty(RemoveProperty(stored, name), name, value)
}

// CheckProperty reports whether a pair can be stored: the two separator bytes
// may stand in neither part, and the name may not be empty.
func CheckProperty(name, value string) error {
	switch {
	case name == "":
		return &PropertyError{Name: name, Reason: "empty name"}
	case strings.ContainsAny(name, "\x01\x02"), strings.ContainsAny(value, "\x01\x02"):
		return &PropertyError{Name: name, Reason: "contains a separator byte (0x01 or 0x02)"}
	}
	return nil
}

// Keys splits the KEYS property at spaces.
func Keys(stored []byte) []string {
	v, ok := Property(stored, PropKeys)
	if !ok {
		return nil
	}
	return strings.Fields(string(v))
}

// TagHash is Java's String.hashCode of a tag, the code that consumers filter
// by; 0 where there is no tag. Java hashes UTF-16 units, so non-BMP runes
// count as their two surrogates.
func TagHash(tag string) int64 {
	var h int32
	for _, r := range tag {
		if r > 0xFFFF {
			r -= 0x10000
			h = 31*h + int32(0xD800+(r>>10))
			h = 31*h + int32(0xDC00+(r&0x3FF))
			continue
		}
		h = 31*h + int32(r)
	}
	return int64(h)
}
