package timer

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"math"
)

// entryLen is the length of an entry's key and of its name in a done record.
const (
	entryLen = 16
	// maxDue stands for no entry.
	maxDue = math.MaxInt64
)

// entry names one delayed message: when it is due and where its record is in
// the log. Its encoding, both big-endian, sorts like the entries.
type entry struct{ due, physical int64 }

func (e entry) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(e.due))
	return binary.BigEndian.AppendUint64(b, uint64(e.physical))
}

func (e entry) key() string { return string(e.append(make([]byte, 0, entryLen))) }

func (e entry) less(f entry) bool {
	return e.due < f.due || e.due == f.due && e.physical < f.physical
}

func entryOf(key string) (entry, error) {
	if len(key) != entryLen {
		return entry{}, fmt.Errorf("timer entry key of %d bytes, want %d", len(key), entryLen)
	}
	b := []byte(key)
	return entry{int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))}, nil
}

// entries is a heap, soonest first.
type entries []entry

func (h entries) Len() int           { return len(h) }
func (h entries) Less(i, j int) bool { return h[i].less(h[j]) }
func (h entries) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *entries) Push(x any) { *h = append(*h, x.(entry)) }

// Pop implements heap.Interface.
func (h *entries) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

var _ heap.Interface = (*entries)(nil)
