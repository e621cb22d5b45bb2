package hot

import (
	"slices"
	"sync"

	"varve/hot/index"
)

const (
	// keyChunk is the size of the pieces in which keys wait in memory.
	keyChunk = 8192
	// keyBlock is how many keys wait before a block of them is filed.
	keyBlock = 64 << 10
)

// pendingKeys is the keys that are not in a key file yet, in the order of
// their positions. Chunks are only appended to, so a reader may go on with the
// slices that it got.
type pendingKeys struct {
	mu     sync.Mutex
	chunks [][]index.KeyEntry
	count  int
}

func (p *pendingKeys) add(es []index.KeyEntry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count += len(es)
	for len(es) > 0 {
		n := len(p.chunks)
		if n == 0 || len(p.chunks[n-1]) == keyChunk {
			p.chunks = append(p.chunks, make([]index.KeyEntry, 0, min(keyChunk, max(64, len(es)))))
			n++
		}
		last := p.chunks[n-1]
		take := min(len(es), keyChunk-len(last))
		p.chunks[n-1] = append(last, es[:take]...)
		es = es[take:]
	}
}

// snapshot gives the chunks as they are now.
func (p *pendingKeys) snapshot() [][]index.KeyEntry {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.chunks)
}

// below copies the keys of positions below end.
func (p *pendingKeys) below(end int64) []index.KeyEntry {
	var out []index.KeyEntry
	for _, chunk := range p.snapshot() {
		for _, e := range chunk {
			if e.Pos >= end {
				return out
			}
			out = append(out, e)
		}
	}
	return out
}

// drop forgets the first n keys, which are filed now.
func (p *pendingKeys) drop(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count -= n
	for n > 0 && n >= len(p.chunks[0]) {
		n -= len(p.chunks[0])
		p.chunks = slices.Delete(p.chunks, 0, 1)
	}
	if n > 0 {
		p.chunks[0] = slices.Clone(p.chunks[0][n:])
	}
}

// flushKeys files the keys of every segment that is whole, and of the active
// one if there are enough of them or all is set. trimMu must be held.
func (s *Store) flushKeys(segs []*seg, upTo int64, all bool) error {
	for _, g := range segs {
		end := g.end.Load()
		whole := end <= upTo
		if !whole {
			end = upTo
		}
		if g.keys.Covered() >= end || !whole && !all && s.keys.waiting() < keyBlock {
			continue
		}
		es := s.keys.below(end)
		if err := g.keys.Append(es, end, whole); err != nil {
			return err
		}
		s.keys.drop(len(es))
	}
	return nil
}

func (p *pendingKeys) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}
