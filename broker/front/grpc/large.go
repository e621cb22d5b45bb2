package grpc

import "varve/internal/intake"

func (o *door) ungrant(a *arriving) {
	if a.granted == 0 {
		return
	}
	o.granted -= a.granted
	a.granted = 0
	a.share.Release()
	select {
	case o.freed <- struct{}{}:
	default:
	}
}

// grant lets a message of n bytes come. mu is held.
func (o *door) grant(a *arriving, n int64) {
	o.hold(a, -a.held)
	a.granted = n
	o.granted += n
	a.due = o.all.now.Load() + moreSweeps + n/intake.StepBytes
}

// window takes a window update that gRPC sends for a call: false where it is to
// be kept back.
func (o *door) window(stream, n uint32) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	a := o.calls[stream]
	switch {
	case a == nil:
		return true
	case n <= streamWindow:
		if a.first { // so much was read
			o.hold(a, -min(int64(n), a.held))
		}
		return true
	}
	share := o.all.budget.Share()
	if len(o.line) == 0 && o.roomFor(int64(n)) && share.TryGrow(int64(n)) {
		a.share = share
		o.grant(a, int64(n))
		return true
	}
	a.wants = int64(n)
	o.line = append(o.line, a)
	if !o.letting {
		o.letting = true
		go o.let()
	}
	return false
}

// roomFor reports whether the connection may have n bytes more of large
// messages. mu is held.
func (o *door) roomFor(n int64) bool { return o.granted == 0 || o.granted+n <= mostGranted }

// let lets the large messages in line come, one after the other.
func (o *door) let() {
	for {
		a, ok := o.first()
		if !ok {
			return
		}
		share := o.all.budget.Share()
		if share.Grow(o.life, a.wants) != nil {
			return
		}
		o.mu.Lock()
		if a.gone {
			share.Release()
		} else {
			a.share = share
			o.grant(a, a.wants)
			o.toClient = appendFrame(o.toClient, frameWindow, a.stream, uint32(a.wants))
		}
		o.line = o.line[1:]
		o.mu.Unlock()
		o.flush()
	}
}

// first waits until the connection has room for the first in line; not ok when
// nobody is, or the connection is over.
func (o *door) first() (*arriving, bool) {
	for {
		o.mu.Lock()
		for len(o.line) > 0 && o.line[0].gone {
			o.line = o.line[1:]
		}
		if len(o.line) == 0 {
			o.line, o.letting = nil, false
			o.mu.Unlock()
			return nil, false
		}
		a := o.line[0]
		room := o.roomFor(a.wants)
		o.mu.Unlock()
		if room {
			return a, true
		}
		select {
		case <-o.freed:
		case <-o.life.Done():
			return nil, false
		}
	}
}
