package hot

import (
	"context"
	"fmt"

	"varve/hot/segment"
)

// Scrub makes sure that the directory's files hold no bytes of messages that
// were trimmed: spare segments are removed, those that the last reader has not
// let go of yet are removed instead of kept as spares, and what a recycled
// segment has behind its end is overwritten with zeros and synced. It costs at
// most one segment's writes for each recycled one that was not scrubbed before.
func (s *Store) Scrub(ctx context.Context) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	s.trimMu.Lock()
	defer s.trimMu.Unlock()
	if err := s.files.giveUp(); err != nil {
		return fmt.Errorf("scrubbing %s: %w", s.dir, err)
	}
	segs := s.files.acquireAll()
	defer s.letGo(segs)
	for _, g := range segs {
		if err := s.scrub(ctx, g); err != nil {
			return fmt.Errorf("scrubbing %s: %w", g.path, err)
		}
	}
	return nil
}

// scrub overwrites what a segment has behind its end. In the active one the
// committer does it, piece by piece between batches.
func (s *Store) scrub(ctx context.Context, g *seg) error {
	if !g.stale.Load() || g.bad != nil {
		return nil
	}
	info, err := g.f.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	for from := int64(0); from < size; {
		next := make(chan int64, 1) // the piece may be written after ctx has ended
		err := s.run(ctx, func() error {
			to, err := s.scrubPiece(g, from, size)
			next <- to
			return err
		})
		if err != nil {
			return err
		}
		from = <-next
	}
	if err := g.f.SyncData(); err != nil {
		return err
	}
	g.stale.Store(false)
	return nil
}

// scrubPiece writes zeros from an offset in the segment's file on, or from its
// end where that is later, and gives where to go on.
func (s *Store) scrubPiece(g *seg, from, size int64) (next int64, err error) {
	c := &s.c
	switch {
	case g == c.active:
		from = max(from, c.filled, c.pos-g.base)
	default:
		from = max(from, g.end.Load()-g.base, segment.HeaderLen)
	}
	next = min(from+int64(len(zeros)), size)
	if next <= from {
		return size, nil
	}
	if _, err := g.f.WriteAt(zeros[:next-from], from); err != nil {
		return from, s.writeError(err)
	}
	if g == c.active {
		c.filled = next
	}
	return next, nil
}

// giveUp removes the spare files, and has those that readers still hold removed
// when they are let go of.
func (fl *files) giveUp() error {
	fl.mu.Lock()
	for g := range fl.leaving {
		g.removed.Store(true)
	}
	fl.mu.Unlock()
	fl.dropSpares()
	fl.mu.RLock()
	left := len(fl.spares)
	fl.mu.RUnlock()
	if left > 0 {
		return fmt.Errorf("%d freed segment files can't be removed", left)
	}
	return fl.syncDir()
}
