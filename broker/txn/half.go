package txn

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"varve/internal/mq"
)

// Properties that only transactions have.
const (
	propTransactionID = "__transactionId__"
	propCheckTimes    = "TRANSACTION_CHECK_TIMES"
	propImmunity      = "CHECK_IMMUNITY_TIME_IN_SECONDS"
)

// GivenUpTopic gets the half messages that nobody would end.
const GivenUpTopic = "TRANS_CHECK_MAX_TIME_TOPIC"

// Verdict is what an end record says of a half message.
type Verdict byte

// Verdicts.
const (
	Commit   Verdict = 'c'
	Rollback Verdict = 'r'
	giveUp   Verdict = 'g'
	restore  Verdict = 'o' // open again
)

func (v Verdict) String() string {
	switch v {
	case Commit:
		return "committed"
	case Rollback:
		return "rolled back"
	case giveUp:
		return "given up"
	case restore:
		return "restored"
	}
	return fmt.Sprintf("verdict %q", byte(v))
}

// endLen is the length of an end record's body: physical offset and verdict.
const endLen = 8 + 1

func endBody(physical int64, v Verdict) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, endLen), uint64(physical)), byte(v))
}

func endOf(body []byte) (physical int64, v Verdict, ok bool) {
	if len(body) != endLen {
		return 0, 0, false
	}
	return int64(binary.BigEndian.Uint64(body)), Verdict(body[8]), true
}

// key is a half message's key in the meta store; keys sort like positions.
func key(physical int64) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(physical)))
}

func physicalOf(key string) (int64, error) {
	if len(key) != 8 {
		return 0, fmt.Errorf("transaction key of %d bytes, want 8", len(key))
	}
	return int64(binary.BigEndian.Uint64([]byte(key))), nil
}

// state is where a half message stands.
type state byte

const (
	open   state = iota
	ending       // the log has been given its end
	ended
	reopening // it was given up, and the log has been given its restoration
)

// half is one half message.
type half struct {
	physical, offset int64
	stored           int64 // milliseconds
	since            int64 // in doubt since then: stored, or restored
	topic, group     *tally
	immunity         time.Duration // age of the first question
	custom           bool          // the message itself says so

	state    state
	verdict  Verdict
	opAt     int64 // position of the newest end record that was taken in; 0 none
	followed bool  // read from the queue, or loaded
	saved    bool  // the meta store has the record
	rec      mq.Record

	checks  int
	asked   int64 // when, in milliseconds; 0 never
	due     int64 // of the next question
	inHeap  int   // place in the heap, -1 outside
	changed bool  // in Store.dirty
}

// tally counts the open half messages of a topic or a group.
type tally struct {
	name string
	open int
	refs int
}

// tallies are by name; one without halves is dropped.
type tallies map[string]*tally

func (t tallies) get(name []byte) *tally {
	x := t[string(name)]
	if x == nil {
		x = &tally{name: string(name)}
		t[x.name] = x
	}
	x.refs++
	return x
}

func (t tallies) put(x *tally) {
	if x.refs--; x.refs == 0 {
		delete(t, x.name)
	}
}

// schedule is a heap, soonest question first.
type schedule []*half

func (q schedule) Len() int           { return len(q) }
func (q schedule) Less(i, j int) bool { return q[i].due < q[j].due }
func (q schedule) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].inHeap, q[j].inHeap = i, j
}

// Push implements heap.Interface.
func (q *schedule) Push(x any) {
	h := x.(*half)
	h.inHeap = len(*q)
	*q = append(*q, h)
}

// Pop implements heap.Interface.
func (q *schedule) Pop() any {
	old := *q
	h := old[len(old)-1]
	old[len(old)-1] = nil
	h.inHeap = -1
	*q = old[:len(old)-1]
	return h
}

func (q *schedule) set(h *half, due int64) {
	h.due = due
	if h.inHeap >= 0 {
		heap.Fix(q, h.inHeap)
		return
	}
	heap.Push(q, h)
}

