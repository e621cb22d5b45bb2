package remoting

import "sync/atomic"

const (
	// writingBytes is how much may wait to be written on all connections of the
	// process before each is held to crampedHigh.
	writingBytes = 64 << 20
	// crampedHigh is Config.OutHigh where much waits on others.
	crampedHigh = 128 << 10
)

// backlog counts what waits to be written on all connections, so that many slow
// readers don't have OutHigh each. Nobody waits for another's bytes: a
// connection that reads its replies goes on.
type backlog struct {
	bytes atomic.Int64
	limit int64
}

// writing is the backlog of this process.
var writing = &backlog{limit: writingBytes}

func (b *backlog) add(n int) {
	if b != nil {
		b.bytes.Add(int64(n))
	}
}

// high is how much may wait on one connection before it is read on.
func (b *backlog) high(high int) int {
	if b != nil && b.bytes.Load() > b.limit {
		return min(high, crampedHigh)
	}
	return high
}
