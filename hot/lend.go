package hot

import (
	"math/bits"
	"sync"
)

// Sizes of the buffers that are lent. A body that needs a larger one is made
// for it, one that needs a smaller one too: it costs next to nothing.
const (
	minLentBits = 12
	maxLentBits = 18
	minLent     = 1 << minLentBits
	maxLent     = 1 << maxLentBits
)

// lent is a body's memory that its reader gives back. A client's pull is most
// of what is allocated in a catch-up, and all of it is written to a socket and
// forgotten at once.
type lent struct {
	buf  []byte // of its class's length
	free func() // gives it back; made once, so that lending allocates nothing
}

// lentPools hold what came back, by size. What nobody borrows for a while the
// garbage collector takes.
var lentPools [maxLentBits - minLentBits + 1]sync.Pool

// poisonReturned overwrites what comes back, so that who still uses it shows.
var poisonReturned = raceEnabled

// poison is no part of any record.
const poison = 0xDB

// lend gives a buffer of at least n bytes, nil where that is not worth it.
func lend(n int) *lent {
	if n < minLent || n > maxLent {
		return nil
	}
	class := bits.Len(uint(n-1)) - minLentBits
	if l, _ := lentPools[class].Get().(*lent); l != nil {
		return l
	}
	l := &lent{buf: make([]byte, minLent<<class)}
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