func (q *schedule) remove(h *half) {
	if h.inHeap >= 0 {
		heap.Remove(q, h.inHeap)
	}
}

// Prepare makes a half message of m: its topic and queue are noted in its
// properties. group is for a message that doesn't name its producer group, and
// id is its transaction's.
func (s *Store) Prepare(m *mq.Message, group, id string) {
	props := m.Properties
	for _, name := range []string{mq.PropRealTopic, mq.PropRealQueueID, propTransactionID, propCheckTimes} {
		if _, ok := mq.Property(props, name); ok { // or it could name any topic
			props = mq.RemoveProperty(props, name)
		}
	}
	if v, ok := mq.Property(props, mq.PropProducerGroup); !ok || len(v) == 0 {
		props = mq.SetProperty(props, mq.PropProducerGroup, group)
	}
	props = mq.AppendProperty(props, propTransactionID, id)
	props = mq.AppendProperty(props, mq.PropRealTopic, m.Topic)
	m.Properties = mq.AppendProperty(props, mq.PropRealQueueID, strconv.Itoa(int(m.QueueID)))
	m.SysFlag &^= mq.SysRollback
	m.Topic, m.QueueID = mq.HalfTopic, 0
}

// real rebuilds the message that a half stands for. Its properties are m's own;
// delayed says that it wants to be held back once it is committed.
func real(r mq.Record) (m mq.Message, delayed bool, err error) {
	m, err = r.Decode()
	if err != nil {
		return m, false, err
	}
	topic, queue := "", int32(-1)
	props := make([]byte, 0, len(m.Properties)+64) // room for those of a delay
	for rest := m.Properties; len(rest) > 0; {
		pair := rest
		if i := bytes.IndexByte(rest, 0x02); i >= 0 {
			pair, rest = rest[:i], rest[i+1:]
		} else {
			rest = nil
		}
		i := bytes.IndexByte(pair, 0x01)
		if i < 0 {
			continue
		}
		switch name, value := pair[:i], pair[i+1:]; string(name) {
		case mq.PropRealTopic:
			topic = string(value)
			continue
		case mq.PropRealQueueID:
			n, err := strconv.ParseInt(string(value), 10, 32)
			if err != nil {
				return m, false, fmt.Errorf("property %s is %q, want a queue id", mq.PropRealQueueID, value)
			}
			queue = int32(n)
			continue
		case mq.PropTransaction, propCheckTimes:
			continue
		case mq.PropDelay, mq.PropTimerDeliverMs, mq.PropTimerDelayMs, mq.PropTimerDelaySec:
			delayed = true
		}
		props = append(append(props, pair...), 0x02)
	}
	m.Topic, m.QueueID, m.Properties = topic, queue, props
	m.PreparedTransactionOffset = m.PhysicalOffset
	m.SysFlag = m.SysFlag&^mq.SysRollback | mq.SysCommit
	return m, delayed, mq.CheckMessage(&m)
}

// asSeen is a half message as its producer is shown it: under its real topic
// and queue, with the places that name the half, and the number of times that
// it has been asked about.
func asSeen(r mq.Record, checks int) (mq.Record, error) {
	m, err := r.Decode()
	if err != nil {
		return nil, err
	}
	crc := r.BodyCRC()
	topic := m.Property(mq.PropRealTopic)
	if topic == "" {
		return nil, fmt.Errorf("half message at physical offset %d has no property %s", m.PhysicalOffset, mq.PropRealTopic)
	}
	if n, err := strconv.ParseInt(m.Property(mq.PropRealQueueID), 10, 32); err == nil {
		m.QueueID = int32(n)
	}
	m.Topic = topic
	if checks > 0 {
		m.Properties = mq.SetProperty(m.Properties, propCheckTimes, strconv.Itoa(checks))
	}
	return mq.AppendRecordCRC(nil, &m, crc), nil
}
