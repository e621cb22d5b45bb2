package hot

import (
	"cmp"
	"fmt"
	"slices"

	"varve/hot/index"
	"varve/hot/segment"
	"varve/internal/mq"
)

// Lost is a record that the log has and can't give.
type Lost struct {
	Queue    mq.Queue
	Offset   int64
	Position int64
	Err      error // names the file and the position
}

// Past goes on where Next has met damage: through the next stretch of about
// maxBytes at most, record by record as the queue index names them, which keeps
// a checksum of each. records are those that are what was written, lost the
// others, both in the order of the log; next is where Next can be tried again,
// or Past, if that fails too. A queue whose index can't be read is lost from
// here on, whatever it has in the stretch. The records are valid until the next
// call.
func (t *Tail) Past(maxBytes int) (records []byte, lost []Lost, next int64, err error) {
	s := t.s
	if err := s.enter(); err != nil {
		return nil, nil, t.at, err
	}
	defer s.leave()
	t.g, t.rest, t.out = nil, nil, t.out[:0]
	limit := min(s.durable.Load(), s.confirmed.Load())
	if first := s.files.first(); t.at < first {
		return nil, nil, t.at, fmt.Errorf("following the log past damage at position %d: %w: the log begins at %d", t.at, ErrTrimmed, first)
	}
	g := s.files.acquireFrom(t.at)
	if g == nil || t.at >= limit {
		if g != nil {
			s.letGo([]*seg{g})
		}
		return nil, nil, t.at, nil
	}
	defer s.letGo([]*seg{g})
	limit = min(limit, g.end.Load())
	places, lost := s.placesIn(t.at, min(limit, t.at+int64(maxBytes)), limit)
	n, end := s.untilBatch(g, places, limit)
	for _, p := range places[:n] {
		r, err := s.one(g, want{off: p.off, pos: p.Pos, size: p.Size, sum: p.Sum}, limit)
		if err != nil {
			lost = append(lost, Lost{Queue: s.nameOf(p.q), Offset: p.off, Position: p.Pos, Err: err})
			continue
		}
		t.out = append(t.out, r...)
	}
	slices.SortStableFunc(lost, func(a, b Lost) int { return cmp.Compare(a.Position, b.Position) })
	t.at = end
	return t.out, lost, end, nil
}

func (s *Store) nameOf(q *queue) mq.Queue {
	return mq.Queue{Broker: s.o.Broker, Topic: q.topic.name, ID: q.id}
}

// one reads a record as any reader does.
func (s *Store) one(g *seg, w want, end int64) (mq.Record, error) {
	rd := reading{lim: bounded(mq.Limit{})}
	rd.reserve(int(w.size))
	err := s.fetchFrom(&rd, g, []want{w}, end)
	return rd.body, err
}

// indexed is a record as the queue index has it.
type indexed struct {
	q   *queue
	off int64
	index.Entry
}

// placesIn gives the records of all queues that begin in [from, to), in the
// order of the log; where there is none, those of the next stretch below limit
// that has any. lost are queues whose index can't be read.
func (s *Store) placesIn(from, to, limit int64) (places []indexed, lost []Lost) {
	for {
		places, lost = nil, nil
		for _, q := range s.allQueues() {
			off, err := s.entriesIn(q, from, to, &places)
			if err != nil {
				lost = append(lost, Lost{Queue: s.nameOf(q), Offset: off, Position: from, Err: err})
			}
		}
		if len(places) > 0 || to >= limit {
			break
		}
		to = min(limit, to+(to-from))
	}
	slices.SortFunc(places, func(a, b indexed) int { return cmp.Compare(a.Pos, b.Pos) })
	return places, lost
}

// entriesIn appends a queue's records that begin in [from, to). The offset is
// the one that an error is about.
func (s *Store) entriesIn(q *queue, from, to int64, places *[]indexed) (off int64, err error) {
	had := len(*places)
	for {
		r := q.held()
		off, err = s.firstAt(q, r, from)
		for err == nil && off < r.To {
			var e index.Entry
			if e, err = s.entry(q, off); err != nil || e.Pos >= to {
				break
			}
			*places = append(*places, indexed{q, off, e})
			off++
		}
		if err == nil {
			return off, nil
		}
		*places = (*places)[:had]
		q.mu.Lock()
		gone, start := q.gone, q.start
		q.mu.Unlock()
		if gone {
			return off, nil
		}
		if start == r.From {
			return off, fmt.Errorf("the index of %v at offset %d: %w", s.nameOf(q), off, err)
		} // else trimmed under the search
	}
}

// firstAt gives a queue's first offset whose record begins at a position or
// after it, or with an error the one that it is about.
func (s *Store) firstAt(q *queue, r mq.Range, pos int64) (int64, error) {
	lo, hi := r.From, r.To
	for lo < hi {
		mid := lo + (hi-lo)/2
		e, err := s.entry(q, mid)
		if err != nil {
			return mid, err
		}
		if e.Pos >= pos {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo, nil
}

// untilBatch finds the first good batch behind one of the records: n are those
// before it, end is where it begins. Where there is none below limit, end is
// where the last of them ends, or limit if there are no records at all.
func (s *Store) untilBatch(g *seg, places []indexed, limit int64) (n int, end int64) {
	end = limit
	for i, p := range places {
		end = p.Pos + int64(p.Size)
		if i+1 < len(places) && places[i+1].Pos == end {
			continue // of the same batch
		}
		at := end + segment.TrailerLen
		if at >= limit {
			return i + 1, limit
		}
		if _, err := segment.NewScanner(g.f, g.base, at, limit, g.epoch).Next(); err == nil {
			return i + 1, at
		}
	}
	return len(places), end
}

// Position gives where the record of an offset begins in the log, as the queue
// index has it. The record is not read, so damage of it is no matter.
func (s *Store) Position(q mq.Queue, at int64) (int64, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	h := s.find(q)
	if h == nil {
		return 0, fmt.Errorf("position of %v: %w", q, mq.ErrNoQueue)
	}
	var e index.Entry
	r := h.held()
	err := mq.ErrTooHigh
	if at < r.To {
		e, err = s.entry(h, at)
		if r = h.held(); at < r.From {
			err = mq.ErrTooLow
		}
	}
	if err != nil {
		return 0, fmt.Errorf("position of %v at offset %d of [%d, %d): %w", q, at, r.From, r.To, err)
	}
	return e.Pos, nil
}
