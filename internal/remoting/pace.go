package remoting

import "time"

const (
	// pauseTime is how long a paced reader lets requests gather.
	pauseTime = 100 * time.Microsecond
	// readyWithin is how soon a read returns that didn't have to wait.
	readyWithin = 5 * time.Microsecond
	// pauseWorth is how many posts a pause has to bring to be made again.
	pauseWorth = 3
	// pauseRest is how many reads follow a pause that wasn't worth it before
	// the next.
	pauseRest = 256
	// readyWeight is how many reads the share of ready ones is taken over.
	readyWeight = 16
	readyFull   = 1 << 10
)

// pace decides whether a connection's reader pauses before it reads on. Many
// callers that share a connection and each wait for their answer send it one
// small request at a time: read one by one, each costs a wake-up on either
// side, a write to the log and one to the socket. The sign of it is that the
// next request is there when the last is answered. A pause then lets several
// come, which are stored and answered together, as a network card gathers
// interrupts. A lone caller is never ready that soon and never waits.
type pace struct {
	ready  int // share of reads that were ready, of readyFull
	rest   int
	paused bool
}

// next notes a read of so many posts that had to wait for its bytes or not, and
// says whether to pause before the next.
func (p *pace) next(posts int, ready bool) bool {
	if p.paused {
		if p.paused = posts >= pauseWorth; !p.paused {
			p.ready, p.rest = 0, pauseRest
		}
		return p.paused
	}
	if p.rest > 0 {
		p.rest--
		return false
	}
	if posts == 0 || posts >= pauseWorth { // nothing to gather, or it gathers by itself
		p.ready -= p.ready / readyWeight
		return false
	}
	target := 0
	if ready {
		target = readyFull
	}
	p.ready += (target - p.ready) / readyWeight
	p.paused = p.ready > readyFull/2
	return p.paused
}
