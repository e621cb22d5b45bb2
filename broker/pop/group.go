package pop

import (
	"sync"
	"sync/atomic"
)

// group is what all windows of a consumer group share: a bound on what is in
// flight. Whoever makes room in one window, or leaves room unused, calls
// Store.Feed, for those who found none may wait at another.
type group struct {
	live    atomic.Int64 // messages in flight
	waiting atomic.Int64 // len(line), to be read without the lock

	mu   sync.Mutex
	line []*Window // that found no room, first come first
}

// room is how many messages the group may be given for a window, which is in
// line where it is none. It is in line before the last look: room that is made
// later finds it there.
func (g *group) room(w *Window, limit int) int {
	n := limit - int(g.live.Load())
	if n > 0 {
		return n
	}
	g.mu.Lock()
	if !w.inLine {
		w.inLine = true
		g.line = append(g.line, w)
		g.waiting.Store(int64(len(g.line)))
	}
	g.mu.Unlock()
	return limit - int(g.live.Load())
}

// next takes the first window out of the line, nil where there is none.
func (g *group) next() (w *Window) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.line) == 0 {
		return nil
	}
	w, g.line[0] = g.line[0], nil
	g.line = g.line[1:]
	if len(g.line) == 0 {
		g.line = nil
	}
	w.inLine = false
	g.waiting.Store(int64(len(g.line)))
	return w
}

func (s *Store) group(name string) *group {
	s.windows.RLock()
	defer s.windows.RUnlock()
	return s.windows.groups[name]
}

// Feed calls Options.Wake for a window that found no room in its group, if
// there is some now. Who is woken and leaves room calls Feed in turn. No window
// is locked by the caller.
func (s *Store) Feed(group string) {
	if g := s.group(group); g != nil {
		s.feedGroup(g)
	}
}

func (s *Store) feedGroup(g *group) {
	for g.waiting.Load() > 0 && g.live.Load() < int64(s.o.GroupLimit) {
		w := g.next()
		if w == nil || s.o.Wake(w.Key) {
			return
		}
	}
}
