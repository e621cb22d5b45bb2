package remoting

import (
	"cmp"
	"fmt"
	"time"

	wire "varve/internal/remoting"
)

// 28 GET_BROKER_RUNTIME_INFO: figures as a table of names and values.
//
// Versions: all.
//
// Behaviours: RocketMQ's names where it has the like. The three numbers of a
// rate are over the time since the last question, and since the start twice.
func (f *Front) getBrokerRuntimeInfo(*session, *wire.Command) (*wire.Command, error) {
	s := f.broker.Stats()
	now := time.Now()
	f.rates.mu.Lock()
	put := f.rates.put.tick(now, s.Sends)
	get := f.rates.get.tick(now, s.PulledMessages)
	f.rates.mu.Unlock()
	yesterday, today := f.broker.Mornings()
	first, end, oldest := f.broker.LogRange()
	table := map[string]string{
		"commitLogMinOffset":          fmt.Sprint(first),
		"commitLogMaxOffset":          fmt.Sprint(end),
		"earliestMessageTimeStamp":    fmt.Sprint(cmp.Or(oldest, now.UnixMilli())),
		"msgPutTotalYesterdayMorning": fmt.Sprint(yesterday.Puts),
		"msgPutTotalTodayMorning":     fmt.Sprint(today.Puts),
		"msgGetTotalYesterdayMorning": fmt.Sprint(yesterday.Gets),
		"msgGetTotalTodayMorning":     fmt.Sprint(today.Gets),
		"putMessageAverageSize":       fmt.Sprintf("%.1f", float64(s.SentBytes)/float64(max(1, s.Sends))),
		"commitLogDiskRatio":          fmt.Sprintf("%.4f", f.broker.DiskRatio()),
		"runtime":                     runtimeText(now.Sub(f.rates.start)),
		"brokerVersion":               fmt.Sprint(wire.Version),
		"brokerVersionDesc":           "varve",
		"brokerActive":                "true",
		"bootTimestamp":               fmt.Sprint(f.rates.start.UnixMilli()),
		"msgPutTotalTodayNow":         fmt.Sprint(s.Sends),
		"msgGetTotalTodayNow":         fmt.Sprint(s.PulledMessages),
		"putMessageTimesTotal":        fmt.Sprint(s.Sends),
		"putMessageSizeTotal":         fmt.Sprint(s.SentBytes),
		"putMessageFailed":            fmt.Sprint(s.SendErrors),
		"putTps":                      put,
		"getTransferedTps":            get, // the spelling that mqadmin reads
		"getTransferredTps":           get,
		"getTotalTps":                 get,
		"heldPulls":                   fmt.Sprint(s.HeldPulls),
		"coldReads":                   fmt.Sprint(s.ColdReads),
		"coldRouted":                  fmt.Sprint(s.ColdRouted),
		"timersPending":               fmt.Sprint(s.TimersPending),
		"topics":                      fmt.Sprint(s.Topics),
		"groups":                      fmt.Sprint(s.Groups),
	}
	for _, name := range noQueues {
		table[name] = "0"
	}
	return withJSON(struct {
		Table map[string]string `json:"table"`
	}{table})
}

// runtimeText is a span as RocketMQ's tools print it.
func runtimeText(d time.Duration) string {
	s := int64(d.Seconds())
	return fmt.Sprintf("[ %d days, %d hours, %d minutes, %d seconds ]", s/86400, s/3600%24, s/60%60, s%60)
}

// noQueues are RocketMQ's figures of thread pools and locks that this broker
// doesn't have; tools print them.
var noQueues = []string{
	"sendThreadPoolQueueSize", "sendThreadPoolQueueHeadWaitTimeMills",
	"pullThreadPoolQueueSize", "pullThreadPoolQueueHeadWaitTimeMills",
	"EndTransactionQueueSize", "EndTransactionThreadPoolQueueHeadWaitTimeMills", "pageCacheLockTimeMills",
}

// rate is a count's growth between two questions.
type rate struct {
	start, last time.Time
	count       int64
}

func (r *rate) tick(now time.Time, count int64) string {
	lately := perSecond(count-r.count, now.Sub(r.last))
	whole := perSecond(count, now.Sub(r.start))
	r.last, r.count = now, count
	return fmt.Sprintf("%.1f %.1f %.1f", lately, whole, whole)
}

func perSecond(n int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}
