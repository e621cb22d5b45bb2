package app

import "testing"

// A small heap grows to the floor before it is collected; a large one by the
// percentage that is set.
func TestHeapFloor(t *testing.T) {
	f := heapFloor{bytes: 96 << 20, least: 75}
	for _, c := range []struct {
		live uint64
		want int
	}{
		{0, maxGCPercent},
		{1 << 20, maxGCPercent},
		{24 << 20, 300},
		{48 << 20, 100},
		{60 << 20, 75},
		{1 << 40, 75},
	} {
		if got := f.percent(c.live); got != c.want {
			t.Errorf("%d live bytes: %d %%, want %d", c.live, got, c.want)
		}
	}
}
