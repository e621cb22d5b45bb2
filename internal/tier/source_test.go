package tier

import (
	"context"
	"sort"
	"sync"

	"varve/internal/mq"
)

// side is a Source in memory whose queues show a movable window.
type side struct {
	mu     sync.RWMutex
	recs   map[mq.Queue][]mq.Record // from offset 0
	window map[mq.Queue]mq.Range
	places map[int64]placed // by physical offset
}

type placed struct {
	q  mq.Queue
	at int64
}

func newSide() *side {
	return &side{recs: map[mq.Queue][]mq.Record{}, window: map[mq.Queue]mq.Range{}, places: map[int64]placed{}}
}

func (s *side) add(broker string, m *mq.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := mq.Queue{Broker: broker, Topic: m.Topic, ID: m.QueueID}
	s.recs[q] = append(s.recs[q], mq.AppendRecord(nil, m))
	w := s.window[q]
	s.places[m.PhysicalOffset] = placed{q, w.To}
	w.To++
	s.window[q] = w
}

func (s *side) show(q mq.Queue, w mq.Range) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window[q] = w
}

func (s *side) hide(q mq.Queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.window, q)
}

func (s *side) Range(_ context.Context, q mq.Queue) (mq.Range, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	w, ok := s.window[q]
	if !ok {
		return w, mq.ErrNoQueue
	}
	return w, nil
}

func (s *side) Read(_ context.Context, q mq.Queue, at int64, lim mq.Limit) (mq.Batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.window[q]
	switch {
	case !ok:
		return mq.Batch{}, mq.ErrNoQueue
	case at < w.From:
		return mq.Batch{}, mq.ErrTooLow
	case at > w.To:
		return mq.Batch{}, mq.ErrTooHigh
	}
	b := mq.Batch{Next: at, Range: w}
	for b.Next < w.To && (lim.Scan == 0 || b.Next-at < int64(lim.Scan)) && (lim.Messages == 0 || b.Count < lim.Messages) {
		rec := s.recs[q][b.Next]
		tag, _ := mq.Property(rec.Properties(), mq.PropTags)
		if lim.Filter == nil || lim.Filter.MatchTag(mq.TagHash(string(tag))) && lim.Filter.MatchRecord(rec) {
			if b.Count > 0 && lim.Bytes > 0 && len(b.Body)+len(rec) > lim.Bytes {
				return b, nil
			}
			b.Body = append(b.Body, rec...)
			b.Count++
		}
		b.Next++
	}
	return b, nil
}

func (s *side) OffsetAt(_ context.Context, q mq.Queue, millis int64, bound mq.Bound) (int64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	w, ok := s.window[q]
	if !ok {
		return 0, mq.ErrNoQueue
	}
	in := s.recs[q][w.From:w.To]
	if bound == mq.Lower {
		return w.From + int64(sort.Search(len(in), func(i int) bool { return in[i].StoreTimeMillis() >= millis })), nil
	}
	n := sort.Search(len(in), func(i int) bool { return in[i].StoreTimeMillis() > millis })
	return max(w.From, w.From+int64(n)-1), nil
}

func (s *side) FindPhysical(_ context.Context, broker string, pos int64) (mq.Record, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, ok := s.places[pos]
	w, shown := s.window[p.q]
	if !ok || !shown || p.q.Broker != broker || !w.Contains(p.at) {
		return nil, mq.ErrNotFound
	}
	return s.recs[p.q][p.at], nil
}

func (s *side) FindKey(_ context.Context, k mq.KeyQuery) (mq.Batch, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []mq.Record
	for q, w := range s.window {
		if q.Topic != k.Topic {
			continue
		}
		for _, rec := range s.recs[q][w.From:w.To] {
			if carries(rec, k) {
				all = append(all, rec)
			}
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].PhysicalOffset() > all[j].PhysicalOffset() })
	var b mq.Batch
	for _, rec := range all {
		if k.Max == 0 || b.Count < k.Max {
			b.Body = append(b.Body, rec...)
			b.Count++
		}
	}
	return b, nil
}

func carries(rec mq.Record, k mq.KeyQuery) bool {
	t := rec.StoreTimeMillis()
	if k.Key == "" || k.FromMillis > 0 && t < k.FromMillis || k.ToMillis > 0 && t > k.ToMillis {
		return false
	}
	if u, ok := mq.Property(rec.Properties(), mq.PropUniqKey); ok && string(u) == k.Key {
		return true
	}
	if k.Unique {
		return false
	}
	for _, w := range mq.Keys(rec.Properties()) {
		if w == k.Key {
			return true
		}
	}
	return false
}
