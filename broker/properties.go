package broker

import (
	"bytes"
	"fmt"
	"math"
	"strconv"

	"varve/internal/mq"
)

// Property names that only this package gives a meaning to.
const (
	propCompactionPolicy = "cleanup.policy" // attribute of a topic
	propNameEnd          = 0x01
	propValueEnd         = 0x02
)

// special is what one pass over a message's properties found of those that the
// broker acts on. The slices alias the properties.
type special struct {
	uniqKey     []byte
	keys        bool
	delayLevel  int
	transaction bool
	sharded     bool   // has a sharding key
	half        bool   // it is stored as a transaction's half message
	group       string // of the producer, of a half message
	retried     int32  // RECONSUME_TIME, -1 where absent
	maxRetries  int32  // MAX_RECONSUME_TIMES, -1 where absent
	timer       bool   // has one of the three below
	deliverMs   []byte
	delayMs     []byte
	delaySec    []byte
}

// carryOver appends to dst the properties that are stored as they came, and
// notes those that mean something. Left out are the ones that the broker sets
// itself, the ones that only speak to the broker, and pairs without a name.
func carryOver(dst, src []byte) ([]byte, special) {
	s := special{retried: -1, maxRetries: -1}
	for len(src) > 0 {
		pair := src
		if i := bytes.IndexByte(src, propValueEnd); i >= 0 {
			pair, src = src[:i], src[i+1:]
		} else {
			src = nil
		}
		i := bytes.IndexByte(pair, propNameEnd)
		if i <= 0 {
			continue
		}
		if s.note(pair[:i], pair[i+1:]) {
			dst = append(dst, pair...)
			dst = append(dst, propValueEnd)
		}
	}
	return dst, s
}

// note takes in one property; keep is false for those that are not stored.
func (s *special) note(name, value []byte) (keep bool) {
	switch string(name) {
	// WAIT=false allows an ack before the flush. The log's policy acks all
	// sends alike, since they share their syncs: the stricter promise.
	case mq.PropWait, mq.PropPopCK, mq.PropMsgRegion, mq.PropTraceOn, mq.PropCluster:
		return false
	case mq.PropUniqKey:
		s.uniqKey = value
		return len(value) > 0
	case mq.PropKeys:
		s.keys = len(bytes.TrimSpace(value)) > 0
	case mq.PropDelay:
		s.delayLevel, _ = strconv.Atoi(string(value))
	case mq.PropTransaction:
		s.transaction = bytes.EqualFold(value, []byte("true"))
	case mq.PropShardingKey:
		s.sharded = len(value) > 0
	case mq.PropReconsumeTime:
		s.retried = int32OrNone(value)
	case mq.PropMaxReconsumeTimes:
		s.maxRetries = int32OrNone(value)
	case mq.PropTimerDeliverMs:
		s.timer, s.deliverMs = true, value
	case mq.PropTimerDelayMs:
		s.timer, s.delayMs = true, value
	case mq.PropTimerDelaySec:
		s.timer, s.delaySec = true, value
	}
	return true
}

func int32OrNone(v []byte) int32 {
	n, err := strconv.ParseInt(string(v), 10, 32)
	if err != nil || n < 0 {
		return -1
	}
	return int32(n)
}

// due resolves the three ways to name a time of delivery: TIMER_DELAY_SEC,
// TIMER_DELAY_MS, TIMER_DELIVER_MS, in the order in which RocketMQ looks.
// relative says that it was a delay.
func (s *special) due(nowMillis int64) (dueMillis int64, relative bool, err error) {
	name, text, base, unit := mq.PropTimerDeliverMs, s.deliverMs, int64(0), int64(1)
	switch {
	case s.delaySec != nil:
		name, text, base, unit = mq.PropTimerDelaySec, s.delaySec, nowMillis, 1000
	case s.delayMs != nil:
		name, text, base = mq.PropTimerDelayMs, s.delayMs, nowMillis
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/2000 {
		return 0, false, fmt.Errorf("property %s is %q, want a time in milliseconds or a delay", name, text)
	}
	return base + n*unit, base > 0, nil
}
