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
	r, err := s.recordAt(at, false)
	if err != nil {
		return nil, fmt.Errorf("finding position %d: %w", at, err)
	}
	return r, nil
}

// recordAt gives the record at a position, at which one is known to begin or
// not. The queue index has the last word: a body can hold bytes that look like
// a record.
func (s *Store) recordAt(at int64, begins bool) (mq.Record, error) {
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
	size, err := recordLen(buf, at)
	if err != nil {
		return nil, damagedAt(g, buf, at, begins, err)
	}
	if size > len(buf) {
		buf = make([]byte, size)
		if _, err := g.f.ReadAt(buf, at-g.base); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("reading %s: %w", g.path, err)
		}
	}
	r := mq.Record(buf[:size:size])
	if err := r.Check(true); err != nil {
		return nil, damagedAt(g, buf, at, begins, err)
	}
	q := s.find(mq.Queue{Broker: s.o.Broker, Topic: string(r.Topic()), ID: r.QueueID()})
	if q == nil || !q.rng().Contains(r.QueueOffset()) {
		return nil, strayAt(g, at, s.confirmed.Load(), begins)
	}
	e, err := s.entry(q, r.QueueOffset())
	switch {
	case err != nil && q.rng().Contains(r.QueueOffset()):
		return nil, err
	case err != nil:
		return nil, mq.ErrNotFound // trimmed meanwhile
	case e.Pos != at:
		return nil, strayAt(g, at, s.confirmed.Load(), begins)
	}
	if err := checkPlaced(r, want{off: r.QueueOffset(), pos: at, size: e.Size, sum: e.Sum}); err != nil {
		return nil, damagedAt(g, buf, at, true, err)
	}
	return r, nil
}

// recordLen gives the length of the record that b begins with, or why there is
// none.
func recordLen(b []byte, at int64) (int, error) {
	const fixed = 91
	if len(b) < fixed {
		return 0, fmt.Errorf("%d bytes, shorter than any record", len(b))
	}
	if p := mq.Record(b).PhysicalOffset(); p != at {
		return 0, fmt.Errorf("the record there names position %d", p)
	}
	n := int(uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]))
	if n < fixed || n > mq.MaxRecordLen {
		return 0, fmt.Errorf("a record of %d bytes", n)
	}
	return n, nil
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
		// The first time isn't known either where the first record is damaged.
		if first, last := g.firstTime.Load(), g.lastTime.Load(); first == 0 && last == 0 ||
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
			r, err := s.recordAt(pos, true)
			if errors.Is(err, mq.ErrNotFound) {
				continue
			}
			if errors.Is(err, ErrCorrupt) && pos < s.archived.Load() {
				s.o.Logger.Warn("a search by key leaves a damaged record to the archive", "err", err)
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
