package wire

import (
	"math/bits"
	"time"
)

// subBuckets splits each power of two; 32 keeps the error under 3.2 %.
const subBuckets = 32

// Histogram counts durations in log-linear buckets.
type Histogram struct {
	counts [64 * subBuckets]int64
	n      int64
}

// Add counts one duration.
func (h *Histogram) Add(d time.Duration) {
	h.counts[bucket(max(int64(d), 0))]++
	h.n++
}

// Merge adds what the other has counted.
func (h *Histogram) Merge(o *Histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
}

// N is how many were counted.
func (h *Histogram) N() int64 { return h.n }

// Quantile is the duration that a share q of all doesn't exceed.
func (h *Histogram) Quantile(q float64) time.Duration {
	want := int64(q * float64(h.n))
	var seen int64
	for i, c := range h.counts {
		seen += c
		if seen > want {
			return time.Duration(floor(i))
		}
	}
	return 0
}

func bucket(v int64) int {
	if v < subBuckets {
		return int(v)
	}
	shift := bits.Len64(uint64(v)) - 6
	return (shift+1)*subBuckets + int(v>>shift) - subBuckets
}

func floor(i int) int64 {
	if i < subBuckets {
		return int64(i)
	}
	shift := i/subBuckets - 1
	return int64(i%subBuckets+subBuckets) << shift
}
