package hot

import (
	"cmp"
	"slices"
	"sort"
	"sync"

	"varve/hot/index"
	"varve/internal/mq"
)

// queue is one queue's state. An idle one costs about 100 bytes: its index is
// in Pebble but for the entries since the last checkpoint.
type queue struct {
	topic *topic
	uid   uint64
	id    int32
	next  int64 // next offset to give out; the committer's own

	mu    sync.Mutex
	gone  bool  // the topic was deleted
	dirty bool  // it is in Store.dirty
	start int64 // first offset that the log holds
	// base is the offset of tail[0]; what is below is in Pebble.
	base     int64
	tail     []index.Entry
	archived int64
	dropped  int64 // start of the last trim that went past the archived mark, or when the archive was abandoned
	removed  int64 // the archive's retention has removed what is below
}

// end is the hot end. mu must be held.
func (q *queue) end() int64 { return q.base + int64(len(q.tail)) }

// rng is what readers are shown: what retention removed from the archive is not
// shown any more, though the log may still hold it. A mark that came before the
// archived one it belongs to waits for that.
func (q *queue) rng() mq.Range {
	q.mu.Lock()
	defer q.mu.Unlock()
	return mq.Range{From: max(q.start, min(q.removed, q.archived)), To: q.end()}
}

// held is what the log holds, shown or not.
func (q *queue) held() mq.Range {
	q.mu.Lock()
	defer q.mu.Unlock()
	return mq.Range{From: q.start, To: q.end()}
}

// topic is the queues of one topic in order of their ids.
type topic struct {
	name   string
	queues []*queue
}

func (t *topic) find(id int32) *queue {
	if int(id) < len(t.queues) && id >= 0 && t.queues[id].id == id {
		return t.queues[id]
	}
	i, ok := slices.BinarySearchFunc(t.queues, id, func(q *queue, id int32) int { return cmp.Compare(q.id, id) })
	if !ok {
		return nil
	}
	return t.queues[i]
}

func (t *topic) insert(q *queue) {
	i := sort.Search(len(t.queues), func(i int) bool { return t.queues[i].id > q.id })
	t.queues = slices.Insert(t.queues, i, q)
}

// find gives a queue, nil where there is none.
func (s *Store) find(q mq.Queue) *queue {
	if q.Broker != s.o.Broker {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if t := s.topics[q.Topic]; t != nil {
		return t.find(q.ID)
	}
	return nil
}

// addQueue makes a queue known. Only the committer calls it, or Open.
func (s *Store) addQueue(q *queue, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[name]
	if t == nil {
		t = &topic{name: name}
		s.topics[name] = t
	}
	q.topic = t
	t.insert(q)
	s.queueCount++
}

// allQueues gives every queue, in no particular order.
func (s *Store) allQueues() []*queue {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]*queue, 0, s.queueCount)
	for _, t := range s.topics {
		out = append(out, t.queues...)
	}
	return out
}

// Queues gives every queue that the store has, in order of topic and id.
func (s *Store) Queues() []mq.Queue {
	qs := s.allQueues()
	out := make([]mq.Queue, 0, len(qs))
	for _, q := range qs {
		out = append(out, mq.Queue{Broker: s.o.Broker, Topic: q.topic.name, ID: q.id})
	}
	slices.SortFunc(out, func(a, b mq.Queue) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// QueuesOf gives a topic's queues, in order of their ids.
func (s *Store) QueuesOf(topic string) []mq.Queue {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.topics[topic]
	if t == nil {
		return nil
	}
	out := make([]mq.Queue, len(t.queues))
	for i, q := range t.queues {
		out[i] = mq.Queue{Broker: s.o.Broker, Topic: topic, ID: q.id}
	}
	return out
}

// Unarchived counts the messages above their queues' archived marks, of the
// topics that are wanted.
func (s *Store) Unarchived(wanted func(topic string) bool) (n int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for name, t := range s.topics {
		if !wanted(name) {
			continue
		}
		for _, q := range t.queues {
			q.mu.Lock()
			end := q.end()
			n += end - min(end, max(q.start, q.archived))
			q.mu.Unlock()
		}
	}
	return n
}

// Topics gives every topic that has a queue in the store, in order.
func (s *Store) Topics() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]string, 0, len(s.topics))
	for name := range s.topics {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// markDirty notes that a queue has entries that are not in Pebble. q.mu must
// be held.
func (s *Store) markDirty(q *queue) {
	if q.dirty {
		return
	}
	q.dirty = true
	s.dirtyMu.Lock()
	s.dirty = append(s.dirty, q)
	s.dirtyMu.Unlock()
}

func (s *Store) takeDirty() []*queue {
	s.dirtyMu.Lock()
	defer s.dirtyMu.Unlock()
	out := s.dirty
	s.dirty = nil
	return out
}
