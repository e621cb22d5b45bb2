package broker

import (
	"sync"
	"time"

	"varve/broker/traffic"
)

// What the parts call by their own names, for the fronts.
type (
	// TrafficKey names one series of Traffic.
	TrafficKey = traffic.Key
	// TrafficCounts is one series over the last minute, hour and day.
	TrafficCounts = traffic.Counts
	// TrafficCount is what fell into one window.
	TrafficCount = traffic.Count
)

// Kinds of traffic; a series without topic and group is the whole broker's.
const (
	TrafficPut      = traffic.Put
	TrafficGet      = traffic.Get
	TrafficSendBack = traffic.SendBack
)

// Traffic gives what passed lately: false where nothing of the series has since
// the process began.
func (b *Broker) Traffic(k TrafficKey) (TrafficCounts, bool) {
	return b.traffic.View(k, b.now())
}

// consumed counts messages of a topic that a group was given.
func (b *Broker) consumed(group, topic string, messages int, bytes int) {
	b.quotas.Read(topic, messages, int64(bytes))
	b.stats.pulledMessages.Add(int64(messages))
	b.stats.pulledBytes.Add(int64(bytes))
	b.traffic.Add(TrafficKey{Kind: TrafficGet, Topic: topic, Group: group}, int64(messages), int64(bytes))
}

// Morning is the broker's counts of messages at a midnight.
type Morning struct{ Puts, Gets int64 }

// mornings remembers the counts at the last two midnights.
type mornings struct {
	mu               sync.Mutex
	day              time.Time // midnight of today
	yesterday, today Morning
}

func midnight(t time.Time) time.Time {
	y, m, d := t.Date()
	return time.Date(y, m, d, 0, 0, 0, 0, t.Location())
}

func (m *mornings) tick(now time.Time, puts, gets int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if day := midnight(now); day.After(m.day) {
		m.day, m.yesterday, m.today = day, m.today, Morning{puts, gets}
	}
}

// Mornings gives the counts of messages at the last two midnights; zero before
// the process began.
func (b *Broker) Mornings() (yesterday, today Morning) {
	b.mornings.mu.Lock()
	defer b.mornings.mu.Unlock()
	return b.mornings.yesterday, b.mornings.today
}

// tickTraffic notes what has passed since the last tick.
func (b *Broker) tickTraffic(now time.Time) {
	c := &b.stats
	puts, gets := c.sends.Load(), c.pulledMessages.Load()
	b.traffic.Set(TrafficKey{Kind: TrafficPut}, puts, c.sentBytes.Load(), puts)
	b.traffic.Set(TrafficKey{Kind: TrafficGet}, gets, c.pulledBytes.Load(), c.pulls.Load())
	b.traffic.Tick(now)
	b.mornings.tick(now, puts, gets)
}
