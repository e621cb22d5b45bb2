package connector

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/typed"
)

// topic is one topic of the log during a session.
type topic struct {
	name string
	// from is the position from which on the log's records are of this
	// incarnation: where the topic was deleted last, as far as it is known.
	from   int64
	system bool // the broker's own machinery: skipped
	queues map[int32]*queue

	open        map[*segment]struct{} // segments that take records
	outstanding int                   // frozen segments whose file is not uploaded yet
	ready       int                   // uploaded files that wait for a commit
	readySince  time.Time
	committing  bool
	inLine      bool // it is in session.readyTo
	// damaged is why the topic's table can't be read. Nothing of the topic is
	// archived then, and the log keeps its messages.
	damaged error
	// gone says that the topic was deleted, or that its table was: what is
	// under way for it is let go.
	gone bool
	// over is gone for jobs.
	over atomic.Bool
	// refused is the schema whose columns the table can't take.
	refused atomic.Pointer[typed.Layout]

	// mu guards what follows; jobs and commits open the table.
	mu    sync.Mutex
	table *archive.Table
	// fenced says that this session has claimed the table.
	fenced bool
	// expect is where the session found the table's queues when it began.
	expect map[int32]int64
	// former is the incarnation before, whose table is dropped before this
	// one's is made; nil for none.
	former *topic
	// closed says that no table may be opened any more.
	closed bool
}

// queue is one queue of a topic.
type queue struct {
	id    mq.Queue
	topic *topic
	// next is the offset that the tail must give next; known is false until
	// there is one to expect.
	next  int64
	known bool
	// lastPhysical is the position of the record before next; -1 for none.
	lastPhysical int64
	// mark is the first offset that is not in a committed snapshot.
	mark int64
	open *segment
	// frozen are the segments between mark and open, in order.
	frozen []*segment
	// blocked is the position of the first record after a gap, or of one that is
	// lost, from which on nothing of the queue is archived; -1 for none.
	blocked int64
	// gap is what the next segment leaves out, as the user chose.
	gap mq.Range
}

// segment is a run of a queue's records that becomes one file. bytes counts
// stored records; blocks hold them until the segment has shed them.
type segment struct {
	q             *queue
	from, to      int64
	gap           mq.Range // declared to be missing before it; empty for none
	firstPhysical int64
	firstStore    int64
	bytes         int64
	since         time.Time
	blocks        [][]byte
	shed          bool // not staged: the job reads the hot log
	dropped       bool // a record before it, or its first, is lost
	done          bool // committed, or let go
	file          *archive.DataFile
}

func (s *session) topicOf(name []byte) *topic {
	if t := s.latest; t != nil && !t.gone && string(name) == t.name {
		return t
	}
	if t := s.topics[string(name)]; t != nil {
		s.latest = t
		return t
	}
	t := &topic{name: string(name), from: s.endings[string(name)], queues: map[int32]*queue{}, open: map[*segment]struct{}{}}
	t.system = mq.SystemTopic(t.name)
	s.topics[t.name] = t
	return t
}

func (s *session) queueOf(t *topic, id int32) *queue {
	q := t.queues[id]
	if q == nil {
		q = &queue{id: mq.Queue{Broker: s.c.cfg.Broker, Topic: t.name, ID: id}, topic: t, lastPhysical: -1, blocked: -1}
		t.queues[id] = q
	}
	return q
}

// stage adds a record to its queue's open segment.
func (s *session) stage(q *queue, rec mq.Record) {
	g := q.open
	if g == nil {
		g = &segment{
			gap: q.gap, q: q, from: rec.QueueOffset(), firstPhysical: rec.PhysicalOffset(),
			firstStore: rec.StoreTimeMillis(), since: s.c.cfg.Now(),
		}
		q.open, q.gap = g, mq.Range{}
		q.topic.open[g] = struct{}{}
		s.open++
		s.line.add(g)
	}
	g.to = rec.QueueOffset() + 1
	g.bytes += int64(len(rec))
	q.next, q.known, q.lastPhysical = g.to, true, rec.PhysicalOffset()
	if at := g.since.Add(s.roll.wait(g.bytes, s.open)); at.Before(s.due) {
		s.due = at
	}
	if !g.shed {
		s.keep(g, rec)
	}
	if g.bytes >= s.c.cfg.FileBytes {
		s.freeze(g)
	}
}

