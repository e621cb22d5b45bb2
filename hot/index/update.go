package index

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Update is a set of changes that are made together. Its methods only collect.
type Update struct {
	d   *DB
	b   *pebble.Batch
	err error
	key []byte
	val []byte
}

// Update begins a set of changes; end it with Commit or Discard.
func (d *DB) Update() *Update { return &Update{d: d, b: d.p.NewBatch()} }

// Entries adds the entries of a queue's offsets from first on. They follow
// those of earlier updates without a gap.
func (u *Update) Entries(uid uint64, first int64, es []Entry) {
	for len(es) > 0 {
		n := first / BlockEntries
		take := min(int64(len(es)), (n+1)*BlockEntries-first)
		u.val = u.val[:0]
		for _, e := range es[:take] {
			u.val = AppendEntry(u.val, e)
		}
		u.key = blockKey(u.key[:0], uid, n)
		u.keep(u.b.Merge(u.key, u.val, nil))
		es, first = es[take:], first+take
	}
}

// SkipTo leaves the offsets below start out of a queue that has none from
// there on: the block of start gets empty entries in their place.
func (u *Update) SkipTo(uid uint64, start int64) {
	u.DropBlocks(uid, start/BlockEntries, start/BlockEntries+1)
	u.Entries(uid, start/BlockEntries*BlockEntries, make([]Entry, start%BlockEntries))
}

// DropBlocks drops a queue's blocks [from, to).
func (u *Update) DropBlocks(uid uint64, from, to int64) {
	if to-from > 64 {
		u.keep(u.b.DeleteRange(blockKey(nil, uid, from), blockKey(nil, uid, to), nil))
		return
	}
	for n := from; n < to; n++ {
		u.key = blockKey(u.key[:0], uid, n)
		u.keep(u.b.Delete(u.key, nil))
	}
}

// Queue sets a queue's state, but for its archived mark.
func (u *Update) Queue(q Queue) {
	be := binary.BigEndian
	u.key = be.AppendUint64(append(u.key[:0], spaceQueue), q.UID)
	u.val = be.AppendUint64(u.val[:0], uint64(q.Start))
	u.val = be.AppendUint64(u.val, uint64(q.End))
	u.val = be.AppendUint32(u.val, uint32(q.ID))
	u.val = append(u.val, q.Topic...)
	u.keep(u.b.Set(u.key, u.val, nil))
}

// DropQueue forgets a queue and its blocks.
func (u *Update) DropQueue(uid uint64) {
	u.keep(u.b.Delete(numbered(spaceQueue, uid), nil))
	u.keep(u.b.Delete(numbered(spaceMark, uid), nil))
	u.keep(u.b.Delete(numbered(spaceDropped, uid), nil))
	u.keep(u.b.Delete(numbered(spaceRemoved, uid), nil))
	u.keep(u.b.DeleteRange(numbered(spaceBlock, uid), numbered(spaceBlock, uid+1), nil))
}

// Mark sets a queue's archived mark.
func (u *Update) Mark(uid uint64, mark int64) {
	u.set(binary.BigEndian.AppendUint64(append(u.key[:0], spaceMark), uid), mark)
}

// Dropped notes that a queue's offsets below next may have been dropped
// unarchived.
func (u *Update) Dropped(uid uint64, next int64) {
	u.set(binary.BigEndian.AppendUint64(append(u.key[:0], spaceDropped), uid), next)
}

// Removed notes that the archive's retention has removed a queue's offsets below
// next.
func (u *Update) Removed(uid uint64, next int64) {
	u.set(binary.BigEndian.AppendUint64(append(u.key[:0], spaceRemoved), uid), next)
}

// SegmentEnd notes the first offset of a queue after a segment.
func (u *Update) SegmentEnd(base int64, uid uint64, next int64) {
	u.key = binary.BigEndian.AppendUint64(append(u.key[:0], spaceSegment), uint64(base))
	u.set(binary.BigEndian.AppendUint64(u.key, uid), next)
}

// SegmentTime notes the newest store time in a segment.
func (u *Update) SegmentTime(base, millis int64) { u.SegmentEnd(base, 0, millis) }

// DropSegment forgets what was noted of a segment.
func (u *Update) DropSegment(base int64) {
	lo := numbered(spaceSegment, uint64(base))
	u.keep(u.b.DeleteRange(lo, after(lo), nil))
}

// Deleted notes that a topic's records below a position are forgotten.
func (u *Update) Deleted(topic string, pos int64) {
	u.set(append(append(u.key[:0], spaceDeleted), topic...), pos)
}

// DropDeleted forgets such a note.
func (u *Update) DropDeleted(topic string) {
	u.keep(u.b.Delete(append([]byte{spaceDeleted}, topic...), nil))
}

// Ending notes that the archive has to hear of a topic's deletion.
func (u *Update) Ending(topic string, pos int64) {
	u.set(append(append(u.key[:0], spaceEnding), topic...), pos)
}

// DropEnding forgets such a note.
func (u *Update) DropEnding(topic string) {
	u.keep(u.b.Delete(append([]byte{spaceEnding}, topic...), nil))
}

// Checkpoint says that the index covers the log up to pos, where the newest
// store time is lastTime.
func (u *Update) Checkpoint(pos, lastTime int64) {
	u.state(stateCheckpoint, pos)
	u.state(stateLastTime, lastTime)
}

// Epoch sets the epoch of this opening.
func (u *Update) Epoch(e uint64) { u.state(stateEpoch, int64(e)) }

// First sets the base of the first segment that is kept.
func (u *Update) First(base int64) { u.state(stateFirst, base) }

// Archived sets the archived position.
func (u *Update) Archived(pos int64) { u.state(stateArchived, pos) }

// Clean says where the log ends in a store that is closed; -1 takes it back.
func (u *Update) Clean(pos int64) { u.state(stateClean, pos) }

// NextUID sets the uid that no queue has had yet.
func (u *Update) NextUID(uid uint64) { u.state(stateNextUID, int64(uid)) }

// Commit makes the changes, in memory; Flush makes them durable.
func (u *Update) Commit() error {
	if u.err == nil {
		u.err = u.b.Commit(pebble.NoSync)
	}
	if u.err != nil {
		return fmt.Errorf("updating the queue index: %w", u.err)
	}
	return nil
}

// Discard drops the changes.
func (u *Update) Discard() { _ = u.b.Close() }

func (u *Update) state(name string, n int64) {
	u.set(append(append(u.key[:0], spaceState), name...), n)
}

func (u *Update) set(key []byte, n int64) {
	u.key = key
	u.val = binary.BigEndian.AppendUint64(u.val[:0], uint64(n))
	u.keep(u.b.Set(u.key, u.val, nil))
}

func (u *Update) keep(err error) {
	if u.err == nil {
		u.err = err
	}
}

func numbered(space byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{space}, n)
}
