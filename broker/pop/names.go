package pop

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"varve/internal/mq"
)

const (
	retrySeparator = '_'
	digestLen      = 32 // of a shortened name, in hex digits
)

// RetryTopic is where a group's unacked messages of a topic are given out
// again: RocketMQ's %RETRY%group_topic. A name that is too long for a record
// ends in a digest of the whole.
func RetryTopic(group, topic string) string {
	return shorten(mq.RetryPrefix + group + string(retrySeparator) + topic)
}

// RetryTopicOf is RetryTopic for a topic that may be the retry topic already,
// in its full length or not.
func RetryTopicOf(group, topic string) string {
	if strings.HasPrefix(topic, mq.RetryPrefix) {
		return shorten(topic)
	}
	return RetryTopic(group, topic)
}

func shorten(name string) string {
	if len(name) <= mq.MaxTopicLen {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:mq.MaxTopicLen-digestLen-1] + string(retrySeparator) + hex.EncodeToString(sum[:digestLen/2])
}
