package remoting

import (
	"fmt"
	"math"
	"strings"
	"time"

	wire "varve/internal/remoting"
)

// 26 GET_BROKER_CONFIG: settings as properties text, under RocketMQ's names
// where it has the like.
//
// Versions: all.
func (f *Front) getBrokerConfig(*session, *wire.Command) (*wire.Command, error) {
	c := f.broker.Config()
	var b strings.Builder
	for _, kv := range []struct {
		name  string
		value any
	}{
		{"autoCreateSubscriptionGroup", c.AutoCreateGroups},
		{"autoCreateTopicEnable", c.AutoCreateTopics},
		{"brokerClusterName", c.Cluster},
		{"brokerId", 0},
		{"brokerIP1", c.StoreHost.Addr()},
		{"brokerName", c.Broker},
		{"brokerRole", "ASYNC_MASTER"},
		{"channelExpiredTimeout", c.ClientExpiry.Milliseconds()},
		{"defaultTopicQueueNums", c.DefaultQueues},
		{"enablePropertyFilter", true},
		{"flushConsumerOffsetInterval", c.OffsetFlush.Milliseconds()},
		{"listenPort", c.StoreHost.Port()},
		{"maxMessageSize", c.MaxBodyBytes},
		{"maxTransferCountOnMessageInMemory", c.MaxPullMessages},
		{"messageDelayLevel", c.DelayLevels},
		{"regionId", c.Region},
		{"timerMaxDelaySec", maxDelaySeconds(c.MaxTimerDelay)},
		{"traceOn", c.TraceOn},
		{"useServerSideResetOffset", !f.broker.Live().ResetByClients},
	} {
		fmt.Fprintf(&b, "%s=%v\n", kv.name, kv.value)
	}
	return &wire.Command{Body: []byte(b.String())}, nil
}

// maxDelaySeconds is the bound on delays, the largest number that RocketMQ's
// tools read where there is none.
func maxDelaySeconds(limit time.Duration) int64 {
	if limit == 0 {
		return math.MaxInt32
	}
	return int64(limit.Seconds())
}
