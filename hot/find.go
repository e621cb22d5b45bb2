package hot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"varve/hot/index"
	"varve/internal/mq"
)

// FindPhysical implements mq.Finder.
func (s *Store) FindPhysical(_ context.Context, broker string, at int64) (mq.Record, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if broker != s.o.Broker {
		return nil, fmt.Errorf("position %d of broker group %q: %w", at, broker, mq.ErrNotFound)
	}
	r, err := s.recordAt(at)
	if err != nil {
		return nil, fmt.Errorf("finding position %d: %w", at, err)
	}
	return r, nil
}

// recordAt gives the record at a position. The queue index has the last word:
// a body can hold bytes that look like a record.
func (s *Store) recordAt(at int64) (mq.Record, error) {
	if at < 0 || at >= s.confirmed.Load() {
		return nil, mq.ErrNotFound
	}
	g := s.files.acquire(at)
	if g == nil {
		return nil, mq.ErrNotFound
	}
	defer s.letGo([]*seg{g})
	const guess = 4 << 10
	buf := make([]byte, guess)
	n, err := g.f.ReadAt(buf, at-g.base)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading %s: %w", g.path, err)
	}
	buf = buf[:n]
	size, ok := recordLen(buf, at)
	if !ok {
		return nil, mq.ErrNotFound
	}
	if size > len(buf) {
		buf = make([]byte, size)
		if _, err := g.f.ReadAt(buf, at-g.base); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("reading %s: %w", g.path, err)
		}
	}
	r := mq.Record(buf[:size:size])
	if r.Check(true) != nil || r.PhysicalOffset() != at {
		return nil, mq.ErrNotFound
	}
	q := s.find(mq.Queue{Broker: s.o.Broker, Topic: string(r.Topic()), ID: r.QueueID()})
	if q == nil || !q.rng().Contains(r.QueueOffset()) {
		return nil, mq.ErrNotFound
	}
	if e, err := s.entry(q, r.QueueOffset()); err != nil || e.Pos != at {
		if err != nil && q.rng().Contains(r.QueueOffset()) {
			return nil, err
		}
		return nil, mq.ErrNotFound
	}
	return r, nil
}

// recordLen gives the length of the record that b begins with, if it is one.
func recordLen(b []byte, at int64) (int, bool) {
	const fixed = 91
	if len(b) < fixed || mq.Record(b).PhysicalOffset() != at {
		return 0, false
	}
	n := int(uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]))
	return n, n >= fixed && n <= mq.MaxRecordLen
}

// FindKey implements mq.Finder.
func (s *Store) FindKey(ctx context.Context, k mq.KeyQuery) (mq.Batch, error) {
	if err := s.enter(); err != nil {
		return mq.Batch{}, err
	}
	defer s.leave()
	most := findMax
	if k.Max > 0 {
		most = min(k.Max, findMax)
	}
	var b mq.Batch
	if k.Key == "" {
		return b, nil
	}
	hash, _ := index.KeyHash(nil, k.Topic, index.KeyUnique, []byte(k.Key))
	hashes := []uint64{hash}
	if !k.Unique {
		hash, _ = index.KeyHash(nil, k.Topic, index.KeyWord, []byte(k.Key))
		hashes = append(hashes, hash)
	}
	segs := s.files.acquireAll()
	defer s.letGo(segs)
	waiting := s.keys.snapshot()
	for _, g := range slices.Backward(segs) {
		if err := ctx.Err(); err != nil {
			return mq.Batch{}, err
		}
		if first, last := g.firstTime.Load(), g.lastTime.Load(); first == 0 ||
			k.ToMillis > 0 && first > k.ToMillis || k.FromMillis > 0 && last > 0 && last < k.FromMillis {
			continue
		}
		hits, err := keyHits(g, waiting, hashes)
		if err != nil {
			return mq.Batch{}, fmt.Errorf("finding key %q of %s: %w", k.Key, k.Topic, err)
		}
		for _, pos := range hits {
			if b.Count >= most {
				return b, nil
			}
			r, err := s.recordAt(pos)
			if errors.Is(err, mq.ErrNotFound) {
				continue
			}
			if err != nil {
				return mq.Batch{}, fmt.Errorf("finding key %q of %s: %w", k.Key, k.Topic, err)
			}
			if carries(r, k) {
				b.Body = append(b.Body, r...)
				b.Count++
			}
		}
	}
	return b, nil
}

// keyHits gives the positions in a segment that may carry one of the hashes,
// highest first.
func keyHits(g *seg, waiting [][]index.KeyEntry, hashes []uint64) ([]int64, error) {
	var hits []int64
	end := g.end.Load()
	for _, chunk := range waiting {
		if len(chunk) == 0 || chunk[0].Pos >= end || chunk[len(chunk)-1].Pos < g.base {
			continue
		}
		for _, e := range chunk {
			if slices.Contains(hashes, e.Hash) && e.Pos >= g.base && e.Pos < end {
				hits = append(hits, e.Pos)
			}
		}
	}
	for _, h := range hashes {
		if err := g.keys.Lookup(h, func(pos int64) { hits = append(hits, pos) }); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(hits, func(a, b int64) int { return cmp.Compare(b, a) })
	return slices.Compact(hits), nil
}

// carries reports whether a record is what the query asks for; the index knows
// hashes only.
func carries(r mq.Record, k mq.KeyQuery) bool {
	at := r.StoreTimeMillis()
	if string(r.Topic()) != k.Topic || k.FromMillis > 0 && at < k.FromMillis || k.ToMillis > 0 && at > k.ToMillis {
		return false
	}
	if v, ok := mq.Property(r.Properties(), mq.PropUniqKey); ok && string(v) == k.Key {
		return true
	}
	if k.Unique {
		return false
	}
	v, _ := mq.Property(r.Properties(), mq.PropKeys)
	for word := range strings.FieldsSeq(string(v)) {
		if word == k.Key {
			return true
		}
	}
	return false
}
