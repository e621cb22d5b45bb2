package archive

import (
	"container/list"
	"sync"
)

const defaultCursorBytes = 128 << 20

// cursors keeps idle cursors by the place they stand at, within a budget of
// memory: the one used longest ago is closed first. A reader that goes on
// where it stopped finds its pages decoded.
type cursors struct {
	mu     sync.Mutex
	budget int64
	window int64 // largest of one cursor
	pace   func()
	used   int64
	idle   *list.List // of *cursor, the newest at the front
	at     map[place][]*list.Element
}

type place struct {
	file *File
	row  int64
}

func newCursors(budget int64, pace func()) *cursors {
	window := min(max(budget/windowsPerBudget, minWindowBytes), maxWindowBytes)
	return &cursors{budget: budget, window: window, pace: pace, idle: list.New(), at: map[place][]*list.Element{}}
}

// take gives a cursor that stands at a row, a new one if none is idle there.
func (s *cursors) take(f *File, row int64) *cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	if els := s.at[place{f, row}]; len(els) > 0 {
		return s.remove(els[len(els)-1])
	}
	return newCursor(f, row)
}

// remove takes a cursor out of the books.
func (s *cursors) remove(el *list.Element) *cursor {
	c := el.Value.(*cursor)
	p := place{c.file, c.row}
	els := s.at[p]
	for i, e := range els {
		if e == el {
			els = append(els[:i], els[i+1:]...)
			break
		}
	}
	if len(els) == 0 {
		delete(s.at, p)
	} else {
		s.at[p] = els
	}
	s.idle.Remove(el)
	s.used -= c.bytes()
	return c
}

// give hands a cursor back.
func (s *cursors) give(c *cursor) {
	var closing []*cursor
	s.mu.Lock()
	p := place{c.file, c.row}
	s.at[p] = append(s.at[p], s.idle.PushFront(c))
	s.used += c.bytes()
	for s.used > s.budget && s.idle.Len() > 0 {
		closing = append(closing, s.remove(s.idle.Back()))
	}
	s.mu.Unlock()
	for _, c := range closing {
		c.close()
	}
}

// drop closes the idle cursors of a file, of all files where f is nil.
func (s *cursors) drop(f *File) {
	var closing []*cursor
	s.mu.Lock()
	for el := s.idle.Front(); el != nil; {
		next := el.Next()
		if c := el.Value.(*cursor); f == nil || c.file == f {
			closing = append(closing, s.remove(el))
		}
		el = next
	}
	s.mu.Unlock()
	for _, c := range closing {
		c.close()
	}
}
