package hot

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"varve/hot/segment"
	"varve/internal/mq"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumAround is the checksum that the queue index keeps of a placed record: of
// everything but the body, which has its own in the record. So a reader of one
// record need not read its batch to know that the record is what was written.
// It is never 0, which in the index means that there is none.
func sumAround(r mq.Record) uint32 {
	head, _, tail := r.Parts()
	sum := crc32.Update(crc32.Checksum(r[:len(head)+4], castagnoli), castagnoli, tail)
	return max(sum, 1)
}

// badRecord reports why r, of which a read that ended with rerr got the whole or
// not, is not the wanted record.
func badRecord(g *seg, w want, r mq.Record, whole bool, rerr error) error {
	switch {
	case !whole && errors.Is(rerr, io.EOF):
		return fmt.Errorf("%w: %s ends before position %d", ErrCorrupt, g.path, w.pos+int64(w.size))
	case !whole:
		return fmt.Errorf("reading %s at position %d: %w", g.path, w.pos, rerr)
	}
	if err := checkPlaced(r, w); err != nil {
		return fmt.Errorf("%w: %s at position %d: %w", ErrCorrupt, g.path, w.pos, err)
	}
	return nil
}

// checkPlaced reports why r is not the record that the index says it is.
func checkPlaced(r mq.Record, w want) error {
	if err := r.Check(true); err != nil {
		return err
	}
	if r.PhysicalOffset() != w.pos || r.QueueOffset() != w.off {
		return fmt.Errorf("the record there is offset %d for position %d, not offset %d", r.QueueOffset(), r.PhysicalOffset(), w.off)
	}
	if w.sum != 0 && sumAround(r) != w.sum {
		return errors.New("the checksum of what is around the body differs from the index's")
	}
	return nil
}

// damagedAt says what a place holds at which no good record begins: ErrCorrupt
// where one was, else mq.ErrNotFound. begins says that the caller knows of one;
// otherwise either of the fields that name a record's place tells of it.
func damagedAt(g *seg, b []byte, at int64, begins bool, why error) error {
	const named = 36 // behind the physical offset
	if r := mq.Record(b); begins || len(b) >= named && (r.PhysicalOffset() == at || r.Magic() == mq.MagicV1) {
		return fmt.Errorf("%w: %s at position %d: %w", ErrCorrupt, g.path, at, why)
	}
	return mq.ErrNotFound
}

// strayAt is damagedAt for a record that is good by itself but not one that the
// queue index has: its topic may have been deleted, or it is bytes in a body, or
// the fields that name its queue are not what was written. Its batch knows.
func strayAt(g *seg, at, confirmed int64, begins bool) error {
	limit := min(g.end.Load(), confirmed)
	start, err := segment.FindStart(g.f, g.base, at, limit)
	if err == nil {
		_, err = segment.NewScanner(g.f, g.base, start, limit, g.epoch).Next()
	} else if errors.Is(err, segment.ErrInvalid) && !begins {
		return mq.ErrNotFound // no batch goes on from there: it is no record
	}
	switch {
	case err == nil:
		return mq.ErrNotFound
	case errors.Is(err, segment.ErrInvalid):
		return fmt.Errorf("%w: %s at position %d: %w", ErrCorrupt, g.path, at, err)
	}
	return fmt.Errorf("reading %s: %w", g.path, err)
}
