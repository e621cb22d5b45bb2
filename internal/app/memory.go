package app

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"

	"varve/internal/config"
)

// Bounds of what a heapFloor may set.
const (
	maxGCPercent = 2000
	// gcPercentStep is the least change that is worth stopping the world for,
	// in parts of the percentage that is set.
	gcPercentStep = 8
)

// limitMemory keeps the heap small; the usual variables of the Go runtime win.
func limitMemory(c *config.Config) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(c.Memory.GC)
		watchHeap(&heapFloor{bytes: uint64(c.Memory.Floor), least: c.Memory.GC, set: c.Memory.GC})
	}
	if os.Getenv("GOMEMLIMIT") == "" && c.Memory.Limit > 0 {
		debug.SetMemoryLimit(int64(c.Memory.Limit))
	}
}

// heapFloor lets a small heap grow to so many bytes before it is collected: a
// percentage of a few MiB would have the collector run many times a second
// under load and win nothing.
type heapFloor struct {
	bytes uint64
	least int // percentage of a large heap
	set   int
}

// percent is what to set after a collection that left so many bytes.
func (f *heapFloor) percent(live uint64) int {
	grow := 100 * (float64(f.bytes)/float64(max(live, 1)) - 1)
	return int(min(max(grow, float64(f.least)), maxGCPercent))
}

func (f *heapFloor) collected() {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return
	}
	p := f.percent(s[0].Value.Uint64())
	if math.Abs(float64(p-f.set)) < float64(f.set)/gcPercentStep {
		return
	}
	debug.SetGCPercent(p)
	f.set = p
}

// watchHeap has f look at the heap after every collection: an object that
// nobody holds is found by each.
func watchHeap(f *heapFloor) {
	type canary struct{ *heapFloor }
	var arm func(*canary)
	arm = func(c *canary) {
		c.collected()
		runtime.SetFinalizer(c, arm)
	}
	runtime.SetFinalizer(&canary{f}, arm)
}
