package tier

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"

	"varve/internal/mq"
)

// Bounds of one FindKey over both sides.
const (
	findMax   = 1024
	findBytes = 8 << 20
)

// FindPhysical implements mq.Finder: hot first, then cold, which also stands in
// for a damaged hot log where it can.
func (r *Reader) FindPhysical(ctx context.Context, broker string, physicalOffset int64) (mq.Record, error) {
	rec, err := r.hot.FindPhysical(ctx, broker, physicalOffset)
	if errors.Is(err, mq.ErrNotFound) {
		return r.cold.FindPhysical(ctx, broker, physicalOffset)
	}
	if err != nil && r.o.Damaged(err) {
		if rec, cerr := r.cold.FindPhysical(ctx, broker, physicalOffset); cerr == nil {
			r.stood.count.Add(1)
			return rec, nil
		}
	}
	return rec, err
}

// FindKey implements mq.Finder: both sides' records, each once, newest first.
// Cold is not asked where hot alone has as many as were wanted.
func (r *Reader) FindKey(ctx context.Context, k mq.KeyQuery) (mq.Batch, error) {
	if k.Max <= 0 || k.Max > findMax {
		k.Max = findMax
	}
	hot, err := r.hot.FindKey(ctx, k)
	if err != nil || hot.Count >= k.Max {
		return hot, err
	}
	cold, err := r.cold.FindKey(ctx, k)
	if err != nil {
		return mq.Batch{}, err
	}
	return merge(k.Max, hot.Body, cold.Body), nil
}

// place tells records of one topic apart: the store host stands for the broker
// group, which a record doesn't name.
type place struct {
	host             string
	queue            int32
	offset, physical int64
}

func merge(limit int, bodies ...[]byte) mq.Batch {
	seen := map[place]bool{}
	var all []mq.Record
	for _, b := range bodies {
		for rec := range mq.Records(b) {
			p := place{string(rec.StoreHost()), rec.QueueID(), rec.QueueOffset(), rec.PhysicalOffset()}
			if !seen[p] {
				seen[p] = true
				all = append(all, rec)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b mq.Record) int {
		return cmp.Or(
			cmp.Compare(b.StoreTimeMillis(), a.StoreTimeMillis()),
			cmp.Compare(b.PhysicalOffset(), a.PhysicalOffset()),
			bytes.Compare(b, a),
		)
	})
	var out mq.Batch
	for _, rec := range all {
		if out.Count == limit || out.Count > 0 && len(out.Body)+len(rec) > findBytes {
			break
		}
		out.Body = append(out.Body, rec...)
		out.Count++
	}
	return out
}
