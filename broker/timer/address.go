package timer

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"varve/internal/mq"
)

// doneTopic has the records that name delivered entries. Its prefix keeps it
// out of the archive.
const doneTopic = "rmq_sys_timer_done"

// Separators of stored properties.
const (
	nameEnd  = 0x01
	valueEnd = 0x02
)

// Level readdresses a message to a delay level; one that is too high is the
// highest. The message's own TIMER_* properties are void then.
func (s *Store) Level(m *mq.Message, level int) {
	level = min(max(level, 1), len(s.o.Levels))
	props := without(m.Properties, mq.PropDelay, mq.PropTimerDeliverMs, mq.PropTimerDelayMs,
		mq.PropTimerDelaySec, mq.PropTimerOutMs, mq.PropRealTopic, mq.PropRealQueueID)
	props = mq.AppendProperty(props, mq.PropDelay, strconv.Itoa(level))
	readdress(m, props, mq.ScheduleTopic, int32(level-1))
}

// At readdresses a message to be delivered at a time, in milliseconds.
func (s *Store) At(m *mq.Message, dueMillis int64) {
	props := without(m.Properties, mq.PropTimerOutMs, mq.PropRealTopic, mq.PropRealQueueID)
	props = mq.AppendProperty(props, mq.PropTimerOutMs, strconv.FormatInt(dueMillis, 10))
	readdress(m, props, mq.TimerTopic, 0)
}

func readdress(m *mq.Message, props []byte, topic string, queue int32) {
	props = mq.AppendProperty(props, mq.PropRealTopic, m.Topic)
	m.Properties = mq.AppendProperty(props, mq.PropRealQueueID, strconv.Itoa(int(m.QueueID)))
	m.Topic, m.QueueID = topic, queue
}

// without copies properties but for some.
func without(stored []byte, names ...string) []byte {
	out := make([]byte, 0, len(stored)+96)
	for len(stored) > 0 {
		pair := stored
		if i := bytes.IndexByte(stored, valueEnd); i >= 0 {
			pair, stored = stored[:i], stored[i+1:]
		} else {
			stored = nil
		}
		i := bytes.IndexByte(pair, nameEnd)
		if i < 0 || slices.ContainsFunc(names, func(n string) bool { return n == string(pair[:i]) }) {
			continue
		}
		out = append(append(out, pair...), valueEnd)
	}
	return out
}

// due is when the message of a timer queue's record is to be delivered.
func (s *Store) due(r mq.Record, topic string) (int64, error) {
	if topic == mq.ScheduleTopic {
		level := min(int(r.QueueID()), len(s.o.Levels)-1)
		return r.StoreTimeMillis() + s.o.Levels[level].Milliseconds(), nil
	}
	v, _ := mq.Property(r.Properties(), mq.PropTimerOutMs)
	due, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil || due < 0 {
		return 0, fmt.Errorf("property %s is %q, want a time in milliseconds", mq.PropTimerOutMs, v)
	}
	if _, deletes := mq.Property(r.Properties(), mq.PropTimerDelete); deletes && due > 0 {
		due-- // before the message that it deletes
	}
	return due, nil
}

// original rebuilds the message that was held back, as it was sent. DELAY stays
// on it, as with RocketMQ: consumers read the level.
func original(r mq.Record) (mq.Message, error) {
	m, err := r.Decode()
	if err != nil {
		return m, err
	}
	m.Topic = m.Property(mq.PropRealTopic)
	queue, err := strconv.ParseInt(m.Property(mq.PropRealQueueID), 10, 32)
	if err != nil {
		return m, fmt.Errorf("property %s is %q, want a queue id", mq.PropRealQueueID, m.Property(mq.PropRealQueueID))
	}
	m.QueueID = int32(queue)
	m.Properties = without(m.Properties, mq.PropTimerOutMs, mq.PropRealTopic, mq.PropRealQueueID)
	return m, mq.CheckMessage(&m)
}
