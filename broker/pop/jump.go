package pop

import "time"

// jumped is how far the clock must be off from what has passed to count as set.
// It is over what passes between two looks, maxSleep.
const jumped = 2 * time.Second

// look is a moment of the clock and of what has passed.
type look struct {
	clock int64     // milliseconds
	at    time.Time // with a monotonic reading
}

// watch notices a clock that was set, and has what is in flight stay so for as
// long as it was meant to: a deadline is a while from the delivery, which the
// clock has nothing to do with.
func (s *Store) watch(now int64) {
	last := s.looked
	s.looked = look{now, time.Now()}
	if last.at.IsZero() {
		return
	}
	passed := s.looked.at.Sub(last.at)
	by := now - last.clock - passed.Milliseconds()
	if d := time.Duration(by) * time.Millisecond; d.Abs() < jumped {
		return
	}
	s.windows.RLock()
	list := make([]*Window, 0, len(s.windows.m))
	for _, w := range s.windows.m {
		list = append(list, w)
	}
	s.windows.RUnlock()
	for _, w := range list {
		w.mu.Lock()
		if w.shift(by, now-passed.Milliseconds(), now) {
			s.enlist(w)
		}
		w.mu.Unlock()
	}
}

// shift moves the deadlines of what was given out before a clock was set, which
// was after since. What has been given out after that is by the clock as it is
// now: its deadline is not over, and its delivery is not named by a time that
// lies further back, or ahead.
func (w *Window) shift(by, since, now int64) (changed bool) {
	w.failing = min(w.failing, now)
	old := min(since, now-by)
	for i := w.head; i < len(w.entries); i++ {
		e := &w.entries[i]
		if e.state != live || e.pop > old && e.pop <= now && e.due >= since {
			continue
		}
		e.due += by
		w.expect(e.due)
		changed = true
	}
	return changed
}

// returned has what was given out by a clock that was ahead, before a restart,
// come back a while from now.
func (w *Window) returned(now int64) {
	for i := w.head; i < len(w.entries); i++ {
		if e := &w.entries[i]; e.state == live && e.pop > now {
			e.due = now + max(0, e.due-e.pop)
			w.expect(e.due)
		}
	}
}
