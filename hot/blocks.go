package hot

import (
	"sync"
	"sync/atomic"

	"varve/internal/mq"
)

const (
	// blockBytes is the length of one cached stretch of the log. Blocks lie at
	// multiples of it.
	blockBytes = 64 << 10
	// fewBlocks is what the cache makes do with while nobody needs more: what
	// is read into memory that a core's own cache has costs less.
	fewBlocks = 12
	// maxBlocks bounds the cache: 8 MiB.
	maxBlocks = 128
	// calmLoads is how many blocks are read, none of which more room would
	// have kept, before the cache becomes an eighth smaller.
	calmLoads = 4 * maxBlocks
	// payingRecords is from how many wanted records on one read of a block
	// costs less than a read for each of them.
	payingRecords = 4
)

// blocks keeps stretches of the log that were read a short while ago. Queues
// lie mixed in the log, so who catches up with several of them, or several
// groups with one, would read each stretch many times. A position is never
// used twice and nothing below the confirmed end changes, so a block is right
// for as long as it is kept.
type blocks struct {
	size int64 // of a block; blockBytes but in tests

	mu    sync.Mutex
	byNo  map[int64]*block
	slots []*block
	room  room
	hand  int  // next slot to look at for one to give up
	used  bool // since the last sweep
}

// room is how many blocks are kept. Readers that go along close to each other
// need few, however much they read; who comes to a block after it was given up
// shows how many would have kept it.
type room struct {
	more int              // than fewBlocks
	gone [maxBlocks]int64 // the last blocks that were given up, as a ring
	n    int              // were given up so far
	calm int              // blocks read since more of them would have been of use
}

func (r *room) blocks() int { return fewBlocks + r.more }

// gave notes that a block was given up.
func (r *room) gave(no int64) {
	r.gone[r.n%maxBlocks] = no
	r.n++
}

// missed says whether more room would have kept a block that is wanted, and
// makes it.
func (r *room) missed(no int64) bool {
	for ago := 1; ago <= min(r.n, maxBlocks-r.blocks()); ago++ {
		if r.gone[(r.n-ago)%maxBlocks] == no {
			r.more += ago
			r.calm = 0
			return true
		}
	}
	return false
}

// loads notes that a block is read.
func (r *room) loads() {
	if r.calm++; r.calm >= calmLoads {
		r.calm = 0
		r.more -= (r.more + 7) / 8
	}
}

// block is one stretch. It is not given up while refs count its users.
type block struct {
	no     int64
	refs   int
	used   bool // since the hand went by
	data   []byte
	load   sync.Mutex
	loaded atomic.Bool
	failed bool // under load
}

// get gives block no, pinned, or nil. One that isn't there is read from the
// segment if that pays for the caller alone, or if the block before it is there:
// then somebody reads his way along. With noWait one whose bytes aren't in
// memory is nil too.
func (c *blocks) get(g *seg, no int64, pays, noWait bool) *block {
	b := c.pin(no, pays)
	if b == nil || b.loaded.Load() {
		return b
	}
	if noWait && !b.load.TryLock() { // somebody reads it, perhaps from the disk
		c.unpin(b)
		return nil
	}
	if !noWait {
		b.load.Lock()
	}
	defer b.load.Unlock()
	if !b.loaded.Load() && !b.failed {
		b.failed = !load(g, b.data, no*c.size-g.base, noWait)
		b.loaded.Store(!b.failed)
	}
	if b.failed { // the caller reads what it needs by itself, and gets the error
		c.forget(b)
		c.unpin(b)
		return nil
	}
	return b
}

// load reads all of a block, or says that it didn't.
func load(g *seg, data []byte, at int64, noWait bool) bool {
	if noWait {
		return readNow(g.f, data, at) == nil
	}
	n, _ := g.f.ReadAt(data, at)
	return n == len(data)
}

func (c *blocks) pin(no int64, pays bool) *block {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.byNo[no]
	if b == nil {
		if !c.room.missed(no) && !pays && c.byNo[no-1] == nil {
			return nil
		}
		if b = c.claim(); b == nil {
			return nil
		}
		c.room.loads()
		b.no, b.failed = no, false
		b.loaded.Store(false)
		if c.byNo == nil {
			c.byNo = make(map[int64]*block, maxBlocks)
		}
		c.byNo[no] = b
	}
	b.refs++
	b.used, c.used = true, true
	return b
}

