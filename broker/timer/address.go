package timer

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"time"

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

// propSpan is the delay of a held message that is due a while after it was sent
// and not at a time, in milliseconds.
const propSpan = "TIMER_SPAN_MS"

// Level readdresses a message to a delay level; one that is too high is the
// highest. The message's own TIMER_* properties are void then. The delay begins
// now, not with the log's time for the message: that may be ahead, for ever, of
// a clock that was ahead once. It gives the time at which it is due.
func (s *Store) Level(m *mq.Message, level int) (dueMillis int64) {
	level = min(max(level, 1), len(s.o.Levels))
	props := without(m.Properties, mq.PropDelay, mq.PropTimerDeliverMs, mq.PropTimerDelayMs,
		mq.PropTimerDelaySec, mq.PropTimerOutMs, propSpan, mq.PropRealTopic, mq.PropRealQueueID)
	props = mq.AppendProperty(props, mq.PropDelay, strconv.Itoa(level))
	props, dueMillis = s.after(props, s.Delay(level))
	readdress(m, props, mq.ScheduleTopic, int32(level-1))
	return dueMillis
}

// After readdresses a message to be delivered a while from now, and gives the
// time at which it is due.
func (s *Store) After(m *mq.Message, d time.Duration) (dueMillis int64) {
	props := without(m.Properties, mq.PropTimerOutMs, propSpan, mq.PropRealTopic, mq.PropRealQueueID)
	props, dueMillis = s.after(props, d)
	readdress(m, props, mq.TimerTopic, 0)
	return dueMillis
}

func (s *Store) after(props []byte, d time.Duration) (_ []byte, dueMillis int64) {
	dueMillis = s.o.Now().Add(d).UnixMilli()
	props = mq.AppendProperty(props, mq.PropTimerOutMs, strconv.FormatInt(dueMillis, 10))
	return mq.AppendProperty(props, propSpan, strconv.FormatInt(d.Milliseconds(), 10)), dueMillis
}

// At readdresses a message to be delivered at a time, in milliseconds.
func (s *Store) At(m *mq.Message, dueMillis int64) {
	props := without(m.Properties, mq.PropTimerOutMs, propSpan, mq.PropRealTopic, mq.PropRealQueueID)
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
	v, ok := mq.Property(r.Properties(), mq.PropTimerOutMs)
	if !ok && topic == mq.ScheduleTopic { // of the time before Level noted it
		return r.StoreTimeMillis() + s.levelOf(r).Milliseconds(), nil
	}
	due, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil || due < 0 {
		return 0, fmt.Errorf("property %s is %q, want a time in milliseconds", mq.PropTimerOutMs, v)
	}
	if _, deletes := mq.Property(r.Properties(), mq.PropTimerDelete); deletes && due > 0 {
		due-- // before the message that it deletes
	}
	return due, nil
}

// levelOf is the delay of a record of the topic of delay levels.
func (s *Store) levelOf(r mq.Record) time.Duration {
	return s.o.Levels[min(int(r.QueueID()), len(s.o.Levels)-1)]
}

// span is how long a held message was to wait; ok is false for one that is due
// at a time.
func (s *Store) span(r mq.Record) (d time.Duration, ok bool) {
	if v, has := mq.Property(r.Properties(), propSpan); has {
		if n, err := strconv.ParseInt(string(v), 10, 64); err == nil && n >= 0 {
			return time.Duration(n) * time.Millisecond, true
		}
	}
	if string(r.Topic()) == mq.ScheduleTopic {
		return s.levelOf(r), true
	}
	return 0, false
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
	m.Properties = without(m.Properties, mq.PropTimerOutMs, propSpan, mq.PropRealTopic, mq.PropRealQueueID)
	return m, mq.CheckMessage(&m)
}
