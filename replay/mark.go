package replay

import (
	"bytes"
	"fmt"
	"strconv"

	"varve/internal/mq"
)

// Properties that a replayed message carries besides its own. A consumer can
// tell by them that a message is a replayed one and where it comes from.
const (
	PropJob    = "VARVE_REPLAY_JOB"
	PropQueue  = "VARVE_REPLAY_QUEUE" // mq.Queue's String
	PropOffset = "VARVE_REPLAY_OFFSET"
	propPrefix = "VARVE_REPLAY_"
)

// marker makes messages of one source queue into replayed ones.
type marker struct {
	job   string
	queue string
	topic string // destination
	id    int32  // destination queue
}

// mark makes a record the message to publish. The message aliases the record
// and the returned buffer, which begins with buf and ends with its properties.
func (k *marker) mark(buf []byte, r mq.Record, m *mq.Message) ([]byte, error) {
	var err error
	if *m, err = r.Decode(); err != nil {
		return buf, err
	}
	own := m.Properties
	if bytes.Contains(own, []byte(propPrefix)) {
		for _, name := range []string{PropJob, PropQueue, PropOffset} {
			own = mq.RemoveProperty(own, name) // of an earlier replay
		}
	}
	start := len(buf)
	buf = append(buf, own...)
	if n := len(own); n > 0 && own[n-1] != 2 {
		buf = append(buf, 2)
	}
	buf = appendPair(buf, PropJob, k.job)
	buf = appendPair(buf, PropQueue, k.queue)
	buf = append(append(buf, PropOffset...), 1)
	buf = append(strconv.AppendInt(buf, m.QueueOffset, 10), 2)
	if n := len(buf) - start; n > mq.MaxPropertiesLen {
		return buf, &unfitError{fmt.Sprintf("the message at %s offset %d can't be replayed: its properties leave no room for the %d bytes that a replay adds to them; leave it out by a filter or by offsets",
			k.queue, m.QueueOffset, n-len(own))}
	}
	m.Properties = buf[start:len(buf):len(buf)]
	m.Topic, m.QueueID = k.topic, k.id
	m.QueueOffset, m.PhysicalOffset, m.PreparedTransactionOffset = 0, 0, 0
	return buf, nil
}

// unfitError is a message that can't be replayed at all.
type unfitError struct{ msg string }

func (e *unfitError) Error() string { return e.msg }

func appendPair(b []byte, name, value string) []byte {
	b = append(append(b, name...), 1)
	return append(append(b, value...), 2)
}

// MatchTag lets every tag pass: marks are in the properties.
func (k *marker) MatchTag(int64) bool { return true }

// MatchRecord keeps what the marker's job wrote of its queue, so that a marker
// is the filter of a look through the destination.
func (k *marker) MatchRecord(r mq.Record) bool {
	props := r.Properties()
	job, _ := mq.Property(props, PropJob)
	if string(job) != k.job {
		return false
	}
	queue, _ := mq.Property(props, PropQueue)
	return string(queue) == k.queue
}

// sourceOffset reads the offset back that a message was replayed from.
func sourceOffset(r mq.Record) (int64, error) {
	v, _ := mq.Property(r.Properties(), PropOffset)
	off, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("replayed message at queue offset %d: its %s is %q", r.QueueOffset(), PropOffset, v)
	}
	return off, nil
}
