package archive

import (
	"math/bits"
	"sync"
)

// Sizes of the bodies that are lent; one that is smaller or larger is made.
const (
	minLentBits = 12
	maxLentBits = 18
)

// lent is a body's memory that comes back when the reply is written: in a
// catch-up bodies would be nearly all that is allocated.
type lent struct {
	buf  []byte
	free func() // made once, so that lending allocates nothing
}

// lentPools hold what came back, by the power of two of its size.
var lentPools [maxLentBits + 1]sync.Pool

// poisonReturned has what comes back overwritten by poison, so that who still
// uses it shows.
var poisonReturned = raceEnabled

const poison = 0xDB

// lend gives memory for n bytes, nil where that isn't worth it.
func lend(n int) *lent {
	class := max(bits.Len(uint(max(n, 1)-1)), minLentBits)
	if class > maxLentBits {
		return nil
	}
	if l, _ := lentPools[class].Get().(*lent); l != nil {
		return l
	}
	l := &lent{buf: make([]byte, 1<<class)}
	l.free = func() {
		if poisonReturned {
			for i := range l.buf {
				l.buf[i] = poison
			}
		}
		lentPools[class].Put(l)
	}
	return l
}