// keep copies a record into the segment's blocks.
func (s *session) keep(g *segment, rec mq.Record) {
	n := len(g.blocks)
	if n == 0 || cap(g.blocks[n-1])-len(g.blocks[n-1]) < len(rec) {
		size := max(min(max(minBlock, int(g.bytes)), maxBlock), len(rec))
		var block []byte
		if k := len(s.spare); size == maxBlock && k > 0 {
			block, s.spare = s.spare[k-1], s.spare[:k-1]
		} else {
			block = make([]byte, 0, size)
		}
		g.blocks = append(g.blocks, block)
		s.staged += int64(cap(block))
		n++
	}
	g.blocks[n-1] = append(g.blocks[n-1], rec...)
}

// memory is what the segment's blocks take.
func (g *segment) memory() (n int64) {
	for _, b := range g.blocks {
		n += int64(cap(b))
	}
	return n
}

// unstage lets go of a segment's staged records. Whole blocks are used again.
func (s *session) unstage(g *segment) {
	s.staged -= g.memory()
	for _, b := range g.blocks {
		if cap(b) == maxBlock && len(s.spare) < maxSpare {
			s.spare = append(s.spare, b[:0])
		}
	}
	g.blocks, g.shed = nil, true
}

// freeze closes a segment: it becomes a file.
func (s *session) freeze(g *segment) {
	g.q.open = nil
	delete(g.q.topic.open, g)
	s.closed()
	g.q.frozen = append(g.q.frozen, g)
	g.q.topic.outstanding++
	s.waiting = append(s.waiting, g)
}

// closed counts a segment that takes no more. The others wait for less time
// now.
func (s *session) closed() {
	s.open--
	s.due = time.Time{}
}

// discard forgets everything of a topic that is not committed.
func (s *session) discard(t *topic) {
	t.gone = true
	t.over.Store(true)
	for _, q := range t.queues {
		if q.open != nil {
			s.unstage(q.open)
			s.closed()
			s.line.done(q.open)
		}
		for _, g := range q.frozen {
			s.line.done(g)
		}
		s.blocks.remove(q)
		q.open, q.frozen = nil, nil
	}
	clear(t.open)
	t.ready = 0
	s.unblock(t.name)
	if s.topics[t.name] == t {
		delete(s.topics, t.name)
	}
}

// makeRoom keeps staged records within the budget and reports whether more may
// be taken. Beyond the budget the largest segment is rolled where that makes a
// file worth having; where it doesn't, segments shed what they staged. It is
// false only while jobs run, and the end of one is the time to ask again.
func (s *session) makeRoom() bool {
	if len(s.waiting) >= maxWaiting {
		return false
	}
	budget := max(s.c.cfg.MemoryBytes-tailBytes, s.c.cfg.MemoryBytes/2)
	if s.staged <= budget {
		return true
	}
	if s.encoding+len(s.waiting) > s.c.cfg.Encoders {
		return false
	}
	open := s.stagedOpen()
	if len(open) > 0 && open[0].bytes >= s.c.cfg.SmallBytes {
		s.freeze(open[0])
		return false
	}
	if s.encoding+len(s.waiting) > 0 {
		return false
	}
	for _, g := range open {
		if s.staged <= budget*3/4 {
			break
		}
		s.unstage(g)
	}
	return true
}

// stagedOpen gives the open segments that hold staged records, the largest
// first.
func (s *session) stagedOpen() []*segment {
	var out []*segment
	for _, t := range s.topics {
		for g := range t.open {
			if !g.shed {
				out = append(out, g)
			}
		}
	}
	slices.SortFunc(out, func(a, b *segment) int { return cmp.Compare(b.bytes, a.bytes) })
	return out
}
