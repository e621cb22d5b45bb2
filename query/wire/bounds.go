package wire

import (
	"math"
	"slices"
)

// Interval is a closed interval.
type Interval struct {
	Low  int64 `json:"low"`
	High int64 `json:"high"`
}

// All is the interval of everything.
var All = Interval{math.MinInt64, math.MaxInt64}

// Intersect gives what both hold; it is empty (Low > High) where they part.
func (i Interval) Intersect(o Interval) Interval {
	return Interval{max(i.Low, o.Low), min(i.High, o.High)}
}

// Hull gives the smallest interval around both.
func (i Interval) Hull(o Interval) Interval {
	switch {
	case i.Low > i.High:
		return o
	case o.Low > o.High:
		return i
	}
	return Interval{min(i.Low, o.Low), max(i.High, o.High)}
}

// Overlaps reports whether some number is in both.
func (i Interval) Overlaps(low, high int64) bool { return i.Low <= high && low <= i.High }

// Bounds limit the rows of a table that a query can need: rows outside can be
// left out without changing its result. They are a hull; the query's own
// conditions still apply.
type Bounds struct {
	StoreMillis Interval `json:"store_millis"`
	Offset      Interval `json:"offset"`
	QueueID     Interval `json:"queue_id"`
	// QueueIDs and Brokers list the only values needed; nil means all.
	QueueIDs []int64  `json:"queue_ids,omitempty"`
	Brokers  []string `json:"brokers,omitempty"`
}

// Unbounded needs all rows.
func Unbounded() Bounds { return Bounds{StoreMillis: All, Offset: All, QueueID: All} }

// Intersect gives the rows that both need.
func (b Bounds) Intersect(o Bounds) Bounds {
	return Bounds{
		StoreMillis: b.StoreMillis.Intersect(o.StoreMillis),
		Offset:      b.Offset.Intersect(o.Offset),
		QueueID:     b.QueueID.Intersect(o.QueueID),
		QueueIDs:    common(b.QueueIDs, o.QueueIDs),
		Brokers:     common(b.Brokers, o.Brokers),
	}
}

// Hull gives bounds around the rows that either needs.
func (b Bounds) Hull(o Bounds) Bounds {
	switch {
	case b.none():
		return o
	case o.none():
		return b
	}
	return Bounds{
		StoreMillis: b.StoreMillis.Hull(o.StoreMillis),
		Offset:      b.Offset.Hull(o.Offset),
		QueueID:     b.QueueID.Hull(o.QueueID),
		QueueIDs:    either(b.QueueIDs, o.QueueIDs),
		Brokers:     either(b.Brokers, o.Brokers),
	}
}

func (b Bounds) none() bool {
	return b.StoreMillis.Low > b.StoreMillis.High || b.Offset.Low > b.Offset.High || b.QueueID.Low > b.QueueID.High ||
		b.QueueIDs != nil && len(b.QueueIDs) == 0 || b.Brokers != nil && len(b.Brokers) == 0
}

// NeedsQueue reports whether rows of a queue are needed at all.
func (b Bounds) NeedsQueue(broker string, id int32) bool {
	return !b.none() && b.QueueID.Overlaps(int64(id), int64(id)) &&
		(b.QueueIDs == nil || slices.Contains(b.QueueIDs, int64(id))) &&
		(b.Brokers == nil || slices.Contains(b.Brokers, broker))
}

func common[T comparable](a, b []T) []T {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	out := []T{}
	for _, v := range a {
		if slices.Contains(b, v) {
			out = append(out, v)
		}
	}
	return out
}

func either[T comparable](a, b []T) []T {
	if a == nil || b == nil {
		return nil
	}
	out := slices.Clone(a)
	for _, v := range b {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}
