package auth

import "sync/atomic"

// tally counts by what requests came by.
type tally [protocols]atomic.Int64

func (t *tally) sum() (n int64) {
	for i := range t {
		n += t[i].Load()
	}
	return n
}

// Refusals are the requests of one protocol that were refused since the start.
type Refusals struct {
	Protocol string // remoting, grpc, http; none where a part of this process asked
	Unknown  int64  // didn't prove who they are from
	Denied   int64  // their user may not make them
}

// Refusals gives the figures of every protocol.
func (s *Store) Refusals() []Refusals {
	if s == nil {
		return nil
	}
	out := make([]Refusals, protocols)
	for i := range out {
		out[i] = Refusals{Protocol: protocolNames[i], Unknown: s.unknown[i].Load(), Denied: s.denied[i].Load()}
	}
	return out
}
