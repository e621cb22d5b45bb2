package connector

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"varve/internal/mq"
)

// manual is a session without goroutines.
type manual struct {
	*session
	now time.Time
}

func newManual() *manual {
	m := &manual{now: time.Unix(1_700_000_000, 0)}
	cfg := Config{Broker: broker, Now: func() time.Time { return m.now }}.withDefaults()
	m.session = &session{
		c: &Connector{cfg: cfg}, topics: map[string]*topic{}, older: map[string]bool{},
		roll: rollRule{age: cfg.RollAge, ageMax: cfg.RollAgeMax, small: cfg.SmallBytes, filesPerSecond: cfg.FilesPerSecond},
	}
	return m
}

// record stages a message of a queue.
func (m *manual) record(topic string, id int32, size int) *queue {
	q := m.queueOf(m.topicOf([]byte(topic)), id)
	rec := mq.Record(mq.AppendRecord(nil, &mq.Message{
		Topic: topic, QueueID: id, Body: make([]byte, size), QueueOffset: q.next, PhysicalOffset: m.pos, StoreTimeMillis: m.pos + 1,
	}))
	m.pos += int64(len(rec))
	m.stage(q, rec)
	return q
}

// look looks for what is due, whatever the last look cost.
func (m *manual) look() {
	m.ageing = rest{}
	m.rollByAge()
}

// Nobody looks at the segments while none can be due. One that has grown is due
// sooner, and so are all when fewer are open.
func TestSegmentsAreLookedAtWhenDue(t *testing.T) {
	m := newManual()
	first := m.record("t", 0, 10).open
	other := m.record("t", 1, 10).open
	m.look()
	first.since = m.now.Add(-time.Hour) // nothing has told of it
	for range 100 {
		m.now = m.now.Add(tick)
		m.look()
	}
	if m.open != 2 {
		t.Error("the segments were looked at while none could be due")
	}
	first.since = other.since
	m.now = other.since.Add(time.Minute)
	m.look()
	if m.record("t", 1, 8<<20); m.open != 2 {
		t.Errorf("%d segments are open", m.open)
	}
	if m.look(); m.open != 1 || m.queueOf(first.q.topic, 1).open != nil {
		t.Error("a segment that has grown is not rolled in time")
	}
	m.now = first.since.Add(5*time.Minute - 1)
	if m.look(); m.open != 1 {
		t.Error("a segment is rolled too soon")
	}
	m.now = m.now.Add(1)
	if m.look(); m.open != 0 {
		t.Error("a segment is not rolled when it is due")
	}
}

func TestFewerOpenSegmentsWaitLess(t *testing.T) {
	m := newManual()
	const many = 10_000 // each waits for 625 s
	for i := range many {
		m.record(fmt.Sprint("t", i), 0, 10)
	}
	m.look()
	for _, topic := range m.topics {
		if topic.name != "t7" {
			m.discard(topic)
		}
	}
	m.now = m.now.Add(5 * time.Minute)
	if m.look(); m.open != 0 {
		t.Errorf("%d segments are open after the longest time that one alone waits", m.open)
	}
}

// What a flush waits for is rolled topic by topic, for one commit each.
func TestFlushRollsTopicsTogether(t *testing.T) {
	m := newManual()
	f := &flushRequest{targets: map[mq.Queue]int64{}, done: make(chan struct{})}
	for q := range int32(8) {
		for i := range 200 {
			f.targets[m.record(fmt.Sprint("t", i), q, 10).id] = 1
		}
	}
	m.record("t0", 99, 10) // came later, and isn't waited for
	m.c.flushes = []*flushRequest{f}
	m.lookAtFlushes()
	if len(m.waiting) != 200*8 || m.open != 1 {
		t.Fatalf("%d segments are rolled, %d open", len(m.waiting), m.open)
	}
	for i := 0; i < len(m.waiting); i += 8 {
		for _, g := range m.waiting[i : i+8] {
			if g.q.topic != m.waiting[i].q.topic {
				t.Fatalf("segment %d is of %s, beside %s", i, g.q.topic.name, m.waiting[i].q.topic.name)
			}
		}
	}
}

// The low-water mark is that of the topics, whatever is committed, let go and
// blocked in which order.
func TestLowWaterOfMany(t *testing.T) {
	for seed := range uint64(20) {
		m, rng := newManual(), rand.New(rand.NewPCG(seed, 7))
		for step := range 3000 {
			name := fmt.Sprint("t", rng.IntN(12))
			switch k := rng.IntN(100); {
			case k < 70:
				m.record(name, int32(rng.IntN(3)), 10)
			case k < 97:
				m.commitSome(name, rng)
			case k < 98:
				if q := m.queueOf(m.topicOf([]byte(name)), 0); q.blocked < 0 && q.open != nil {
					m.block(q, q.open.firstPhysical+1, errors.New("tried"))
				}
			default:
				m.discard(m.topicOf([]byte(name)))
			}
			at, stored := m.lowWater()
			wantAt, wantStored := m.pos, int64(0)
			for _, topic := range m.topics {
				if p, st := topic.lowWater(wantAt, nil); p < wantAt {
					wantAt, wantStored = p, st
				}
			}
			if at != wantAt || stored != wantStored {
				t.Fatalf("seed %d step %d: low water %d (%d), want %d (%d)", seed, step, at, stored, wantAt, wantStored)
			}
		}
		if n := len(m.line.segments); n > 3000 {
			t.Errorf("%d segments are remembered", n)
		}
	}
}

// commitSome rolls what is open of a topic's queue, or commits what was rolled.
func (m *manual) commitSome(name string, rng *rand.Rand) {
	q := m.queueOf(m.topicOf([]byte(name)), int32(rng.IntN(3)))
	if q.open != nil && rng.IntN(2) == 0 {
		m.freeze(q.open)
		m.waiting = m.waiting[:0]
	}
	if len(q.frozen) > 0 {
		m.line.done(q.frozen[0])
		q.frozen = q.frozen[1:]
	}
}

// A line forgets segments although its first is never done.
func TestLineForgetsWhatIsDone(t *testing.T) {
	var l line
	first := &segment{}
	l.add(first)
	for range 10_000 {
		g := &segment{}
		l.add(g)
		l.done(g)
	}
	if n := len(l.segments); n > 4*minLine || l.first() != first {
		t.Errorf("%d segments are kept", n)
	}
}
