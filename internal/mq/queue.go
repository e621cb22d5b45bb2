package mq

import (
	"fmt"
	"strings"
)

// Queue names one queue: RocketMQ's (topic, brokerName, queueId). Topic is
// the name as on the wire, with the tenant's prefix where there is one.
type Queue struct {
	Broker string
	Topic  string
	ID     int32
}

// String gives "topic@broker/id".
func (q Queue) String() string { return fmt.Sprintf("%s@%s/%d", q.Topic, q.Broker, q.ID) }

// Range is the half-open range of queue offsets [From, To).
type Range struct{ From, To int64 }

// Empty reports whether the range holds no offset.
func (r Range) Empty() bool { return r.To <= r.From }

// Len is the number of offsets in the range.
func (r Range) Len() int64 { return max(0, r.To-r.From) }

// Contains reports whether off is in the range.
func (r Range) Contains(off int64) bool { return off >= r.From && off < r.To }

// Names that RocketMQ gives a meaning to.
const (
	RetryPrefix    = "%RETRY%"
	DLQPrefix      = "%DLQ%"
	AutoTopic      = "TBW102"              // its settings are inherited by topics that a send creates
	ScheduleTopic  = "SCHEDULE_TOPIC_XXXX" // delay levels, one queue each
	TimerTopic     = "rmq_sys_wheel_timer" // messages due at any time
	HalfTopic      = "RMQ_SYS_TRANS_HALF_TOPIC"
	OpHalfTopic    = "RMQ_SYS_TRANS_OP_HALF_TOPIC"
	TraceTopic     = "RMQ_SYS_TRACE_TOPIC"
	DefaultTenant  = "default"
	nameSpaceDelim = '%'
)

// RetryTopic is the topic that holds a group's messages to consume again.
func RetryTopic(group string) string { return RetryPrefix + group }

// DLQTopic is the topic that holds a group's dead letters.
func DLQTopic(group string) string { return DLQPrefix + group }

// SystemTopic reports whether a topic is the broker's own machinery: never
// archived and not to be sent to by clients.
func SystemTopic(topic string) bool {
	switch topic {
	case ScheduleTopic, TimerTopic, HalfTopic, OpHalfTopic, AutoTopic,
		"TRANS_CHECK_MAX_TIME_TOPIC", "SELF_TEST_TOPIC", "OFFSET_MOVED_EVENT", "BenchmarkTest":
		return true
	}
	return strings.HasPrefix(topic, "rmq_sys_")
}

// SplitTenant parts a wire topic (or group) name into its tenant and the rest:
// "INSTANCE%orders" is ("INSTANCE", "orders"), "%RETRY%INSTANCE%g" is
// ("INSTANCE", "%RETRY%g"), and a name without a tenant is in DefaultTenant.
func SplitTenant(name string) (tenant, local string) {
	prefix, rest := "", name
	for _, p := range []string{RetryPrefix, DLQPrefix} {
		if strings.HasPrefix(name, p) {
			prefix, rest = p, name[len(p):]
			break
		}
	}
	i := strings.IndexByte(rest, nameSpaceDelim)
	if i <= 0 || i == len(rest)-1 {
		return DefaultTenant, name
	}
	return rest[:i], prefix + rest[i+1:]
}

// JoinTenant puts a tenant before a name, as SplitTenant finds it: "INSTANCE"
// and "%RETRY%g" are "%RETRY%INSTANCE%g". An empty tenant leaves the name.
func JoinTenant(tenant, name string) string {
	if tenant == "" {
		return name
	}
	for _, prefix := range []string{RetryPrefix, DLQPrefix} {
		if local, ok := strings.CutPrefix(name, prefix); ok {
			return prefix + tenant + string(nameSpaceDelim) + local
		}
	}
	return tenant + string(nameSpaceDelim) + name
}

// QueueOfGroup is the queue of a message group (sharding key) among n:
// consistent, so that few groups move when queues are added, and the one that
// RocketMQ's proxy picks.
func QueueOfGroup(group string, n int32) int32 {
	const multiplier = 2862933555777941757
	state := uint64(TagHash(group))
	for candidate := int32(0); ; {
		state = state*multiplier + 1
		fraction := float64(int32(state>>33)+1) / (1 << 31)
		next := float64(candidate+1) / fraction
		if next >= float64(n) {
			return candidate
		}
		candidate = int32(next)
	}
}