// claim gives a slot for a new block, nil where all are pinned. mu is held.
func (c *blocks) claim() *block {
	for len(c.slots) > c.room.blocks() && c.giveUp() {
		last := len(c.slots) - 1
		c.slots[c.hand] = c.slots[last]
		c.slots[last], c.slots = nil, c.slots[:last]
		c.hand %= last
	}
	if len(c.slots) >= c.room.blocks() && c.giveUp() {
		b := c.slots[c.hand]
		c.hand = (c.hand + 1) % len(c.slots)
		return b
	}
	if len(c.slots) == maxBlocks {
		return nil
	}
	b := &block{data: make([]byte, c.size)}
	c.slots = append(c.slots, b)
	return b
}

// giveUp moves the hand to a slot that nobody uses and empties it; false where
// there is none. mu is held.
func (c *blocks) giveUp() bool {
	for range 2 * len(c.slots) {
		b := c.slots[c.hand]
		switch {
		case b.refs > 0:
		case b.used:
			b.used = false
		default:
			if c.byNo[b.no] == b {
				delete(c.byNo, b.no)
				c.room.gave(b.no)
			}
			return true
		}
		c.hand = (c.hand + 1) % len(c.slots)
	}
	return false
}

func (c *blocks) unpin(b *block) {
	c.mu.Lock()
	b.refs--
	c.mu.Unlock()
}

// forget has the block read anew by the next who wants it.
func (c *blocks) forget(b *block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byNo[b.no] == b {
		delete(c.byNo, b.no)
		b.used = false
	}
}

// sweep gives the memory back if nobody has used it since the last sweep.
func (c *blocks) sweep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.used {
		c.byNo, c.slots, c.room, c.hand = nil, nil, room{}, 0 // a pinned block lives on with its user
	}
	c.used = false
}

// view is what one read looks at through the cache: at most two blocks of a
// segment, which follow each other.
type view struct {
	c      *blocks
	g      *seg
	end    int64 // blocks that end beyond it are not complete, or not the segment's alone
	noWait bool  // see mq.Limit
	pinned [2]*block
}

// block gives the block that holds position pos, nil where there is none to be
// had. ws are the wanted records from there on. The block that was given before
// stays valid.
func (v *view) block(pos int64, ws []want) *block {
	size := v.c.size
	no := pos / size
	for _, b := range v.pinned {
		if b != nil && b.no == no {
			return b
		}
	}
	end := (no + 1) * size
	if end-size < v.g.base || end > v.end {
		return nil
	}
	records, bytes := 0, int64(0)
	for ; records < len(ws) && records < payingRecords && ws[records].pos < end; records++ {
		bytes += int64(ws[records].size)
	}
	b := v.c.get(v.g, no, records == payingRecords || bytes >= size/2, v.noWait)
	if b != nil {
		v.release(0)
		v.pinned[0], v.pinned[1] = v.pinned[1], b
	}
	return b
}

// record gives the first of the wanted records, nil where the cache doesn't have
// all of it. It is valid until the next call; one that lies in two blocks is put
// together in scratch.
func (v *view) record(ws []want, scratch *[]byte) mq.Record {
	pos, size := ws[0].pos, int64(ws[0].size)
	if size > v.c.size { // it may lie in more than two
		return nil
	}
	first := v.block(pos, ws)
	if first == nil {
		return nil
	}
	at := pos % v.c.size
	if at+size <= v.c.size {
		return first.data[at : at+size : at+size]
	}
	second := v.block(pos+size-1, ws[1:])
	if second == nil {
		return nil
	}
	*scratch = append((*scratch)[:0], first.data[at:]...)
	*scratch = append(*scratch, second.data[:at+size-v.c.size]...)
	return *scratch
}

func (v *view) release(i int) {
	if b := v.pinned[i]; b != nil {
		v.c.unpin(b)
		v.pinned[i] = nil
	}
}

// close lets go of the blocks; bad says that what they gave was not good.
func (v *view) close(bad bool) {
	for i, b := range v.pinned {
		if b != nil && bad {
			v.c.forget(b)
		}
		v.release(i)
	}
}
